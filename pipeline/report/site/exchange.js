"use strict";
// Decisions as files: CSV and JSON, written and read.

const COLUMNS = /** @type {const} */ ([
  "photo_id",
  "face_index",
  "decision",
  "comment",
  "decided_at",
  "reviewer",
  "restored_sha256",
  "box",
  "strength",
]);
const NEEDED = COLUMNS.slice(0, 5); // the others came later
const WRITTEN = [...COLUMNS, "member"]; // the file's name is for people; it is not read again

/** @typedef {Decision & {member: string}} Named */

const Exchange = {
  /** The decisions with the path of each photo; without one if the photo is not in this report. @param {Decision[]} decisions */
  async named(decisions) {
    // Without names decisions are still worth saving: another report may have taken the place of this one's files.
    const texts = Promise.all([Photos.texts("ids"), Photos.texts("names")]);
    const [ids, names] = await texts.catch(() => [/** @type {string[]} */ ([]), /** @type {string[]} */ ([])]);
    const members = new Map(ids.map((id, row) => [id, names[row]]));
    return decisions.map((one) => ({ ...one, member: members.get(one.photo_id) ?? "" }));
  },

  /** @param {Named[]} decisions */
  csv(decisions) {
    return this.table(
      WRITTEN,
      decisions.map((one) => ({ ...one, box: one.box?.join(" "), member: this.harmless(one.member) })),
    );
  },

  /** A name that a spreadsheet would run as a formula gets an apostrophe, as in `interlcm query`. @param {string} name */
  harmless(name) {
    return /^[=+\-@\t\r]/.test(name) ? `'${name}` : name;
  },

  /** RFC 4180: a cell with a comma, quote or line break is in quotes. @param {readonly string[]} columns @param {any[]} rows */
  table(columns, rows) {
    const cell = (/** @type {any} */ value) =>
      /[",\r\n]/.test(String(value ?? "")) ? `"${String(value).replaceAll('"', '""')}"` : String(value ?? "");
    const lines = rows.map((row) => columns.map((name) => cell(row[name])).join(","));
    return `${[columns.join(","), ...lines].join("\r\n")}\r\n`;
  },

  /** @param {Named[]} decisions */
  json(decisions) {
    const lines = decisions.map((one) => JSON.stringify(Object.fromEntries(WRITTEN.map((name) => [name, one[name]]))));
    return `[\n${lines.join(",\n")}\n]\n`;
  },

  /** Read decisions from an export. Throws an Error with the reason. @param {string} text @returns {Decision[]} */
  parse(text) {
    const rows = text.trimStart().startsWith("[") ? JSON.parse(text) : this.records(text);
    return rows.map((/** @type {any} */ row, /** @type {number} */ place) => this.checked(row, place + 1));
  },

  /** The rows of a CSV by the names in its first line. @param {string} text */
  records(text) {
    const [header, ...lines] = this.cells(text.replace(/^\ufeff/, ""));
    const missing = NEEDED.filter((name) => !header?.includes(name));
    if (missing.length) throw new Error(`these columns are missing: ${missing.join(", ")}`);
    return lines.map((line) => named(/** @type {string[]} */ (header), line));
  },

  /** @param {string} text @returns {string[][]} */
  cells(text) {
    const lines = [];
    /** @type {string[]} */
    let line = [];
    const token = /("(?:[^"]|"")*"|[^",\r\n]*)(,|\r\n|\n|\r|$)/gy;
    for (let match = token.exec(text); match && token.lastIndex <= text.length; match = token.exec(text)) {
      const [, cell, end] = match;
      if (end === "" && cell === "" && line.length === 0) break;
      line.push(cell.startsWith('"') ? cell.slice(1, -1).replaceAll('""', '"') : cell);
      if (end === ",") continue;
      lines.push(line);
      line = [];
      if (end === "") break;
    }
    return lines;
  },

  /** @param {any} row @param {number} place @returns {Decision} */
  checked(row, place) {
    const optional = (/** @type {any} */ value) =>
      value === null || value === undefined || value === "" ? null : value;
    const face = optional(row.face_index) === null ? null : Number(row.face_index);
    const strength = optional(row.strength) === null ? null : Number(row.strength);
    const corners = optional(row.box);
    const box = typeof corners === "string" ? corners.split(" ").map(Number) : corners;
    const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d/.test(row.decided_at ?? "") ? Date.parse(row.decided_at) : NaN;
    const sound =
      /^[\w.-]+$/.test(row.photo_id ?? "") &&
      (face === null || (Number.isInteger(face) && face >= 0)) &&
      ["", "accept", "reject"].includes(row.decision ?? "") &&
      (strength === null || (strength >= 0 && strength <= 1)) &&
      (box === null || (Array.isArray(box) && box.length === 4 && box.every(Number.isFinite))) &&
      !Number.isNaN(time);
    if (!sound) throw new Error(`row ${place} is not a decision`);
    return {
      photo_id: row.photo_id,
      face_index: face,
      decision: row.decision ?? "",
      comment: String(row.comment ?? ""),
      decided_at: new Date(time).toISOString(),
      reviewer: String(row.reviewer ?? ""),
      restored_sha256: String(row.restored_sha256 ?? ""),
      box,
      strength,
    };
  },

  /** Download a text as a file. @param {string} name @param {string} type @param {string} text */
  download(name, type, text) {
    const address = URL.createObjectURL(new Blob([text], { type }));
    element("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  },

  /** A file's name with the run and the time. @param {string} what @param {string} kind */
  filename(what, kind) {
    const day = timeAfter().slice(0, 19).replaceAll(":", "").replace("T", "-");
    return `${what}-${Report.summary.run}-${day}.${kind}`;
  },
};
