"use strict";
// The first page: counts, time and cost, failures, and measures of the restored faces.

const Overview = {
  /** @param {HTMLElement} place */
  show(place) {
    if (place.childElementCount) return; // drawn already; it never changes
    place.append(
      this.equation(),
      this.figures(),
      element("div", { class: "columns" }, this.reasons(), this.effort(), this.made()),
      element("h2", {}, "Measures of the restored faces"),
      element("p", { class: "note" }, "Click a bar to see its photos in the gallery."),
      element("div", { class: "plots" }, ...Report.summary.plots.map((/** @type {Plot} */ plot) => Plots.figure(plot))),
    );
  },

  /** indexed = restored + no face + skipped + failed + pending, each a link to its photos. */
  equation() {
    const { counts } = Report.summary;
    const names = STATUSES.filter((name) => name !== "withdrawn" || counts.withdrawn > 0);
    const terms = [...names, ...(counts.removed ? ["removed"] : []), "pending"].flatMap((name, place) => [
      element("span", { class: "sign", "aria-hidden": "true" }, place ? "+" : counts.adds_up ? "=" : "≠"),
      this.term(name, counts[name]),
    ]);
    const warning = counts.adds_up
      ? null
      : element(
          "p",
          { class: "trouble" },
          "The counts do not add up: index and manifest do not belong to the same run.",
        );
    return element(
      "section",
      { "aria-labelledby": "equation-title" },
      element("h2", { id: "equation-title" }, "Every file is accounted for"),
      element("div", { class: "equation" }, this.term("indexed", counts.indexed), ...terms),
      warning,
    );
  },

  /** @param {string} name @param {number} number */
  term(name, number) {
    const parts = [
      element("span", { class: "number" }, Numbers.whole(number)),
      element("span", { class: "name" }, Numbers.words(name)),
    ];
    const listed = STATUSES.includes(name) && number > 0;
    return listed
      ? element("a", { class: `term ${name}`, href: `#/gallery?status=${name}` }, ...parts)
      : element("span", { class: `term ${name}` }, ...parts);
  },

  /** The main figures. */
  figures() {
    const { summary } = Report;
    const { counts, to_review, faces_per_photo, wall_seconds, done, cost } = summary;
    const tiles = [
      this.tile(
        Numbers.whole(counts.faces),
        counts.faces === 1 ? "face restored" : "faces restored",
        faces_per_photo ? `${Numbers.counted(faces_per_photo, "face", "faces")} per restored photo` : "",
      ),
      this.tile(
        Numbers.whole(to_review),
        to_review === 1 ? "face to review" : "faces to review",
        to_review
          ? element(
              "a",
              { href: "#/gallery?review=yes&sort=review&descending=1" },
              to_review === 1 ? "Review it" : "Review them",
            )
          : "no measure crosses a threshold",
      ),
    ];
    if (wall_seconds)
      tiles.push(
        this.tile(
          Numbers.duration(wall_seconds),
          "run time",
          `${Numbers.duration((wall_seconds / done) * 1000)} per 1,000 photos, all attempts together`,
        ),
      );
    if (cost) {
      const money = (/** @type {number} */ value) =>
        `${value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 })} ${cost.currency}`;
      tiles.push(
        this.tile(money(cost.per_1000), "per 1,000 photos", `at ${money(cost.per_hour)} an hour for all machines`),
      );
    }
    return element("section", { class: "tiles", "aria-label": "Main figures" }, ...tiles);
  },

  /** @param {string} number @param {string} name @param {Node|string} detail */
  tile(number, name, detail) {
    return element(
      "div",
      { class: "tile" },
      element("p", { class: "big" }, element("span", { class: "number" }, number), " ", name),
      element("p", { class: "note" }, detail),
    );
  },

  /** Why photos failed or were skipped. */
  reasons() {
    const { counts, skipped } = Report.summary;
    const rows = [
      ...Object.entries(counts.failures).map(([reason, count]) => ["failed", reason, count]),
      ...Object.entries(skipped).map(([reason, count]) => ["skipped", reason, count]),
    ];
    const body = rows.length
      ? this.table(
          ["Status", "Reason", "Files"],
          rows.map(([status, reason, count]) => [
            element("a", { href: `#/gallery?status=${status}` }, status),
            element("code", {}, reason),
            Numbers.whole(count),
          ]),
        )
      : element("p", {}, "Nothing failed and nothing was skipped.");
    return element("section", {}, element("h2", {}, "Failed and skipped"), body);
  },

  /** Seconds of each stage, summed over all photos. */
  effort() {
    const { stage_seconds, done, started_at, finished_at, attempts } = Report.summary;
    const rows = Object.entries(stage_seconds).map(([stage, seconds]) => [
      stage,
      Numbers.duration(seconds),
      done ? Numbers.duration((seconds / done) * 1000) : "–",
    ]);
    return element(
      "section",
      {},
      element("h2", {}, "Time per stage"),
      this.table(["Stage", "Total", "Per 1,000 photos"], rows),
      element(
        "p",
        { class: "note" },
        `${Numbers.moment(started_at)} to ${Numbers.moment(finished_at)}, `,
        Numbers.counted(attempts, "attempt", "attempts"),
        ". Stages work in parallel, so their times can add up to more than the run time.",
      ),
    );
  },

  /** The settings of the last attempt. */
  made() {
    const { settings, output, made_at } = Report.summary;
    const given = settings.settings ?? {};
    const rows = [
      ["Run", element("span", { class: "path" }, output)],
      ["Software", `interlcm ${settings.versions?.interlcm ?? "–"}`],
      ["Weights", `${given.weights ?? "–"}, ${given.variant ?? "–"}, ${given.steps ?? "–"} steps`],
      ["Weights digest", element("code", {}, (settings.weights_digest ?? "–").slice(0, 12))],
      ["Detector", given.detector ?? "–"],
      ["Settings digest", element("code", {}, (settings.settings_digest ?? "–").slice(0, 12))],
      ["Report made", Numbers.moment(made_at)],
    ];
    return element(
      "section",
      {},
      element("h2", {}, "Made with"),
      element(
        "dl",
        { class: "facts" },
        ...rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
      ),
    );
  },

  /** @param {string[]} heads @param {(Node|string)[][]} rows */
  table(heads, rows) {
    return element(
      "table",
      {},
      element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
      element("tbody", {}, ...rows.map((cells) => element("tr", {}, ...cells.map((cell) => element("td", {}, cell))))),
    );
  },
};
