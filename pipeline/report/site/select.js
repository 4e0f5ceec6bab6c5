"use strict";
// The gallery's selection of photos and their order: as an object, and as a part of the address.

/**
 * @typedef {{search: string, status: string, source: string, review: string, decision: string, sort: string,
 *            descending: boolean, ranges: Record<string, [number|null, number|null]>}} Choice
 *   status: a status or "any". source: its place or "". review: "", "yes" or "no". decision: "", "open", "accept",
 *   "reject" or "comment". sort: a metric, "status", "review", "name" or "" (sources by name, photos in archive order).
 */

const Choices = {
  /** @returns {Choice} */
  standard() {
    const status = Report.summary.counts.restored ? "restored" : "any";
    return { search: "", status, source: "", review: "", decision: "", sort: "", descending: false, ranges: {} };
  },

  /** @param {URLSearchParams} query @returns {Choice} */
  read(query) {
    const choice = this.standard();
    for (const name of /** @type {const} */ (["search", "status", "source", "review", "decision", "sort"])) {
      choice[name] = query.get(name) ?? choice[name];
    }
    choice.descending = query.has("descending");
    for (const { name } of Report.summary.metrics) {
      const text = query.get(name);
      if (text !== null) choice.ranges[name] = this.range(text);
    }
    return choice;
  },

  /** "18..", "..20.5", "1..2". @param {string} text @returns {[number|null, number|null]} */
  range(text) {
    const [low, high] = text
      .split("..")
      .map((part) => (part === "" || Number.isNaN(Number(part)) ? null : Number(part)));
    return [low ?? null, high ?? null];
  },

  /** The part of the address, without defaults. @param {Choice} choice */
  write(choice) {
    const query = new URLSearchParams();
    const standard = this.standard();
    for (const name of /** @type {const} */ (["search", "status", "source", "review", "decision", "sort"])) {
      if (choice[name] !== standard[name]) query.set(name, choice[name]);
    }
    if (choice.descending) query.set("descending", "1");
    for (const [name, [low, high]] of Object.entries(choice.ranges)) query.set(name, `${low ?? ""}..${high ?? ""}`);
    return query.toString();
  },
};

/** The rows of a selection, in its order. @param {Choice} choice @returns {Promise<Uint32Array>} */
async function chosen(choice) {
  const tests = await photoTests(choice);
  const suits = await faceTest(choice);
  const first = await Photos.firstFaces();
  const rows = [];
  for (let row = 0; row < Photos.count; row++) {
    if (tests.every((test) => test(row)) && (suits === null || someFace(first, row, suits))) rows.push(row);
  }
  return sorted(Uint32Array.from(rows), choice, suits);
}

/** @param {Uint32Array} first @param {number} row @param {(face: number) => boolean} suits */
function someFace(first, row, suits) {
  for (let face = first[row]; face < first[row + 1]; face++) if (suits(face)) return true;
  return false;
}

/** @param {Choice} choice @returns {Promise<((row: number) => boolean)[]>} */
async function photoTests(choice) {
  const tests = [];
  if (choice.status !== "any") {
    const status = await Photos.column("photo", "status");
    const wanted = STATUSES.indexOf(choice.status);
    tests.push((/** @type {number} */ row) => status[row] === wanted);
  }
  if (choice.source !== "") {
    const source = await Photos.column("photo", "source");
    tests.push((/** @type {number} */ row) => source[row] === Number(choice.source));
  }
  if (choice.search !== "") tests.push(await searchTest(choice.search));
  if (choice.review === "no") {
    const first = await Photos.firstFaces();
    const flagged = await Photos.column("face", "needs_review");
    tests.push((/** @type {number} */ row) => !someFace(first, row, (face) => flagged[face] === 1));
  }
  if (choice.decision !== "") tests.push(await decisionTest(choice.decision));
  for (const metric of Report.summary.metrics) {
    const range = metric.level === "photo" ? choice.ranges[metric.name] : undefined;
    if (range) tests.push(within(await Photos.column("photo", metric.name), range));
  }
  return tests;
}

/** Photos whose source and path contain every word. @param {string} search */
async function searchTest(search) {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const [names, sources, source] = await Promise.all([
    Photos.texts("names"),
    Photos.sources(),
    Photos.column("photo", "source"),
  ]);
  return (/** @type {number} */ row) => {
    const text = `${sources[source[row]]}/${names[row]}`.toLowerCase();
    return words.every((word) => text.includes(word));
  };
}

/** Photos with this decision on the photo or on one of its faces. @param {string} wanted */
async function decisionTest(wanted) {
  const ids = await Photos.texts("ids");
  const found = new Set();
  for (const { photo_id, decision, comment } of Decisions.all.values()) {
    if (wanted === "comment" ? comment !== "" : wanted === "open" ? decision !== "" : decision === wanted) {
      found.add(photo_id);
    }
  }
  return (/** @type {number} */ row) => found.has(ids[row]) === (wanted !== "open");
}

/** Whether a face meets the selection's conditions on faces; null without such conditions. @param {Choice} choice */
async function faceTest(choice) {
  /** @type {((face: number) => boolean)[]} */
  const tests = [];
  for (const metric of Report.summary.metrics) {
    const range = metric.level === "face" ? choice.ranges[metric.name] : undefined;
    if (range) tests.push(within(await Photos.column("face", metric.name), range));
  }
  if (choice.review === "yes") {
    const flagged = await Photos.column("face", "needs_review");
    tests.push((/** @type {number} */ face) => flagged[face] === 1);
  }
  return tests.length ? (/** @type {number} */ face) => tests.every((test) => test(face)) : null;
}

/** @param {Float32Array} values @param {[number|null, number|null]} range @returns {(place: number) => boolean} */
function within(values, [low, high]) {
  return (place) => values[place] >= (low ?? -Infinity) && values[place] <= (high ?? Infinity); // never NaN
}
