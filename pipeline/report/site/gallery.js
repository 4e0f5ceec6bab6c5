"use strict";
// The gallery: the selected photos, or their faces as a contact sheet, and decisions on them.

const PHOTO_SHAPE = { least: 168, gap: 14, ratio: 0.78, text: 88 };
const FACE_SHAPE = { least: 70, gap: 3, ratio: 1, text: 0 };

const Gallery = {
  /** @type {Uint32Array} rows of the data, in the order shown */
  rows: new Uint32Array(),
  /** @type {Int32Array|null} the faces shown, by place in their photos; null: photos are shown */
  faces: null,
  /** @type {Items} the same and those that the filter on decisions leaves out */
  scope: { rows: new Uint32Array(), faces: null },
  /** @type {Choice} */
  choice: /** @type {any} */ (null),
  /** @type {string|null} the selection on show */
  query: null,
  /** @type {any} */
  list: null,
  /** @type {any} */
  count: null,
  /** @type {Promise<any>} one decision after the other, however fast the keys come */
  deciding: Promise.resolve(),

  /** @type {Grid} */
  grid: /** @type {any} */ (null),

  /** @param {HTMLElement} place @param {URLSearchParams} query */
  async show(place, query) {
    if (this.list === null) await this.build(place);
    const choice = Choices.read(query);
    if (this.query === Choices.write(choice)) return this.grid.draw();
    Filters.show(choice);
    await this.choose(choice);
  },

  /** @param {HTMLElement} place */
  async build(place) {
    this.grid = new Grid(this, "Photos");
    this.list = this.grid.list;
    this.list.setAttribute("aria-busy", "true"); // until the first cards are there
    document.addEventListener("keydown", (event) => this.pressed(event, place));
    await Filters.build(place, (choice) => {
      history.replaceState(null, "", `#/gallery?${Choices.write(choice)}`);
      this.choose(choice);
    });
    place.append(element("div", { class: "results" }, Head.build(), this.list));
    this.count = Head.parts.count;
    document.addEventListener("decided", () => this.narrow());
  },

  /** @param {Choice} choice */
  async choose(choice) {
    this.query = Choices.write(choice);
    this.choice = choice;
    const asked = this.query;
    this.list.setAttribute("aria-busy", "true");
    await Verdicts.ready();
    const scope = await chosen(choice);
    if (asked !== this.query) return; // the selection changed meanwhile
    this.scope = scope;
    this.grid.focused = 0;
    Picks.all.clear();
    this.narrow();
    this.list.removeAttribute("aria-busy");
    announce(this.count.textContent);
  },

  /** Show what the filter on decisions lets through now. */
  narrow() {
    const held = this.grid.hasFocus;
    const { decision } = this.choice;
    ({ rows: this.rows, faces: this.faces } =
      decision === "" ? this.scope : narrowed(this.scope, Verdicts.test(decision)));
    this.list.classList.toggle("faces", this.faces !== null);
    this.grid.show(this.rows.length, this.faces ? FACE_SHAPE : PHOTO_SHAPE);
    this.grid.refresh();
    if (held && this.rows.length) this.grid.focus(this.grid.focused, true);
    Head.draw(this.choice, this.scope);
    Picks.draw();
  },

  /** Row, and face or -1. @param {number} place @returns {[number, number]} */
  item(place) {
    return [this.rows[place], this.faces?.[place] ?? -1];
  },

  /** @param {number} place */
  key(place) {
    return this.item(place).join("/");
  },

  /** @param {number} place */
  href(place) {
    return `#/photo/${place}?${this.query}`;
  },

  /** @param {number} place */
  marked(place) {
    return Picks.all.has(this.key(place));
  },

  /** @param {HTMLElement} link @param {number} place */
  fill(link, place) {
    const [row, face] = this.item(place);
    const marked = this.marked(place);
    Photos.at(row).then((photo) => (face < 0 ? Card.fill(link, photo, marked) : Tile.fill(link, photo, face, marked)));
  },

  /** @param {MouseEvent} event @param {number} place */
  click(event, place) {
    if (event.shiftKey) Picks.range(place);
    else if (event.ctrlKey || event.metaKey) Picks.toggle(place);
    else return;
    event.preventDefault();
  },

  /** @param {MouseEvent} event @param {number} place */
  pick(event, place) {
    if (event.shiftKey) Picks.range(place);
    else Picks.toggle(place);
  },

  /** Keys count in the list, and letters also where nothing else wants them. @param {KeyboardEvent} event @param {HTMLElement} place */
  pressed(event, place) {
    const target = /** @type {HTMLElement} */ (event.target);
    const busy = place.hidden || document.querySelector("dialog[open]") || target.matches("input, select, textarea");
    if (busy || event.altKey) return;
    const inList = this.list.contains(target) && this.rows.length > 0;
    const control = event.ctrlKey || event.metaKey;
    const to = control || !inList ? null : this.grid.next(event.key);
    const key = event.key.toLowerCase();
    if (to !== null) {
      if (!event.shiftKey) Picks.anchor = to;
      this.grid.focus(to, true);
      if (event.shiftKey) Picks.range(to);
    } else if (control && key === "a") Picks.everything();
    else if (control && key === "z") this.undo();
    else if (control) return;
    else if (key === " " && inList) Picks.toggle(this.grid.focused);
    else if (key === "escape" && Picks.all.size) Picks.clear();
    else if (Shortcuts.on && key in Shortcuts.decisions) this.decide(Shortcuts.decisions[key]);
    else if (Shortcuts.on && key === "z") this.undo();
    else return;
    event.preventDefault();
  },

  /** Decide on what is selected, or on the focused card, and go on to the next one. @param {Decision["decision"]} decision */
  decide(decision) {
    this.deciding = this.deciding.then(() => (Picks.all.size ? this.decideMany(decision) : this.decideOne(decision)));
    return this.deciding;
  },

  /** @param {Decision["decision"]} decision */
  async decideMany(decision) {
    await Reviewer.known();
    this.list.setAttribute("aria-busy", "true");
    const targets = await Picks.targets();
    Picks.all.clear();
    Decisions.decide(targets, decision);
    this.list.removeAttribute("aria-busy");
    announce(`${Numbers.whole(targets.length)} ${SAID[decision]}`);
    await Inspection.ended();
  },

  /** @param {Decision["decision"]} decision */
  async decideOne(decision) {
    const place = this.grid.focused;
    if (place >= this.rows.length) return;
    await Reviewer.known();
    const [row, face] = this.item(place);
    const photo = await Photos.at(row);
    const key = this.key(place);
    Decisions.decide([targetOf(row, photo, face < 0 ? null : face)], decision);
    announce(`${Numbers.basename(photo.member)}: ${SAID[decision]}`);
    if (await Inspection.ended()) return;
    const stays = place < this.rows.length && this.key(place) === key;
    if (stays && decision !== "" && place + 1 < this.rows.length) this.grid.focus(place + 1, true);
  },

  undo() {
    this.deciding = this.deciding.then(() => {
      const targets = Decisions.undo();
      if (!targets.length) return announce("There is nothing to undo.");
      const place = this.placeOf(targets[0]);
      if (place >= 0) this.grid.focus(place, true);
      announce(targets.length > 1 ? `${Numbers.whole(targets.length)} decisions undone` : "Undone");
    });
    return this.deciding;
  },

  /** @param {Target} target */
  placeOf({ row, face }) {
    if (this.faces === null) return this.rows.indexOf(row);
    for (let place = this.rows.indexOf(row); place >= 0; place = this.rows.indexOf(row, place + 1))
      if (face === null || this.faces[place] === face) return place;
    return -1;
  },

  /** Return to the card of a reviewed photo. @param {number} place */
  back(place) {
    if (!this.rows.length) return;
    this.grid.draw();
    this.grid.focus(Math.min(place, this.rows.length - 1), true);
  },
};

const SAID = { accept: "accepted", reject: "rejected", "": "undecided" };
