"use strict";
// The curator's decisions, kept in this browser under the run's key: one entry for each photo or face.

/**
 * @typedef {{photo_id: string, face_index: number|null, decision: ""|"accept"|"reject", comment: string,
 *            decided_at: string}} Decision   face_index null: the whole photo
 */

const Decisions = {
  /** @type {Map<string, Decision>} by photo_id and face_index */
  all: new Map(),

  get prefix() {
    return `interlcm:${Report.summary.run}:`;
  },

  /** Read this browser's decisions, and follow changes made in its other windows. */
  open() {
    const damaged = Kept.keys().filter((key) => !this.take(key, Kept.get(key)));
    if (damaged.length) {
      const what = Numbers.counted(damaged.length, "decision", "decisions");
      trouble(`${what} kept in this browser cannot be read and left out; decide on them again, or import an export.`);
    }
    window.addEventListener("storage", (event) => {
      if (event.key === null) this.all.clear();
      else this.take(event.key, event.newValue);
    });
  },

  /**
   * @param {string} key of localStorage @param {string|null} text
   * @returns {boolean} false for a decision of this run that cannot be read
   */
  take(key, text) {
    if (!key.startsWith(this.prefix)) return true;
    const subject = key.slice(this.prefix.length);
    this.all.delete(subject);
    if (text === null) return true;
    try {
      const [photo_id, face_index] = subject.split("/");
      const [decision, decided_at, comment] = JSON.parse(text);
      const found = Exchange.checked({ photo_id, face_index, decision, comment, decided_at }, 1);
      if (subjectOf(found.photo_id, found.face_index) !== subject) return false;
      this.all.set(subject, found);
      return true;
    } catch {
      return false;
    }
  },

  /** @param {string} photo_id @param {number|null} face_index @returns {Decision|undefined} */
  of(photo_id, face_index) {
    return this.all.get(subjectOf(photo_id, face_index));
  },

  /** @param {string} photo_id @param {number|null} face_index @param {Decision["decision"]} decision */
  decide(photo_id, face_index, decision) {
    this.write({
      photo_id,
      face_index,
      decision,
      comment: this.of(photo_id, face_index)?.comment ?? "",
      decided_at: now(),
    });
  },

  /** @param {string} photo_id @param {number|null} face_index @param {string} comment */
  comment(photo_id, face_index, comment) {
    const decision = this.of(photo_id, face_index)?.decision ?? "";
    this.write({ photo_id, face_index, decision, comment, decided_at: now() });
  },

  /** Keep an entry, or remove it if both decision and comment are empty. @param {Decision} given */
  write(given) {
    const subject = subjectOf(given.photo_id, given.face_index);
    const nothing = given.decision === "" && given.comment === "";
    const text = nothing ? null : JSON.stringify([given.decision, given.decided_at, given.comment]);
    if (!Kept.set(this.prefix + subject, text)) {
      trouble("This browser cannot store more decisions. Export them, clear them here, then continue.");
      return;
    }
    if (nothing) this.all.delete(subject);
    else this.all.set(subject, given);
  },

  /**
   * Add other decisions; of two on the same photo or face the later one stays.
   * @param {Decision[]} others @returns {number} how many were added
   */
  merge(others) {
    const later = others.filter((other) => {
      const own = this.of(other.photo_id, other.face_index);
      return own === undefined || own.decided_at < other.decided_at;
    });
    for (const other of later) this.write(other);
    return later.length;
  },

  clear() {
    for (const key of Kept.keys()) if (key.startsWith(this.prefix)) Kept.set(key, null);
    this.all.clear();
  },

  /** All decisions, in the order of photo and face. @returns {Decision[]} */
  sorted() {
    return [...this.all.values()].sort(
      (one, other) => compareText(one.photo_id, other.photo_id) || (one.face_index ?? -1) - (other.face_index ?? -1),
    );
  },
};

/** @param {string} photo_id @param {number|null} face_index */
function subjectOf(photo_id, face_index) {
  return `${photo_id}/${face_index ?? ""}`;
}

/** @param {string} one @param {string} other */
function compareText(one, other) {
  return one < other ? -1 : one > other ? 1 : 0;
}

/** Time in seconds, which compares as text. */
function now() {
  return `${new Date().toISOString().slice(0, 19)}Z`;
}
