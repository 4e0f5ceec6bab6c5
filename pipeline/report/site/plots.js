"use strict";
// Histograms as SVG, each with a table of its numbers.

const PLOTS = /** @type {Record<string, {title: string, note: string, unit?: string}>} */ ({
  identity_similarity: {
    title: "Identity similarity",
    note: "Cosine of the identity embeddings before and after; 1 means the same identity.",
  },
  psnr: { title: "PSNR", note: "Restored face against its input. Low: the face changed a lot.", unit: "dB" },
  delta_e: { title: "Colour difference", note: "Mean CIEDE2000 of restored face and input. High: colours shifted." },
  sharpness: { title: "Sharpness", note: "Variance of the Laplacian of the luma. Grain raises it too." },
  quality: { title: "Quality", note: "A no-reference measure. Higher is better." },
  eye_distance: { title: "Face size", note: "Distance between the eyes in the photo.", unit: "px" },
  face_count: { title: "Faces in a photo", note: "Restored photos. The last bar includes photos with more faces." },
  throughput: { title: "Throughput", note: "Photos finished per minute, from the first to the last photo." },
});

const SIZE = { width: 360, height: 190, left: 42, right: 10, top: 14, bottom: 30 };

const Plots = {
  /** @param {Plot} plot @returns {HTMLElement} */
  figure(plot) {
    const { title, note } = PLOTS[plot.name];
    return element(
      "figure",
      { class: "plot" },
      element("figcaption", {}, element("h3", {}, title), element("p", { class: "note" }, note)),
      this.legend(plot),
      this.svg(plot),
      element("details", {}, element("summary", {}, "Numbers"), this.table(plot)),
    );
  },

  /** @param {Plot} plot */
  legend(plot) {
    if (plot.series.length < 2) return null;
    const items = plot.series.map(({ name }) => element("li", { class: `key ${name}` }, name));
    return element("ul", { class: "legend", "aria-label": "Colours" }, ...items);
  },

  /** @param {Plot} plot */
  svg(plot) {
    const top = niceCeiling(Math.max(2, ...plot.series.flatMap(({ counts }) => counts)));
    const x = this.scale(plot);
    const y = (/** @type {number} */ value) =>
      SIZE.height - SIZE.bottom - (value / top) * (SIZE.height - SIZE.bottom - SIZE.top);
    const titleId = `plot-${plot.name}`;
    return drawn(
      "svg",
      { viewBox: `0 0 ${SIZE.width} ${SIZE.height}`, role: "img", "aria-labelledby": titleId },
      drawn("title", { id: titleId }, this.sentence(plot)),
      ...[0, top / 2, top].map((value) => this.gridline(value, y(value))),
      ...plot.series.map((series) => this.bars(plot, series, x, y)),
      ...this.ticks(plot, x),
      ...this.threshold(plot, x),
    );
  },

  /** Maps a value to its x position in px. @param {Plot} plot @returns {(value: number) => number} */
  scale({ edges, logarithmic }) {
    const position = logarithmic ? Math.log : Number;
    const [low, high] = [position(edges[0]), position(edges[edges.length - 1])];
    return (value) => SIZE.left + ((position(value) - low) / (high - low)) * (SIZE.width - SIZE.left - SIZE.right);
  },

  /** @param {number} value @param {number} y */
  gridline(value, y) {
    return drawn(
      "g",
      { class: "grid" },
      drawn("line", { x1: SIZE.left, x2: SIZE.width - SIZE.right, y1: y, y2: y }),
      drawn("text", { x: SIZE.left - 6, y: y + 4, "text-anchor": "end" }, short(value)),
    );
  },

  /**
   * @param {Plot} plot @param {{name: string, counts: number[]}} series
   * @param {(v: number) => number} x @param {(v: number) => number} y
   */
  bars(plot, series, x, y) {
    const bars = series.counts.map((count, place) => {
      const [left, right] = [x(plot.edges[place]), x(plot.edges[place + 1])];
      const bar = drawn(
        "rect",
        { x: left + 0.5, y: y(count), width: Math.max(right - left - 1, 0.5), height: y(0) - y(count) },
        drawn("title", {}, `${this.interval(plot, place)}: ${Numbers.measure(count)}`),
      );
      const address = count ? this.address(plot, place) : null;
      if (!address) return bar;
      // For the mouse only: by keyboard, the links in the table lead to the same photos.
      set(bar, { class: "leads", onclick: () => (location.hash = address) });
      return bar;
    });
    return drawn("g", { class: `bars ${series.name}` }, ...bars);
  },

  /** @param {Plot} plot @param {(value: number) => number} x */
  ticks(plot, x) {
    const first = plot.edges[0];
    const values = plot.name === "throughput" ? this.moments(plot) : this.tickValues(plot);
    return values.map((value) => {
      const label = plot.name === "throughput" ? `+${Numbers.duration(value - first)}` : short(value);
      return drawn(
        "text",
        { class: "tick", x: x(value), y: SIZE.height - SIZE.bottom + 16, "text-anchor": "middle" },
        label,
      );
    });
  },

  /** @param {Plot} plot */
  moments({ edges }) {
    const [first, last] = [edges[0], edges[edges.length - 1]];
    return [0.25, 0.5, 0.75].map((part) => first + part * (last - first));
  },

  /** @param {Plot} plot @returns {number[]} */
  tickValues({ name, edges, logarithmic }) {
    const [low, high] = [edges[0], edges[edges.length - 1]];
    const values = [];
    if (logarithmic) {
      const factors = high / low > 300 ? [1] : high / low > 12 ? [1, 3] : [1, 2, 3, 5, 7];
      for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
        values.push(...factors.map((factor) => factor * 10 ** power));
      }
    } else {
      const step = name === "face_count" ? Math.max(1, niceStep((high - low) / 5)) : niceStep((high - low) / 4);
      for (let place = Math.ceil(low / step); place * step <= high; place++)
        values.push(Number((place * step).toPrecision(6)));
    }
    return values.filter((value) => value >= low && value <= high);
  },

  /** The review threshold, if it lies within the values. @param {Plot} plot @param {(value: number) => number} x */
  threshold(plot, x) {
    const { limit, edges } = plot;
    if (limit === null || limit <= edges[0] || limit >= edges[edges.length - 1]) return [];
    const late = x(limit) > SIZE.width * 0.6;
    return [
      drawn(
        "g",
        { class: "limit" },
        drawn("line", { x1: x(limit), x2: x(limit), y1: SIZE.top, y2: SIZE.height - SIZE.bottom }),
        drawn(
          "text",
          { x: x(limit) + (late ? -5 : 5), y: SIZE.top + 8, "text-anchor": late ? "end" : "start" },
          `review ${plot.name === "delta_e" ? "above" : "below"} ${short(limit)}`,
        ),
      ),
    ];
  },

  /** @param {Plot} plot @param {number} place */
  interval({ name, edges }, place) {
    if (name === "face_count") {
      return `${place + 1}${place === edges.length - 2 && place >= 19 ? " or more" : ""}`;
    }
    const unit = PLOTS[name].unit ?? "";
    if (name === "throughput") return Numbers.moment(new Date(edges[place] * 1000).toISOString());
    return `${Numbers.measure(edges[place])} to ${Numbers.measure(edges[place + 1], unit)}`;
  },

  /**
   * Address of the gallery with the photos of one bar; null if no single measure selects them.
   * @param {Plot} plot @param {number} place
   */
  address({ name, edges }, place) {
    if (!Report.summary.metrics.some((/** @type {Metric} */ metric) => metric.name === name)) return null;
    const open = name === "face_count" && place === edges.length - 2;
    return `#/gallery?${name}=${edges[place]}..${open ? "" : edges[place + 1]}&sort=${name}`;
  },

  /** @param {Plot} plot */
  sentence(plot) {
    const parts = plot.series.map(({ name, counts }) => {
      const most = counts.indexOf(Math.max(...counts));
      return `${name ? `${name}: ` : ""}most at ${this.interval(plot, most)}`;
    });
    return `${PLOTS[plot.name].title}, ${parts.join("; ")}. The numbers are in the table below.`;
  },

  /** @param {Plot} plot */
  table(plot) {
    const what = plot.name === "throughput" ? "Photos per minute" : plot.name === "face_count" ? "Photos" : "Faces";
    const heads = ["Value", ...plot.series.map(({ name }) => (name ? `${what} ${name}` : what))];
    const rows = plot.series[0].counts.map((_, place) => {
      const address = this.address(plot, place);
      const label = this.interval(plot, place);
      return element(
        "tr",
        {},
        element("th", { scope: "row" }, address ? element("a", { href: address }, label) : label),
        ...plot.series.map(({ counts }) => element("td", {}, Numbers.measure(counts[place]))),
      );
    });
    return element(
      "div",
      { class: "scroll" },
      element(
        "table",
        {},
        element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
        element("tbody", {}, ...rows),
      ),
    );
  },
};

/** Round up to 1, 2 or 5 times a power of ten. @param {number} value */
function niceStep(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 5].find((factor) => factor * power >= value) ?? 10);
}

/** The top of an axis for counts, at least 1. @param {number} value */
function niceCeiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  const factors = power < 10 ? [2, 4, 6, 8, 10] : [1, 2, 3, 4, 5, 6, 8, 10]; // half of it is a whole number
  return power * (factors.find((factor) => factor * power >= value) ?? 10);
}

/** For an axis: 1500 is 1.5k. @param {number} value */
function short(value) {
  if (value >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
  if (value >= 1e4) return `${Number((value / 1e3).toPrecision(3))}k`;
  return String(Number(value.toPrecision(3)));
}
