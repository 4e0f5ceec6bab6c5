"use strict";
// Above the cards: how many there are, how many are decided, and the filters that a review needs, one click away.

const Head = {
  /** @type {Record<string, any>} */
  parts: {},

  build() {
    this.parts = {
      count: element("p", { class: "count", role: "status" }),
      progress: element("progress", { "aria-label": "Decided" }),
      decided: element("p", { class: "note" }),
      chips: element("div", { class: "chips", role: "group", "aria-label": "Show" }),
      undo: element("button", { type: "button", class: "quiet", onclick: () => Gallery.undo() }, "Undo"),
    };
    const { count, progress, decided, chips, undo } = this.parts;
    return element(
      "div",
      { class: "results-head" },
      element("div", { class: "tally" }, count, progress, decided, undo),
      chips,
      Picks.build(),
      element("p", { class: "note keys" }, "Arrows move, Enter opens, A accepts, R rejects, Z undoes, Space selects."),
    );
  },

  /** @param {Choice} choice @param {Items} scope  the selection, whatever was decided */
  draw(choice, scope) {
    const { count, progress, decided, undo } = this.parts;
    const faces = scope.faces !== null;
    const unit = faces ? "faces" : "files"; // a member that is no photo is one, too, as in `interlcm status`
    const all = faces ? Report.summary.faces : Photos.count;
    count.textContent = `${Numbers.whole(Gallery.rows.length)} of ${Numbers.whole(all)} ${unit}`;
    const counts = this.counts(scope);
    const done = scope.rows.length - counts.open;
    decided.textContent = `${Numbers.whole(done)} of ${Numbers.whole(scope.rows.length)} decided`;
    set(progress, { max: Math.max(scope.rows.length, 1), value: done });
    undo.disabled = Decisions.steps.length === 0;
    this.chips(choice, counts);
  },

  /** How many items each filter on decisions would show. @param {Items} scope @returns {Record<string, number>} */
  counts({ rows, faces }) {
    const names = ["open", "accept", "reject", "comment", "conflict"];
    const tests = names.map((name) => Verdicts.test(name));
    const counts = names.map(() => 0);
    for (let place = 0; place < rows.length; place++) {
      const face = faces?.[place] ?? -1;
      for (let n = 0; n < tests.length; n++) if (tests[n](rows[place], face)) counts[n]++;
    }
    return Object.fromEntries(names.map((name, place) => [name, counts[place]]));
  },

  /** @param {Choice} choice @param {Record<string, number>} counts */
  chips(choice, counts) {
    const focused = document.activeElement?.getAttribute("data-chip");
    const chip = (
      /** @type {string} */ label,
      /** @type {"decision"|"review"|"sort"|"show"|"sample"} */ name,
      /** @type {string} */ value,
    ) => {
      const pressed = choice[name] === value;
      const onclick = () => Filters.update({ ...choice, [name]: pressed ? "" : value }, true);
      const attributes = { type: "button", class: "chip", "data-chip": `${name}-${value}` };
      return element("button", { ...attributes, "aria-pressed": String(pressed), onclick }, label);
    };
    const number = (/** @type {string} */ name) => Numbers.whole(counts[name]);
    const some = (/** @type {string} */ name, /** @type {string} */ label) =>
      counts[name] || choice.decision === name ? [chip(`${label} ${number(name)}`, "decision", name)] : [];
    this.parts.chips.replaceChildren(
      chip(`Undecided: ${number("open")} left`, "decision", "open"),
      chip("Doubtful first", "sort", "doubt"),
      chip("Needs review", "review", "yes"),
      ...some("accept", "Accepted"),
      ...some("reject", "Rejected"),
      ...some("comment", "With a comment"),
      ...some("conflict", "Reviewers differ"),
      ...(Lot.plan ? [chip("Sample", "sample", "yes")] : []),
      ...(Report.summary.faces ? [chip("Faces", "show", "faces")] : []),
    );
    if (focused) this.parts.chips.querySelector(`[data-chip="${focused}"]`)?.focus();
  },
};
