"use strict";
// Sorting, by a number of the photo or of one of its faces.

/**
 * @param {Uint32Array} rows @param {Choice} choice @param {((face: number) => boolean)|null} suits
 * @returns {Promise<Uint32Array>}
 */
async function sorted(rows, choice, suits) {
  if (choice.sort === "") return choice.descending ? rows.reverse() : rows;
  if (choice.sort === "name") return sortedByName(rows, choice.descending);
  const keys = await sortKeys(choice, suits);
  const sign = choice.descending !== (choice.sort === "doubt") ? -1 : 1; // the doubtful come first
  // Rows without a number come last in both orders; rows with equal numbers stay in the order of the archives.
  return rows.sort((one, other) => {
    const [left, right] = [keys(one), keys(other)];
    if (Number.isNaN(left) || Number.isNaN(right))
      return Number(Number.isNaN(left)) - Number(Number.isNaN(right)) || one - other;
    return sign * (left - right) || one - other;
  });
}

/** @param {Uint32Array} rows @param {boolean} descending */
async function sortedByName(rows, descending) {
  const names = await Photos.texts("names");
  const sign = descending ? -1 : 1;
  return rows.sort((one, other) => sign * compareText(names[one], names[other]) || one - other);
}

/** The sort key of a row. @param {Choice} choice @param {((face: number) => boolean)|null} suits */
async function sortKeys(choice, suits) {
  const metric = Report.summary.metrics.find((/** @type {Metric} */ one) => one.name === choice.sort);
  if (metric?.level === "photo" || choice.sort === "status" || choice.sort === "doubt") {
    const values = await Photos.column("photo", choice.sort);
    return (/** @type {number} */ row) => values[row];
  }
  const values = await Photos.column("face", metric ? metric.name : "needs_review");
  const first = await Photos.firstFaces();
  // A photo counts by its lowest face if the lowest come first, else by its highest.
  const better = choice.descending ? Math.max : Math.min;
  const keys = new Float64Array(Photos.count).fill(NaN);
  for (let row = 0; row < keys.length; row++) {
    for (let face = first[row]; face < first[row + 1]; face++) {
      const value = values[face];
      if (Number.isNaN(value) || (suits !== null && !suits(face))) continue;
      keys[row] = Number.isNaN(keys[row]) ? value : better(keys[row], value);
    }
  }
  return (/** @type {number} */ row) => keys[row];
}
