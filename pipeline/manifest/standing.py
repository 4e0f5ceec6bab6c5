"""The view `decisions`: the newest decision on each photo and face, and whether it still counts.

A decision is about one result. It counts as long as the newest row of its photo has that result, or one that `interlcm
decide` made of it by following decisions: such rows have `reviewed_at`. A row without it is a new result, which nobody
has judged yet. An export that does not name its result counts if it is later than the last such row. A face is found
again by its place, since its index may be another's after the photo was restored again.
"""

from __future__ import annotations

from pipeline.manifest.schema import NEWEST_FIRST

NO_RESULT = "this run has no result of the photo"
NEWER = "the photo was restored again since"
NO_FACE = "no face is there any more"
SAME_PLACE = 0.5  # intersection over union of two boxes of the same face, at least

# Intersection over union of two boxes x0, y0, x1, y1. `exported` has every row of the files, in the order of time.
VIEW = f"""
CREATE TEMP MACRO common(a, b) AS greatest(0, least(a[3], b[3]) - greatest(a[1], b[1]))
    * greatest(0, least(a[4], b[4]) - greatest(a[2], b[2]));
CREATE TEMP MACRO iou(a, b) AS common(a, b) / nullif(common(a, a) + common(b, b) - common(a, b), 0);
CREATE TEMP VIEW decisions AS
    WITH log AS (
        SELECT photo_id, restored_sha256, reviewed_at, finished_at,
            row_number() OVER (PARTITION BY photo_id ORDER BY {NEWEST_FIRST}) AS age
        FROM manifest SEMI JOIN exported USING (photo_id)
    ), made AS (
        SELECT photo_id, min(age) AS age, arg_min(finished_at, age) AS finished_at
        FROM log WHERE reviewed_at IS NULL GROUP BY photo_id
    ), judged AS (
        SELECT DISTINCT photo_id, log.restored_sha256 FROM log JOIN made USING (photo_id)
        WHERE log.age <= made.age AND restored_sha256 IS NOT NULL
    ), seen AS (
        SELECT photo_id, unnest(faces) AS face FROM newest SEMI JOIN exported USING (photo_id)
    ), placed AS (
        SELECT number, arg_max(face.face_index, coalesce(iou(box, face.box), 0)) AS place
        FROM exported JOIN seen USING (photo_id)
        WHERE CASE WHEN box IS NULL THEN face.face_index = face_index ELSE iou(box, face.box) > {SAME_PLACE} END
        GROUP BY number
    ), weighed AS (
        SELECT photo_id, coalesce(CASE WHEN face_index IS NOT NULL THEN place END, face_index) AS face_index,
            decision, comment, decided_at, reviewer, exported.restored_sha256, box, strength, file,
            CASE WHEN made.photo_id IS NULL THEN '{NO_RESULT}'
                WHEN CASE WHEN exported.restored_sha256 IS NULL THEN decided_at <= made.finished_at
                    ELSE judged.photo_id IS NULL END THEN '{NEWER}'
                WHEN face_index IS NOT NULL AND place IS NULL THEN '{NO_FACE}' END AS void,
            number
        FROM exported LEFT JOIN made USING (photo_id) LEFT JOIN judged USING (photo_id, restored_sha256)
        LEFT JOIN placed USING (number)
    )
    SELECT * EXCLUDE (number) FROM weighed
    QUALIFY row_number() OVER (PARTITION BY photo_id, face_index ORDER BY void IS NOT NULL, number DESC) = 1;
"""
# The same without any decision: it reads no manifest.
NONE_EXPORTED = "CREATE TEMP VIEW decisions AS SELECT * EXCLUDE (number), NULL::VARCHAR AS void FROM exported;"
