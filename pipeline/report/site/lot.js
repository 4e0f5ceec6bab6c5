"use strict";
// The lot under inspection: which photos, which plan, the sample that was drawn, and the result so far.

/**
 * @typedef {{query: string, lot: number, aql: number, letter: string, used: string, sample: number, accept: number,
 *            reject: number, seed: string, drawn_at: string, ids: string[]}} Plan
 *   query: the selection that is the lot, as in the address of the gallery. ids: of the photos drawn.
 */

const Lot = {
  get key() {
    return `interlcm:plan:${Report.summary.run}`;
  },

  /** @type {Plan|null|undefined} undefined: not read yet */
  kept: undefined,

  /** @returns {Plan|null} */
  get plan() {
    if (this.kept === undefined) {
      try {
        const found = JSON.parse(Kept.get(this.key) ?? "null");
        this.kept = Array.isArray(found?.ids) && found.ids.length === found.sample ? found : null;
      } catch {
        this.kept = null; // damaged
      }
    }
    return this.kept ?? null;
  },

  /** @param {Plan|null} plan */
  set plan(plan) {
    this.kept = plan;
    Kept.set(this.key, plan && JSON.stringify(plan));
  },

  /** The photos of a selection, whatever was decided on them. @param {Choice} choice @returns {Promise<Uint32Array>} */
  async rows(choice) {
    return (await chosen({ ...choice, decision: "", sample: "", show: "", sort: "" })).rows;
  },

  /** Draw the sample of a lot. @param {Choice} choice @param {number} aql @param {string} seed */
  async draw(choice, aql, seed) {
    const [rows, ids] = await Promise.all([this.rows(choice), Photos.texts("ids")]);
    const plan = Sampling.plan(rows.length, aql);
    const drawn = Sampling.draw(
      Array.from(rows, (row) => ids[row]),
      seed,
      plan.sample,
    );
    const query = Choices.write({ ...choice, decision: "", sample: "", show: "", sort: "" });
    this.plan = { ...plan, query, seed, drawn_at: timeAfter(), ids: drawn };
  },

  /** The rows of the sample that are in this report. @returns {Promise<number[]>} */
  async sampled() {
    const ids = await Photos.texts("ids");
    const drawn = new Set(this.plan?.ids);
    const rows = [];
    for (let row = 0; row < ids.length; row++) if (drawn.has(ids[row])) rows.push(row);
    return rows;
  },

  /** @returns {Promise<(row: number) => boolean>} */
  async test() {
    const rows = new Set(await this.sampled());
    return (row) => rows.has(row);
  },

  /** How the inspection stands. */
  async state() {
    await Verdicts.ready();
    const rows = await this.sampled();
    const defects = rows.filter((row) => Verdicts.rejected(row)).length;
    const decided = rows.filter((row) => Verdicts.decided(row) || Verdicts.rejected(row)).length;
    const plan = /** @type {Plan} */ (this.plan);
    return { rows, decided, defects, result: Sampling.result(plan, decided, defects) };
  },

  /** "accepted: 1 defect in 125, accept number 3". @param {{decided: number, defects: number, result: string}} state */
  said({ decided, defects, result }) {
    const { sample, accept, reject } = /** @type {Plan} */ (this.plan);
    const found = Numbers.counted(defects, "defect", "defects");
    if (result === "accepted") return `accepted: ${found} in ${Numbers.whole(sample)}, accept number ${accept}`;
    if (result === "rejected")
      return `rejected: ${found} in ${Numbers.whole(decided)} of ${Numbers.whole(sample)}, reject number ${reject}`;
    return `open: ${found} in ${Numbers.whole(decided)} of ${Numbers.whole(sample)}, accept number ${accept}`;
  },
};
