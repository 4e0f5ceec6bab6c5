"use strict";
// One side of a comparison: its picture and, of a large photo, the tiles that have all its pixels.

const TILE_SIDE = 2048; // px, as pipeline/report/display_copies.py cuts them

class Layer {
  /** @param {string} kind  a class name */
  constructor(kind) {
    this.image = element("img", { alt: "", draggable: "false" });
    this.tiles = element("div", { class: "tiles", "aria-hidden": "true" });
    this.node = element("div", { class: `layer ${kind}` }, this.image, this.tiles);
    /** @type {[number, number]|null} width and height of the whole photo, if there are tiles, px */
    this.size = null;
    this.folder = "";
    /** @type {Map<string, HTMLImageElement>} the tiles on the page, by address */
    this.shown = new Map();
    /** @type {Set<string>} those to be seen now */
    this.wanted = new Set();
    /** @type {Set<string>} those that can be drawn */
    this.ready = new Set();
  }

  /** @param {string} address @param {string} words */
  show(address, words) {
    this.image.src = address;
    this.image.alt = words;
    this.deepen("", null);
  }

  /** Say where the tiles are. @param {string} folder @param {[number, number]|null} size */
  deepen(folder, size) {
    this.folder = folder;
    this.size = size;
    this.ready.clear();
    this.draw([0, 0, 0, 0], 0);
  }

  /**
   * Show the tiles of a part of the photo, if its picture has too few pixels for it.
   * @param {number[]} part  left, top, right, bottom as shares of the photo @param {number} width  of the whole photo, px of the screen
   */
  draw(part, width) {
    const { size } = this;
    const places = size !== null && width > this.image.naturalWidth ? tilesIn(part, size, size[0] / width) : [];
    this.wanted = new Set(places.map(({ path }) => `${this.folder}${path}`));
    for (const place of places) this.put(place, /** @type {[number, number]} */ (size));
    this.tidy();
  }

  /** @param {Place} place @param {[number, number]} size */
  put({ path, left, top, scale }, [width, height]) {
    const address = `${this.folder}${path}`;
    if (this.shown.has(address)) return;
    const made = element("img", { alt: "", draggable: "false", src: address });
    this.shown.set(address, made);
    made.style.left = `${(left / width) * 100}%`;
    made.style.top = `${(top / height) * 100}%`;
    made.decode().then(
      () => this.loaded(address, made, scale),
      () => this.shown.get(address) === made && trouble(`${address} cannot be loaded: this report is incomplete`),
    );
    this.tiles.append(made);
  }

  /** @param {string} address @param {HTMLImageElement} tile @param {number} scale */
  loaded(address, tile, scale) {
    if (this.shown.get(address) !== tile || this.size === null) return; // it is not wanted any more
    tile.style.width = `${((tile.naturalWidth * scale) / this.size[0]) * 100}%`;
    tile.style.height = `${((tile.naturalHeight * scale) / this.size[1]) * 100}%`;
    this.ready.add(address);
    this.tidy();
  }

  /** What is on show stays until all that is to be seen can be drawn above it. */
  tidy() {
    const complete = [...this.wanted].every((address) => this.ready.has(address));
    for (const [address, tile] of this.shown) {
      if (this.wanted.has(address) || (!complete && this.ready.has(address))) continue;
      this.shown.delete(address);
      this.ready.delete(address);
      tile.remove();
    }
  }
}

/** @typedef {{path: string, left: number, top: number, scale: number}} Place  of a tile, px of the whole photo */

/**
 * The tiles of a part of a photo, from the smallest of its sizes that has enough pixels.
 * @param {number[]} part @param {[number, number]} size @param {number} reduced  px of the photo for one of the screen
 * @returns {Place[]}
 */
function tilesIn([left, top, right, bottom], [width, height], reduced) {
  const halvings = Math.max(0, Math.floor(Math.log2(reduced)));
  const level = Math.ceil(Math.log2(Math.max(width, height))) - halvings;
  const scale = 2 ** halvings;
  const side = TILE_SIDE * scale;
  const range = (/** @type {number} */ from, /** @type {number} */ to, /** @type {number} */ all) => {
    const first = Math.max(0, Math.floor((from * all) / side));
    const end = Math.min(Math.ceil(all / side), Math.ceil((to * all) / side));
    return Array.from({ length: Math.max(0, end - first) }, (_, place) => first + place);
  };
  return range(top, bottom, height).flatMap((row) =>
    range(left, right, width).map((column) => ({
      path: `${level}/${column}_${row}.jpg`,
      left: column * side,
      top: row * side,
      scale,
    })),
  );
}
