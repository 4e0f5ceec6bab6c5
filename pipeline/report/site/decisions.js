"use strict";
// The decisions of all reviewers on photos and faces. The newest one on a photo or face counts.

/**
 * @typedef {{photo_id: string, face_index: number|null, decision: ""|"accept"|"reject", comment: string,
 *            decided_at: string, reviewer: string, restored_sha256: string, box: number[]|null,
 *            strength: number|null, settles?: boolean}} Decision
 *   face_index null: the whole photo. decision "": withdrawn, or there is only a comment or a strength.
 *   restored_sha256, box: what was judged, "" if that is not known. strength: 0 (as before) to 1.
 *   settles: made in this page in view of others that differ; not exported.
 * @typedef {{row: number, face: number|null, photo_id: string, restored_sha256: string|null, versions: string,
 *            box: number[]|null}} Target
 *   what a decision is about. versions: the first digits of the photo's result, and of those that it was made of by
 *   following decisions
 */

const Decisions = {
  /** @type {Map<string, Decision[]>} by photo and face: the newest of each reviewer, the newest of all last */
  all: new Map(),
  /** @type {{target: Target, before: Decision|undefined}[][]} what undo takes back, the last step last */
  steps: [],
  /** @type {Promise<void>|null} */
  opening: null,

  /** Read the decisions that came with the report and those in this browser. */
  open() {
    if (this.opening === null) {
      this.opening = this.read();
      window.addEventListener("focus", () => this.readAgain());
    }
    return this.opening;
  },

  async read() {
    const { decision_files, decision_fields } = Report.summary;
    const [kept, ...given] = await Promise.all([
      Store.open().then(() => Store.all()),
      ...Array.from({ length: decision_files }, (_, place) => Report.load(`decisions-${place}`)),
    ]);
    this.all.clear();
    this.take([...given.flat().map((/** @type {any[]} */ values) => named(decision_fields, values)), ...kept]);
  },

  /** Another window of this browser may have decided too. */
  async readAgain() {
    if (this.take(await Store.all())) await this.changed();
  },

  /** Add what can be read, and say how much cannot; returns how many were new. @param {any[]} rows */
  take(rows) {
    let [added, damaged] = [0, 0];
    for (const one of rows) {
      try {
        added += Number(this.add({ ...Exchange.checked(one, 1), settles: one.settles === true }));
      } catch {
        damaged++;
      }
    }
    if (damaged) {
      const what = Numbers.counted(damaged, "decision", "decisions");
      trouble(`${what} kept in this browser cannot be read and left out; decide on them again, or import an export.`);
    }
    return added;
  },

  /** After a change of any decisions. */
  async changed() {
    await Verdicts.build();
    document.dispatchEvent(new Event("decided"));
  },

  /** @param {string} photo_id @param {number|null} face_index @returns {Decision|undefined} */
  of(photo_id, face_index) {
    return this.all.get(subjectOf(photo_id, face_index))?.at(-1);
  },

  /** The decision on the result that the photo has now. @param {Photo|Target} photo @param {number|null} face */
  current(photo, face) {
    const found = this.of(photo.photo_id, face);
    return found && isOn(found, photo.versions) ? found : undefined;
  },

  /** Decisions of reviewers who differ, until one is made in view of them. @param {string} photo_id @param {number|null} face */
  conflict(photo_id, face) {
    const voices = (this.all.get(subjectOf(photo_id, face)) ?? []).filter((one) => one.decision !== "");
    const differ = new Set(voices.map((one) => one.decision)).size > 1;
    return differ && !voices.at(-1)?.settles ? voices : [];
  },

  /** Photos and faces on which reviewers differ. */
  conflicts() {
    const found = [];
    for (const voices of this.all.values()) {
      const { photo_id, face_index } = voices[0];
      if (voices.length > 1 && this.conflict(photo_id, face_index).length) found.push(voices);
    }
    return found;
  },

  /** Decide on some photos or faces: one step for undo. @param {Target[]} targets @param {Decision["decision"]} decision */
  decide(targets, decision) {
    this.steps.push(targets.map((target) => ({ target, before: this.current(target, target.face) })));
    return this.write(
      targets,
      targets.map((target) => this.record(target, { decision })),
    );
  },

  /** Take the last step back; returns what it was about. @returns {Target[]} */
  undo() {
    const step = this.steps.pop() ?? [];
    const blank = { decision: /** @type {const} */ (""), comment: "", strength: null };
    const targets = step.map(({ target }) => target);
    const rows = step.map(({ target, before }) => {
      const { decision, comment, strength } = before ?? blank;
      return this.record(target, { decision, comment, strength });
    });
    this.write(targets, rows);
    return targets;
  },

  /** Change the comment or the strength alone. @param {Target} target @param {Partial<Decision>} changes */
  note(target, changes) {
    this.write([target], [this.record(target, changes)]);
  },

  /** The decision on a target with some changes, made now. @param {Target} target @param {Partial<Decision>} changes */
  record(target, changes) {
    const { photo_id, face } = target;
    const before = this.current(target, face);
    const settles = before?.settles || this.conflict(photo_id, face).length > 0;
    return /** @type {Decision} */ ({
      photo_id,
      face_index: face,
      decision: before?.decision ?? "",
      comment: before?.comment ?? "",
      decided_at: timeAfter(this.of(photo_id, face)?.decided_at),
      reviewer: Reviewer.name,
      restored_sha256: target.restored_sha256 ?? "",
      box: target.box,
      strength: before?.strength ?? null,
      settles,
      ...changes,
    });
  },

  /** @param {Target[]} targets @param {Decision[]} rows */
  write(targets, rows) {
    for (const one of rows) this.add(one);
    for (const { row, photo_id, versions } of targets) Verdicts.refresh(row, photo_id, versions);
    document.dispatchEvent(new Event("decided"));
    return this.keep(rows);
  },

  /** @param {Decision[]} rows */
  async keep(rows) {
    if (await Store.put(rows)) return;
    trouble("This browser cannot store more decisions. Export them before you close the page.");
  },

  /** Returns whether it is new here: not older than that of the same reviewer. @param {Decision} given */
  add(given) {
    const subject = subjectOf(given.photo_id, given.face_index);
    const known = this.all.get(subject) ?? [];
    const own = known.find((one) => one.reviewer === given.reviewer);
    if (own && own.decided_at >= given.decided_at) return false;
    const voices = [...known.filter((one) => one !== own), given];
    this.all.set(
      subject,
      voices.sort((one, other) => compareText(one.decided_at, other.decided_at)),
    );
    return true;
  },

  /** Add decisions of others. @param {Decision[]} others @returns {Promise<number>} how many were new */
  async merge(others) {
    const added = others.filter((other) => this.add(other));
    await this.keep(added);
    await this.changed();
    return added.length;
  },

  /** Forget what this browser keeps; those that came with the report remain. */
  async clear() {
    await Store.clear();
    this.steps = [];
    await this.read();
    await this.changed();
  },

  /** The newest of each reviewer, in the order of photo, face and time. @returns {Decision[]} */
  sorted() {
    return [...this.all.values()]
      .sort(
        ([one], [other]) =>
          compareText(one.photo_id, other.photo_id) || (one.face_index ?? -1) - (other.face_index ?? -1),
      )
      .flat();
  },
};

/** @param {number} row @param {Photo} photo @param {number|null} face @returns {Target} */
function targetOf(row, photo, face) {
  const { photo_id, restored_sha256, versions } = photo;
  return { row, face, photo_id, restored_sha256, versions, box: face === null ? null : photo.faces[face].box };
}

/** Whether a decision is about one of these results. @param {Decision} one @param {string} versions */
function isOn(one, versions) {
  return one.restored_sha256 === "" || versions.split(" ").includes(one.restored_sha256.slice(0, 8));
}

/** @param {string} photo_id @param {number|null} face_index */
function subjectOf(photo_id, face_index) {
  return `${photo_id}/${face_index ?? ""}`;
}

/** @param {string} one @param {string} other */
function compareText(one, other) {
  return one < other ? -1 : one > other ? 1 : 0;
}

/** The time now, UTC, and later than a given one: of two clocks one may be ahead. @param {string} [than] */
function timeAfter(than) {
  return new Date(Math.max(Date.now(), than ? Date.parse(than) + 1 : 0)).toISOString();
}
