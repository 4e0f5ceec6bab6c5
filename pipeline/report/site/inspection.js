"use strict";
// The page "Sampling": choose a plan, draw the sample, see the result, export the sign-off.

const Inspection = {
  /** @type {any} */
  place: null,
  /** The plan and result that were told last. */
  told: "",

  /** @param {HTMLElement} place */
  async show(place) {
    this.place = place;
    Filters.sources = await Photos.sources();
    const lead = element(
      "p",
      { class: "note" },
      "Instead of all photos, judge a random sample that tells whether the lot is good enough: single sampling, normal",
      " inspection, general level II of ISO 2859-1. A photo that is rejected, or one of whose faces is, is a defect.",
    );
    const body = Lot.plan ? await this.running(Lot.plan) : await this.offer();
    place.replaceChildren(element("h2", {}, "Acceptance sampling"), lead, ...body);
  },

  /** The form for a plan. @returns {Promise<Node[]>} */
  async offer() {
    const choice = Gallery.choice ?? Choices.standard();
    const size = (await Lot.rows(choice)).length;
    if (!size) return [element("p", {}, "The gallery's selection has no photos, so there is no lot.")];
    const aql = element(
      "select",
      { name: "aql", onchange: () => tell() },
      ...AQLS.map((value) => element("option", { value, selected: value === 1 }, `${value} %`)),
    );
    const seed = element("input", { name: "seed", value: randomSeed(), maxlength: 64, spellcheck: "false" });
    const offer = element("p", { class: "plan", role: "status" });
    const tell = () => (offer.textContent = described(Sampling.plan(size, Number(aql.value))));
    tell();
    const draw = async () => {
      await Lot.draw(choice, Number(aql.value), seed.value.trim() || randomSeed());
      await this.show(this.place);
    };
    return [
      element(
        "p",
        {},
        `The lot: ${inWords(choice)}, ${Numbers.counted(size, "photo", "photos")}. `,
        element("a", { href: `#/gallery?${Choices.write(choice)}` }, "Choose other photos"),
      ),
      element(
        "label",
        { class: "field" },
        "Acceptance quality limit (AQL): the share of defects that is still good enough",
        aql,
      ),
      element("label", { class: "field" }, "Seed: the same seed draws the same sample", seed),
      offer,
      element(
        "div",
        { class: "row" },
        element("button", { type: "button", class: "primary", onclick: draw }, "Draw the sample"),
      ),
    ];
  },

  /** The plan in progress. @param {Plan} plan @returns {Promise<Node[]>} */
  async running(plan) {
    const state = await Lot.state();
    if (state.result !== "open") this.told = `${plan.drawn_at} ${state.result}`;
    const facts = [
      [
        "Lot",
        `${inWords(Choices.read(new URLSearchParams(plan.query)))}, ${Numbers.counted(plan.lot, "photo", "photos")}`,
      ],
      ["Plan", described(plan)],
      ["Seed", element("code", {}, plan.seed)],
      ["Drawn", Numbers.moment(plan.drawn_at)],
    ];
    const missing = plan.sample - state.rows.length;
    const button = (/** @type {string} */ label, /** @type {() => void} */ onclick, kind = "") =>
      element("button", { type: "button", class: kind, onclick }, label);
    return [
      element("p", { class: `outcome ${state.result}`, role: "status" }, Lot.said(state)),
      element("progress", { max: plan.sample, value: state.decided, "aria-label": "Decided of the sample" }),
      missing
        ? element(
            "p",
            { class: "reason" },
            `${Numbers.counted(missing, "photo", "photos")} of the sample are not in this report any more. Draw a new sample.`,
          )
        : "",
      element(
        "dl",
        { class: "facts wide" },
        ...facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
      ),
      element(
        "div",
        { class: "row" },
        element(
          "a",
          { class: "button primary", href: "#/gallery?status=any&sample=yes&decision=open&sort=doubt" },
          "Judge the sample",
        ),
        button("Export the sign-off", () => SignOff.save()),
        button("New plan", () => this.drop(), "danger"),
      ),
    ];
  },

  drop() {
    if (!confirm("Forget this plan and its sample? The decisions remain.")) return;
    Lot.plan = null;
    this.show(this.place);
  },

  /** Say when the plan is satisfied, after a decision on the sample; returns whether it is. */
  async ended() {
    if (!Lot.plan || Gallery.choice?.sample !== "yes") return false;
    const state = await Lot.state();
    const told = `${Lot.plan.drawn_at} ${state.result}`;
    if (state.result === "open" || told === this.told) return false;
    this.told = told;
    announce(`The sample is ${Lot.said(state)}`);
    location.hash = "#/sampling";
    return true;
  },
};

/** @param {{letter: string, used: string, aql: number, sample: number, lot: number, accept: number, reject: number}} plan */
function described({ letter, used, aql, sample, lot, accept, reject }) {
  const arrow = used === letter ? "" : `, whose arrow leads to ${used}`;
  const whole = sample === lot ? ", the whole lot" : "";
  return `AQL ${aql} %: code letter ${letter}${arrow}, sample of ${Numbers.whole(sample)}${whole}; accept with up to ${accept} defects, reject from ${reject}`;
}

/** A selection in words. @param {Choice} choice */
function inWords({ search, status, source, review, ranges }) {
  const parts = [
    status === "any" ? "all files" : `${Numbers.words(status)} photos`,
    source === "" ? "" : `of ${Numbers.basename(Filters.sources[Number(source)] ?? source)}`,
    search ? `with "${search}" in the path` : "",
    { yes: "that need review", no: "that need no review" }[review] ?? "",
    ...Object.entries(ranges).map(([name, [low, high]]) => `${Numbers.words(name)} ${low ?? ""}..${high ?? ""}`),
  ];
  return parts.filter(Boolean).join(" ");
}

function randomSeed() {
  return Array.from(crypto.getRandomValues(new Uint8Array(4)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
