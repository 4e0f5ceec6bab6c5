"use strict";
// Export of this browser's decisions to a file, and import from one.

const COLUMNS = /** @type {const} */ (["photo_id", "face_index", "decision", "comment", "decided_at"]);

const Exchange = {
  /** RFC 4180: a cell with a comma, quote or line break is in quotes. @param {Decision[]} decisions */
  csv(decisions) {
    const cell = (/** @type {any} */ value) =>
      /[",\r\n]/.test(String(value ?? "")) ? `"${String(value).replaceAll('"', '""')}"` : String(value ?? "");
    const lines = decisions.map((one) => COLUMNS.map((name) => cell(one[name])).join(","));
    return `${[COLUMNS.join(","), ...lines].join("\r\n")}\r\n`;
  },

  /** @param {Decision[]} decisions */
  json(decisions) {
    return `${JSON.stringify(decisions, COLUMNS.slice(), 1)}\n`;
  },

  /** Read decisions from an export. Throws an Error with the reason. @param {string} text @returns {Decision[]} */
  parse(text) {
    const rows = text.trimStart().startsWith("[") ? JSON.parse(text) : this.records(text);
    return rows.map((/** @type {any} */ row, /** @type {number} */ place) => this.checked(row, place + 1));
  },

  /** The rows of a CSV by the names in its first line. @param {string} text */
  records(text) {
    const [header, ...lines] = this.cells(text.replace(/^\ufeff/, ""));
    const missing = COLUMNS.filter((name) => !header?.includes(name));
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
    const face = row.face_index === null || row.face_index === "" ? null : Number(row.face_index);
    const sound =
      /^[\w.-]+$/.test(row.photo_id ?? "") &&
      (face === null || (Number.isInteger(face) && face >= 0)) &&
      ["", "accept", "reject"].includes(row.decision ?? "") &&
      /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(row.decided_at ?? "");
    if (!sound) throw new Error(`row ${place} is not a decision`);
    const { photo_id, decision, decided_at } = row;
    return { photo_id, face_index: face, decision: decision ?? "", comment: String(row.comment ?? ""), decided_at };
  },

  /** Download the decisions as a file. @param {"csv"|"json"} kind */
  save(kind) {
    const type = kind === "csv" ? "text/csv" : "application/json";
    const address = URL.createObjectURL(new Blob([this[kind](Decisions.sorted())], { type }));
    const day = now().slice(0, 19).replaceAll(":", "").replace("T", "-");
    element("a", { href: address, download: `decisions-${Report.summary.run}-${day}.${kind}` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  },

  /** The dialog: counts, export, import, clear. */
  open() {
    const dialog = byId("exchange");
    const count = element("p", {});
    const state = element("p", { class: "state", role: "status" });
    const tell = () => (count.textContent = this.counted());
    tell();
    dialog.replaceChildren(
      element("h2", { id: "exchange-title" }, "Decisions"),
      count,
      element(
        "p",
        { class: "note" },
        "Your decisions are kept in this browser. To use them, export them and put the file into the run's folder ",
        element("code", {}, "decisions/"),
        ". Then they are in the view ",
        element("code", {}, "decisions"),
        " of ",
        element("code", {}, "interlcm query"),
        " and ",
        element("code", {}, "interlcm restore --where"),
        ".",
      ),
      element(
        "div",
        { class: "row" },
        element("button", { type: "button", class: "primary", onclick: () => this.save("csv") }, "Export CSV"),
        element("button", { type: "button", onclick: () => this.save("json") }, "Export JSON"),
      ),
      element(
        "label",
        { class: "field" },
        "Import decisions from another browser or a colleague",
        element("input", {
          type: "file",
          accept: ".csv,.json",
          onchange: (/** @type {any} */ event) => this.take(event.target, state).then(tell),
        }),
      ),
      state,
      element(
        "div",
        { class: "row end" },
        element(
          "button",
          { type: "button", class: "danger", onclick: () => this.clear(state, tell) },
          "Clear all",
        ),
        element("button", { type: "button", onclick: () => dialog.close() }, "Close"),
      ),
    );
    dialog.showModal();
  },

  counted() {
    const all = Decisions.sorted();
    const number = (/** @type {string} */ kind) => all.filter((one) => one.decision === kind).length;
    const comments = all.filter((one) => one.comment !== "").length;
    const said = Numbers.counted(comments, "comment", "comments");
    return `${number("accept")} accepted, ${number("reject")} rejected, ${said}.`;
  },

  /** @param {HTMLInputElement} input @param {HTMLElement} state */
  async take(input, state) {
    const file = input.files?.[0];
    if (!file) return;
    try {
      const found = this.parse(await file.text());
      const taken = Decisions.merge(found);
      const said = Numbers.counted(found.length, "decision", "decisions");
      const rest = taken < found.length ? " The others are not newer than the decisions in this browser." : "";
      state.textContent = `${file.name}: ${taken} of ${said} imported.${rest}`;
      Gallery.refresh();
    } catch (error) {
      state.textContent = `${file.name} was not imported: ${/** @type {Error} */ (error).message}.`;
    }
    input.value = "";
  },

  /** @param {HTMLElement} state @param {() => void} tell */
  clear(state, tell) {
    if (!confirm("Clear all decisions on this run in this browser? To keep them, export them first.")) return;
    Decisions.clear();
    Gallery.refresh();
    tell();
    state.textContent = "Cleared.";
  },
};
