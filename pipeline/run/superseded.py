"""Files of earlier results of photos that an attempt restored again."""

from __future__ import annotations

from pipeline import storage
from pipeline.manifest import query
from pipeline.storage.output import Output

# The files that older rows name, of photos of which an attempt made the newest row; with the file that this row names.
FILES = """
SELECT DISTINCT m.restored_uri AS uri, n.restored_uri AS now, i.archive_name FROM manifest AS m
JOIN newest AS n USING (photo_id) JOIN index AS i ON i.photo_id = n.index_id
WHERE n.attempt = {attempt} AND n.status IN ('restored', 'no_face', 'withdrawn') AND m.restored_uri IS NOT NULL
"""


def remove_superseded(output: str, attempt: int) -> None:
    """Remove the files of earlier results, set aside or not, of photos for which this attempt has a new one: such as
    x.jpg.jpg after the photo was restored again as a PNG. A photo that failed this time keeps its earlier file."""
    place = Output(output)
    rows = query.reading(
        output, lambda connection: query.run(connection, FILES.format(attempt=attempt)), decided=False
    ).to_pylist()
    kept = {place.now(row["now"], row["archive_name"]) for row in rows if row["now"]}
    own = (f"{place.restored}/", f"{place.withdrawn}/")
    for uri in {place.now(row["uri"], row["archive_name"]) for row in rows} - kept:
        if uri.startswith(own):  # never a file of another run
            storage.remove(uri)
