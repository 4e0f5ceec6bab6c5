"use strict";
// For each photo and face of the report, in arrays as fast as the other columns: how it was decided.

const VERDICTS = /** @type {const} */ (["", "accept", "reject"]);

const Verdicts = {
  /** places in VERDICTS */
  photos: new Uint8Array(),
  faces: new Uint8Array(),
  /** 1: the photo or one of its faces has a comment; 2: reviewers differ; 3: both */
  notes: new Uint8Array(),
  /** @type {Uint32Array} place of each photo's first face */
  first: new Uint32Array(),
  /** @type {Promise<void>|null} */
  making: null,

  ready() {
    this.making ??= this.build();
    return this.making;
  },

  async build() {
    this.first = await Photos.firstFaces();
    await Decisions.open();
    this.photos = new Uint8Array(Photos.count);
    this.notes = new Uint8Array(Photos.count);
    this.faces = new Uint8Array(Report.summary.faces);
    if (Decisions.all.size === 0) return; // nothing more to load
    const [ids, versions] = await Promise.all([Photos.texts("ids"), Photos.texts("versions")]);
    const decided = new Set();
    for (const [{ photo_id }] of Decisions.all.values()) decided.add(photo_id);
    ids.forEach((id, row) => {
      if (decided.has(id)) this.refresh(row, id, versions[row]);
    });
  },

  /** @param {number} row @param {string} photo_id @param {string} versions */
  refresh(row, photo_id, versions) {
    if (!this.photos.length) return; // not needed yet
    let notes = 0;
    const code = (/** @type {number|null} */ face) => {
      const found = Decisions.of(photo_id, face);
      if (!found || !isOn(found, versions)) return 0;
      if (found.comment !== "") notes |= 1;
      if (Decisions.conflict(photo_id, face).length) notes |= 2;
      return VERDICTS.indexOf(found.decision);
    };
    this.photos[row] = code(null);
    for (let place = this.first[row]; place < this.first[row + 1]; place++)
      this.faces[place] = code(place - this.first[row]);
    this.notes[row] = notes;
  },

  /** Whether a photo is decided: as a whole, or each of its faces. @param {number} row */
  decided(row) {
    if (this.photos[row] !== 0) return true;
    const [start, end] = [this.first[row], this.first[row + 1]];
    for (let place = start; place < end; place++) if (this.faces[place] === 0) return false;
    return end > start;
  },

  /** Whether a photo or one of its faces was rejected. @param {number} row */
  rejected(row) {
    return this.photos[row] === 2 || this.some(row, 2);
  },

  /** Whether a photo is good: decided, and nothing of it rejected. @param {number} row */
  accepted(row) {
    return this.decided(row) && !this.rejected(row);
  },

  /** @param {number} row @param {number} code */
  some(row, code) {
    for (let place = this.first[row]; place < this.first[row + 1]; place++) if (this.faces[place] === code) return true;
    return false;
  },

  /** Whether an item is decided; a face also by a decision on its photo. @param {number} row @param {number} face -1: the photo */
  itemDecided(row, face) {
    return face < 0 ? this.decided(row) : this.photos[row] !== 0 || this.faces[this.first[row] + face] !== 0;
  },

  /** The test of a filter on decisions, for the photo in a row or one of its faces (-1: the photo). @param {string} wanted */
  test(wanted) {
    /** @type {Record<string, (row: number, face: number) => boolean>} */
    const tests = {
      open: (row, face) => !this.itemDecided(row, face),
      accept: (row, face) => (face < 0 ? this.accepted(row) : this.own(row, face) === 1),
      reject: (row, face) => (face < 0 ? this.rejected(row) : this.own(row, face) === 2),
      comment: (row) => (this.notes[row] & 1) !== 0,
      conflict: (row) => (this.notes[row] & 2) !== 0,
    };
    return tests[wanted] ?? (() => true);
  },

  /** The verdict on a face, or else on its photo. @param {number} row @param {number} face */
  own(row, face) {
    return this.faces[this.first[row] + face] || this.photos[row];
  },
};
