"use strict";
// The form beside the gallery: which photos to show, and in which order.

const Filters = {
  /** @type {Choice} */
  choice: /** @type {any} */ (null),
  /** @type {(choice: Choice) => void} */
  changed: () => {},
  /** @type {string[]} */
  sources: [],

  /** @param {HTMLElement} place @param {(choice: Choice) => void} changed */
  async build(place, changed) {
    this.changed = changed;
    this.sources = await Photos.sources();
    this.form = element("form", { class: "filters", onsubmit: (/** @type {Event} */ event) => event.preventDefault() });
    const details = element("details", { class: "panel" }, element("summary", {}, "Filter and sort"), this.form);
    details.open = window.matchMedia("(min-width: 60rem)").matches;
    place.append(details);
  },

  /** Draw the form for a selection. @param {Choice} choice */
  show(choice) {
    this.choice = choice;
    const { counts, metrics } = Report.summary;
    const statuses = STATUSES.map((name) => [name, `${Numbers.words(name)} (${Numbers.whole(counts[name])})`]);
    const sorts = metrics.map((/** @type {Metric} */ { name, label }) => [name, label]);
    const controls = [
      this.field(
        "Search in paths",
        element("input", {
          type: "search",
          name: "search",
          value: choice.search,
          autocomplete: "off",
          spellcheck: "false",
          oninput: (/** @type {any} */ event) => this.later(event.target.value),
        }),
      ),
      this.select("Status", "status", [["any", "any"], ...statuses]),
      this.sources.length > 1 ? this.select("Source", "source", this.sourceOptions()) : null,
      this.select("Review", "review", [
        ["", "any"],
        ["yes", "needs review"],
        ["no", "no review needed"],
      ]),
      this.select("Decision", "decision", [
        ["", "any"],
        ["open", "undecided"],
        ["accept", "accepted"],
        ["reject", "rejected"],
        ["comment", "with a comment"],
        ["conflict", "reviewers differ"],
      ]),
      this.select("Sort by", "sort", [
        ["", "source and position in it"],
        ["doubt", "doubtful first"],
        ["name", "path"],
        ["status", "status"],
        ["review", "needs review"],
        ...sorts,
      ]),
      this.select(
        "Order",
        "descending",
        [
          ["", "lowest first"],
          ["1", "highest first"],
        ],
        choice.descending ? "1" : "",
      ),
      element(
        "fieldset",
        {},
        element("legend", {}, "Measures"),
        ...Object.keys(choice.ranges).map((name) => this.range(name)),
        this.adder(),
      ),
      element(
        "button",
        { type: "button", class: "quiet", onclick: () => this.update(Choices.standard(), true) },
        "Reset",
      ),
    ];
    this.form.replaceChildren(...controls.filter((control) => control !== null));
  },

  /** The archives by name; at most 500, because the search finds the others. */
  sourceOptions() {
    const places = [...this.sources.keys()].sort((one, other) => compareText(this.sources[one], this.sources[other]));
    return [
      ["", "any"],
      ...places.slice(0, 500).map((place) => [String(place), Numbers.basename(this.sources[place])]),
    ];
  },

  /** @param {string} label @param {Node} control */
  field(label, control) {
    return element("label", { class: "field" }, label, control);
  },

  /**
   * @param {string} label @param {"status"|"source"|"review"|"decision"|"sort"|"descending"} name
   * @param {string[][]} options @param {string} [value]
   */
  select(label, name, options, value) {
    const current = value ?? String(this.choice[name]);
    const control = element(
      "select",
      {
        name,
        onchange: (/** @type {any} */ event) => {
          const chosen = event.target.value;
          this.update({ ...this.choice, [name]: name === "descending" ? chosen === "1" : chosen }, false);
        },
      },
      ...options.map(([key, text]) => element("option", { value: key, selected: key === current }, text)),
    );
    return this.field(label, control);
  },

  /** The fields for the lowest and highest value of a measure. @param {string} name */
  range(name) {
    const metric = Report.summary.metrics.find((/** @type {Metric} */ one) => one.name === name);
    const bound = (/** @type {0|1} */ side, /** @type {string} */ label) =>
      element("input", {
        type: "number",
        step: "any",
        name: `${name}-${side}`,
        "aria-label": `${metric.label}, ${label}`,
        placeholder: label,
        value: this.choice.ranges[name][side],
        onchange: (/** @type {any} */ event) => {
          const range = /** @type {[number|null, number|null]} */ ([...this.choice.ranges[name]]);
          range[side] = event.target.value === "" ? null : Number(event.target.value);
          this.update({ ...this.choice, ranges: { ...this.choice.ranges, [name]: range } }, false);
        },
      });
    return element(
      "div",
      { class: "range", role: "group", "aria-label": metric.label },
      element(
        "span",
        { class: "label", title: metric.description },
        metric.unit ? `${metric.label} (${metric.unit})` : metric.label,
      ),
      bound(0, "at least"),
      bound(1, "at most"),
      element(
        "button",
        {
          type: "button",
          class: "quiet",
          "aria-label": `Remove the filter on ${metric.label}`,
          onclick: () => {
            const ranges = { ...this.choice.ranges };
            delete ranges[name];
            this.update({ ...this.choice, ranges }, true);
          },
        },
        "×",
      ),
    );
  },

  adder() {
    const free = Report.summary.metrics.filter((/** @type {Metric} */ { name }) => !(name in this.choice.ranges));
    return element(
      "select",
      {
        "aria-label": "Add a measure to filter by",
        onchange: (/** @type {any} */ event) => {
          const name = event.target.value;
          this.update({ ...this.choice, ranges: { ...this.choice.ranges, [name]: [null, null] } }, true);
          this.form.querySelector(`[name="${name}-0"]`).focus();
        },
      },
      element("option", { value: "" }, "Add a measure …"),
      ...free.map((/** @type {Metric} */ { name, label }) => element("option", { value: name }, label)),
    );
  },

  /** Search when typing pauses. @param {string} search */
  later(search) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.update({ ...this.choice, search }, false), 200);
  },

  /** @type {ReturnType<typeof setTimeout>|undefined} */
  timer: undefined,
  /** @type {any} */
  form: null,

  /** @param {Choice} choice @param {boolean} redraw  whether the form's fields change */
  update(choice, redraw) {
    this.choice = choice;
    if (redraw) this.show(choice);
    this.changed(choice);
  },
};
