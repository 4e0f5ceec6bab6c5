"use strict";
// The photos: pages of rows to show, and columns of all photos for sorting and filtering.

const STATUSES = ["restored", "no_face", "skipped", "failed", "withdrawn"];
const MOST_PAGES = 40; // kept in memory, about 0.5 MB each

const Photos = {
  /** @type {Map<number, Promise<Photo[]>>} least recently used page first */
  pages: new Map(),
  /** @type {Map<string, Promise<any>>} */
  columns: new Map(),

  get count() {
    return Report.summary.photos;
  },

  /** The photo in a row of the data. @param {number} row @returns {Promise<Photo>} */
  async at(row) {
    const page = this.pageOf(row);
    return (await this.page(page))[row - Report.summary.pages[page]];
  },

  /** @param {number} row */
  pageOf(row) {
    const starts = Report.summary.pages;
    let low = 0;
    let high = starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (starts[middle] <= row) low = middle;
      else high = middle - 1;
    }
    return low;
  },

  /** @param {number} page @returns {Promise<Photo[]>} */
  page(page) {
    const known = this.pages.get(page);
    const loading =
      known ??
      Promise.all([Report.load(`photos-${page}`), this.sources()]).then(([rows, sources]) =>
        rows.map((/** @type {any[]} */ row) => this.photo(row, sources)),
      );
    this.pages.delete(page);
    this.pages.set(page, loading);
    loading.catch(() => this.pages.delete(page));
    if (this.pages.size > MOST_PAGES) this.pages.delete(this.pages.keys().next().value ?? 0);
    return loading;
  },

  /** @param {any[]} values @param {string[]} sources @returns {Photo} */
  photo(values, sources) {
    const photo = named(Report.summary.photo_fields, values);
    photo.source = sources[photo.source];
    photo.faces = photo.faces.map((/** @type {any[]} */ face) => named(Report.summary.face_fields, face));
    return photo;
  },

  /** A number for each photo or face. @param {string} level @param {string} name @returns {Promise<Float32Array>} */
  column(level, name) {
    const key = `${level}-${name}`;
    return this.once(key, async () => {
      const parts = await inParallel(key, Report.summary.chunks[key] ?? 0);
      const whole = new Float32Array(level === "face" ? Report.summary.faces : this.count);
      let place = 0;
      for (const part of parts.map(floats)) {
        whole.set(part, place);
        place += part.length;
      }
      return whole;
    });
  },

  /** The place of each photo's first face in the columns of faces, and the end. @returns {Promise<Uint32Array>} */
  firstFaces() {
    return this.once("first faces", async () => {
      const counts = await this.column("photo", "face_count");
      const starts = new Uint32Array(counts.length + 1);
      counts.forEach((count, row) => (starts[row + 1] = starts[row] + count));
      return starts;
    });
  },

  /** @returns {Promise<string[]>} */
  sources() {
    return this.texts("sources");
  },

  /** A text for each photo ("names", "ids") or source ("sources"). @param {string} kind @returns {Promise<string[]>} */
  texts(kind) {
    return this.once(kind, async () => (await inParallel(kind, Report.summary.texts[kind])).flat());
  },

  /** @template T @param {string} key @param {() => Promise<T>} load @returns {Promise<T>} */
  once(key, load) {
    const known = this.columns.get(key);
    if (known) return known;
    const loading = load();
    loading.catch(() => this.columns.delete(key));
    this.columns.set(key, loading);
    return loading;
  },
};

/** @param {string} name @param {number} files @returns {Promise<any[]>} */
function inParallel(name, files) {
  return Promise.all(Array.from({ length: files }, (_, place) => Report.load(`${name}-${place}`)));
}

/** Base64 of little-endian float32, which is the byte order of every machine with a browser. @param {string} text */
function floats(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let place = 0; place < binary.length; place++) bytes[place] = binary.charCodeAt(place);
  return new Float32Array(bytes.buffer);
}

/** @param {string[]} names @param {any[]} values @returns {Record<string, any>} */
function named(names, values) {
  return Object.fromEntries(names.map((name, place) => [name, values[place]]));
}
