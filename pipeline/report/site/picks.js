"use strict";
// The selected photos or faces of the gallery, on which one key decides together.

const Picks = {
  /** @type {Map<string, [number, number]>} by key: row, and face or -1 */
  all: new Map(),
  /** Where a range starts. */
  anchor: 0,
  /** @type {any} */
  bar: null,

  build() {
    this.bar = element("div", { class: "picks", role: "group", "aria-label": "Selected" });
    this.draw();
    return this.bar;
  },

  /** @param {number} place */
  toggle(place) {
    const key = Gallery.key(place);
    if (this.all.has(key)) this.all.delete(key);
    else this.all.set(key, Gallery.item(place));
    this.anchor = place;
    this.changed();
  },

  /** From the last one that was selected or focused to this one. @param {number} place */
  range(place) {
    const [from, to] = [Math.min(this.anchor, place), Math.max(this.anchor, place)];
    for (let at = from; at <= to; at++) this.all.set(Gallery.key(at), Gallery.item(at));
    this.changed();
  },

  /** All that the gallery shows now. */
  everything() {
    for (let at = 0; at < Gallery.rows.length; at++) this.all.set(Gallery.key(at), Gallery.item(at));
    this.changed();
  },

  clear() {
    this.all.clear();
    this.changed();
  },

  changed() {
    Gallery.grid.refresh();
    this.draw();
    announce(this.all.size ? `${Numbers.whole(this.all.size)} selected` : "Nothing is selected");
  },

  draw() {
    const some = this.all.size > 0;
    const button = (/** @type {string} */ label, /** @type {() => void} */ onclick, kind = "") =>
      element("button", { type: "button", class: kind, onclick }, label);
    const unit = Gallery.faces ? "faces" : "photos";
    this.bar.classList.toggle("some", some);
    this.bar.replaceChildren(
      ...(some
        ? [
            element("strong", {}, `${Numbers.whole(this.all.size)} selected`),
            button("✓ Accept", () => Gallery.decide("accept"), "accept"),
            button("✗ Reject", () => Gallery.decide("reject"), "reject"),
            button("Withdraw", () => Gallery.decide("")),
            button("Select none", () => this.clear(), "quiet"),
          ]
        : [button(`Select all ${Numbers.whole(Gallery.rows.length)} ${unit} shown`, () => this.everything(), "quiet")]),
    );
  },

  /** What to decide on, with the photos' results: pages are loaded one after the other. @returns {Promise<Target[]>} */
  async targets() {
    const targets = [];
    const items = [...this.all.values()].sort(([one], [other]) => one - other);
    for (const [row, face] of items) targets.push(targetOf(row, await Photos.at(row), face < 0 ? null : face));
    return targets;
  },
};
