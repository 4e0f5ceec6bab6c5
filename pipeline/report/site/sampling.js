"use strict";
// Acceptance sampling by attributes: single sampling plans for normal inspection, general inspection level II, from
// tables 1 and 2-A of ISO 2859-1:1999 (the same as tables I and II-A of MIL-STD-105E, which is public).

/** Table 1, level II: the largest lot of each code letter. @type {readonly [number, string][]} */
const LETTERS = [
  [8, "A"],
  [15, "B"],
  [25, "C"],
  [50, "D"],
  [90, "E"],
  [150, "F"],
  [280, "G"],
  [500, "H"],
  [1200, "J"],
  [3200, "K"],
  [10000, "L"],
  [35000, "M"],
  [150000, "N"],
  [500000, "P"],
  [Infinity, "Q"],
];

/** Table 2-A: acceptance quality limits, in percent nonconforming items. */
const AQLS = [0.01, 0.015, 0.025, 0.04, 0.065, 0.1, 0.15, 0.25, 0.4, 0.65, 1, 1.5, 2.5, 4, 6.5, 10];

/**
 * Table 2-A: code letter, sample size, and for each AQL the acceptance number; the rejection number is one more. v: use
 * the first plan below; ^: use the first plan above. Above A there is none, so its last cell leads down.
 */
const PLANS = `
A    2  v  v  v  v  v  v  v  v  v  v  v  v  v  v  0  v
B    3  v  v  v  v  v  v  v  v  v  v  v  v  v  0  ^  v
C    5  v  v  v  v  v  v  v  v  v  v  v  v  0  ^  v  1
D    8  v  v  v  v  v  v  v  v  v  v  v  0  ^  v  1  2
E   13  v  v  v  v  v  v  v  v  v  v  0  ^  v  1  2  3
F   20  v  v  v  v  v  v  v  v  v  0  ^  v  1  2  3  5
G   32  v  v  v  v  v  v  v  v  0  ^  v  1  2  3  5  7
H   50  v  v  v  v  v  v  v  0  ^  v  1  2  3  5  7 10
J   80  v  v  v  v  v  v  0  ^  v  1  2  3  5  7 10 14
K  125  v  v  v  v  v  0  ^  v  1  2  3  5  7 10 14 21
L  200  v  v  v  v  0  ^  v  1  2  3  5  7 10 14 21  ^
M  315  v  v  v  0  ^  v  1  2  3  5  7 10 14 21  ^  ^
N  500  v  v  0  ^  v  1  2  3  5  7 10 14 21  ^  ^  ^
P  800  v  0  ^  v  1  2  3  5  7 10 14 21  ^  ^  ^  ^
Q 1250  0  ^  v  1  2  3  5  7 10 14 21  ^  ^  ^  ^  ^
R 2000  ^  ^  1  2  3  5  7 10 14 21  ^  ^  ^  ^  ^  ^`
  .trim()
  .split("\n")
  .map((line) => line.split(/\s+/))
  .map(([letter, size, ...cells]) => ({ letter, size: Number(size), cells }));

const Sampling = {
  /**
   * The plan for a lot: code letter of the lot, letter of the plan that the arrows lead to, sample size, acceptance and
   * rejection number. A sample as large as the lot is the whole lot.
   * @param {number} lot  its size, at least 1 @param {number} aql  one of AQLS
   */
  plan(lot, aql) {
    const letter = /** @type {[number, string]} */ (LETTERS.find(([largest]) => lot <= largest))[1];
    const column = AQLS.indexOf(aql);
    let place = PLANS.findIndex((plan) => plan.letter === letter);
    while (/[v^]/.test(PLANS[place].cells[column])) place += PLANS[place].cells[column] === "v" ? 1 : -1;
    const { size, cells, letter: used } = PLANS[place];
    const accept = Number(cells[column]);
    return { lot, aql, letter, used, sample: Math.min(size, lot), accept, reject: accept + 1 };
  },

  /**
   * A sample of a lot that anybody can draw again, also with SQL: those whose SHA-256 of "seed/photo_id" comes first.
   * @param {string[]} ids @param {string} seed @param {number} size @returns {string[]}
   */
  draw(ids, seed, size) {
    const keyed = ids.map((id) => /** @type {[string, string]} */ ([sha256(`${seed}/${id}`), id]));
    keyed.sort(([one], [other]) => compareText(one, other));
    return keyed.slice(0, size).map(([, id]) => id);
  },

  /**
   * @param {{sample: number, accept: number, reject: number}} plan @param {number} decided @param {number} defects
   * @returns {"open"|"accepted"|"rejected"}
   */
  result({ sample, reject }, decided, defects) {
    if (defects >= reject) return "rejected";
    return decided >= sample ? "accepted" : "open";
  },
};
