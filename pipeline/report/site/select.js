"use strict";
// The gallery's selection of photos and their order: as an object, and as a part of the address.

/**
 * @typedef {{search: string, status: string, source: string, review: string, decision: string, sort: string,
 *            show: string, sample: string, descending: boolean, ranges: Record<string, [number|null, number|null]>}} Choice
 *   status: a status or "any". source: its place or "". review: "", "yes" or "no". decision: "", "open", "accept",
 *   "reject", "comment" or "conflict". sort: a metric, "doubt", "status", "review", "name" or "" (sources by name, photos
 *   in archive order). show: "" (photos) or "faces". sample: "", or "yes": only photos of the sample that was drawn.
 * @typedef {{rows: Uint32Array, faces: Int32Array|null}} Items   photos, or faces by their place in their photos
 */

const NAMES = /** @type {const} */ (["search", "status", "source", "review", "decision", "sort", "show", "sample"]);

const Choices = {
  /** @returns {Choice} */
  standard() {
    const status = Report.summary.counts.restored ? "restored" : "any";
    const names = Object.fromEntries(NAMES.map((name) => [name, ""]));
    return /** @type {any} */ ({ ...names, status, descending: false, ranges: {} });
  },

  /** @param {URLSearchParams} query @returns {Choice} */
  read(query) {
    const choice = this.standard();
    for (const name of NAMES) {
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
    for (const name of NAMES) {
      if (choice[name] !== standard[name]) query.set(name, choice[name]);
    }
    if (choice.descending) query.set("descending", "1");
    for (const [name, [low, high]] of Object.entries(choice.ranges)) query.set(name, `${low ?? ""}..${high ?? ""}`);
    return query.toString();
  },
};

/** The photos or faces of a selection, whatever was decided on them, in its order. @param {Choice} choice @returns {Promise<Items>} */
async function chosen(choice) {
  const tests = await photoTests(choice);
  const suits = await faceTest(choice);
  const first = await Photos.firstFaces();
  const found = [];
  for (let row = 0; row < Photos.count; row++) {
    if (tests.every((test) => test(row)) && (suits === null || someFace(first, row, suits))) found.push(row);
  }
  const rows = await sorted(Uint32Array.from(found), choice, suits);
  return choice.show === "faces" ? facesOf(rows, first, suits) : { rows, faces: null };
}

/** @param {Uint32Array} rows @param {Uint32Array} first @param {((face: number) => boolean)|null} suits @returns {Items} */
function facesOf(rows, first, suits) {
  const [own, places] = [/** @type {number[]} */ ([]), /** @type {number[]} */ ([])];
  for (const row of rows) {
    for (let face = first[row]; face < first[row + 1]; face++) {
      if (suits !== null && !suits(face)) continue;
      own.push(row);
      places.push(face - first[row]);
    }
  }
  return { rows: Uint32Array.from(own), faces: Int32Array.from(places) };
}

/** Those items that a test on row and face (-1: the photo) lets through. @param {Items} items @param {(row: number, face: number) => boolean} test @returns {Items} */
function narrowed({ rows, faces }, test) {
  const kept = [];
  for (let place = 0; place < rows.length; place++) if (test(rows[place], faces?.[place] ?? -1)) kept.push(place);
  const of = faces && Int32Array.from(kept, (place) => faces[place]);
  return { rows: Uint32Array.from(kept, (place) => rows[place]), faces: of };
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
  if (choice.sample !== "") tests.push(await Lot.test());
  for (const metric of Report.summary.metrics) {
    const range = metric.level === "photo" ? choice.ranges[metric.name] : undefined;
    if (range) tests.push(within(await Photos.column("photo", metric.name), range));
  }
  return tests;
}

/** Photos whose source and path contain every word. @param {string} search */
async function searchTest(search) {
  const words = folded(search).split(/\s+/).filter(Boolean);
  const [names, sources, source] = await Promise.all([
    Photos.once("folded names", async () => (await Photos.texts("names")).map(folded)),
    Photos.once("folded sources", async () => (await Photos.sources()).map(folded)),
    Photos.column("photo", "source"),
  ]);
  return (/** @type {number} */ row) => {
    const text = `${sources[source[row]]}/${names[row]}`;
    return words.every((word) => text.includes(word));
  };
}

/** A text for comparison without case, composed: é may be one character or two, and file systems differ. @param {string} text */
function folded(text) {
  return text.normalize("NFC").toLowerCase().normalize("NFC");
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
