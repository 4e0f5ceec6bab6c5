"use strict";
// The dialog "Decisions": counts, the reviewer's name, export, import, conflicts, clear.

const Sheet = {
  open() {
    const dialog = byId("exchange");
    const state = element("p", { class: "state", role: "status" });
    const count = element("p", {});
    const differing = element("div", {});
    const tell = () => {
      count.textContent = this.counted();
      differing.replaceChildren(...this.conflicts(dialog));
    };
    const button = (/** @type {string} */ label, /** @type {() => void} */ onclick, kind = "") =>
      element("button", { type: "button", class: kind, autofocus: kind === "primary", onclick }, label);
    const name = Reviewer.input();
    name.addEventListener("change", () => (Reviewer.name = name.value));
    tell();
    dialog.replaceChildren(
      element("h2", { id: "exchange-title" }, "Decisions"),
      count,
      element("label", { class: "field" }, "Your name, which goes with your decisions", name),
      element(
        "p",
        { class: "note" },
        "This browser keeps your decisions. To use them, export them and put the file into the run's folder ",
        element("code", {}, "decisions/"),
        ": all commands and the next report read them there.",
      ),
      element(
        "div",
        { class: "row" },
        button("Export CSV", () => this.save("csv"), "primary"),
        button("Export JSON", () => this.save("json")),
        button("List of accepted photos", () => this.saveAccepted()),
      ),
      element(
        "label",
        { class: "field" },
        "Import exports of other browsers or reviewers",
        element("input", {
          type: "file",
          accept: ".csv,.json",
          multiple: true,
          onchange: (/** @type {any} */ event) => this.take(event.target, state).then(tell),
        }),
      ),
      state,
      differing,
      element(
        "div",
        { class: "row end" },
        button("Clear all", () => this.clear(state, tell), "danger"),
        button("Close", () => dialog.close()),
      ),
    );
    dialog.showModal();
  },

  counted() {
    const all = [...Decisions.all.values()].map((voices) => /** @type {Decision} */ (voices.at(-1)));
    const number = (/** @type {string} */ kind) => all.filter((one) => one.decision === kind).length;
    const comments = all.filter((one) => one.comment !== "").length;
    const strengths = all.filter((one) => one.strength !== null).length;
    const chosen = strengths ? `, ${Numbers.counted(strengths, "strength", "strengths")}` : "";
    const said = Numbers.counted(comments, "comment", "comments") + chosen;
    return `${Numbers.whole(number("accept"))} accepted, ${Numbers.whole(number("reject"))} rejected, ${said}.`;
  },

  /** Where reviewers differ. @param {any} dialog @returns {Node[]} */
  conflicts(dialog) {
    const found = Decisions.conflicts().length;
    if (!found) return [];
    const what = Numbers.counted(found, "photo or face", "photos or faces");
    const link = element(
      "a",
      { href: "#/gallery?status=any&decision=conflict", onclick: () => dialog.close() },
      "Show",
    );
    return [element("p", { class: "reason" }, `Reviewers differ on ${what}. The newest decision counts. `, link)];
  },

  /** @param {"csv"|"json"} kind */
  async save(kind) {
    const type = kind === "csv" ? "text/csv" : "application/json";
    const rows = await Exchange.named(Decisions.sorted());
    Exchange.download(Exchange.filename("decisions", kind), type, Exchange[kind](rows));
  },

  /** A CSV of the photos that were accepted, none of whose faces was rejected. */
  async saveAccepted() {
    await Verdicts.ready();
    const rows = [];
    for (let row = 0; row < Photos.count; row++) {
      if (!Verdicts.accepted(row)) continue;
      const photo = await Photos.at(row);
      const restored = photo.restored?.startsWith("../") ? decodeURIComponent(photo.restored.slice(3)) : photo.restored;
      rows.push({ ...photo, member: Exchange.harmless(photo.member), restored });
    }
    const columns = ["photo_id", "source", "member", "page", "restored", "restored_sha256"];
    Exchange.download(Exchange.filename("accepted", "csv"), "text/csv", Exchange.table(columns, rows));
  },

  /** @param {HTMLInputElement} input @param {HTMLElement} state */
  async take(input, state) {
    const told = [];
    for (const file of input.files ?? []) {
      try {
        const found = Exchange.parse(await file.text());
        const taken = await Decisions.merge(found);
        const rest = taken < found.length ? " The others are not newer than those here." : "";
        told.push(
          `${file.name}: ${taken} of ${Numbers.counted(found.length, "decision", "decisions")} imported.${rest}`,
        );
      } catch (error) {
        told.push(`${file.name} was not imported: ${/** @type {Error} */ (error).message}.`);
      }
    }
    state.textContent = told.join(" ");
    input.value = "";
  },

  /** @param {HTMLElement} state @param {() => void} tell */
  async clear(state, tell) {
    if (!confirm("Clear all decisions on this run in this browser? To keep them, export them first.")) return;
    await Decisions.clear();
    tell();
    state.textContent = "Cleared.";
  },
};
