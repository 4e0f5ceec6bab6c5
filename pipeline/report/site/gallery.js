"use strict";
// The gallery: cards of the selected photos. Only cards near the window are in the document.

const CARD = { least: 168, gap: 14, text: 62 }; // px
const TALLEST = 15_000_000; // px: the tallest page in which browsers still place elements exactly

const Gallery = {
  /** @type {Uint32Array} rows of the data, in the order shown */
  rows: new Uint32Array(),
  /** @type {Map<number, HTMLElement>} by place in `rows` */
  cards: new Map(),
  focused: 0,
  columns: 1,
  width: 0,
  drawing: false,
  /** @type {string|null} the selection on show */
  query: null,
  /** @type {any} */
  list: null,
  /** @type {any} */
  count: null,

  /** @param {HTMLElement} place @param {URLSearchParams} query */
  async show(place, query) {
    if (this.list === null) await this.build(place);
    const choice = Choices.read(query);
    if (this.query === Choices.write(choice)) return this.draw();
    Filters.show(choice);
    await this.choose(choice);
  },

  /** @param {HTMLElement} place */
  async build(place) {
    this.count = element("p", { class: "count", role: "status" });
    this.list = element("ul", {
      class: "cards",
      role: "list",
      "aria-label": "Photos",
      onkeydown: (/** @type {KeyboardEvent} */ event) => this.key(event),
    });
    await Filters.build(place, (choice) => {
      history.replaceState(null, "", `#/gallery?${Choices.write(choice)}`);
      this.choose(choice);
    });
    place.append(
      element(
        "div",
        { class: "results" },
        element(
          "div",
          { class: "results-head" },
          this.count,
          element("p", { class: "note keys" }, "Arrow keys move, Enter opens, A accepts, R rejects, U undoes."),
        ),
        this.list,
      ),
    );
    new ResizeObserver(() => this.draw()).observe(this.list);
    window.addEventListener("scroll", () => this.soon(), { passive: true });
  },

  /** @param {Choice} choice */
  async choose(choice) {
    this.query = Choices.write(choice);
    const asked = this.query;
    this.list.setAttribute("aria-busy", "true");
    const rows = await chosen(choice);
    if (asked !== this.query) return; // the selection changed meanwhile
    this.rows = rows;
    this.focused = 0;
    this.refresh();
    this.list.removeAttribute("aria-busy");
    this.count.textContent = `${Numbers.whole(rows.length)} of ${Numbers.counted(Photos.count, "photo", "photos")}`;
    this.list.classList.toggle("empty", rows.length === 0);
  },

  /** Redraw all cards. */
  refresh() {
    for (const card of this.cards.values()) card.remove();
    this.cards.clear();
    this.draw();
  },

  soon() {
    if (this.drawing || this.list === null) return;
    this.drawing = true;
    requestAnimationFrame(() => {
      this.drawing = false;
      this.draw();
    });
  },

  /** Distance between two lines of cards, px. */
  get line() {
    return Math.round(this.width * 0.78) + CARD.text + CARD.gap;
  },

  /** Make the cards near the window, and remove the others. */
  draw() {
    const { list } = this;
    if (list === null || list.clientWidth === 0) return;
    this.measure(list.clientWidth);
    const lines = Math.ceil(this.rows.length / this.columns);
    list.style.height = `${Math.min(lines * this.line, TALLEST)}px`;
    const top = -list.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(top / this.line) - 2) * this.columns;
    const last = Math.min(this.rows.length, (Math.ceil((top + window.innerHeight) / this.line) + 2) * this.columns);
    for (const [place, card] of this.cards) {
      if ((place < first || place >= last) && place !== this.focused) this.drop(place, card);
    }
    for (let place = first; place < last; place++) this.card(place);
  },

  /** Lay out the grid for a new width of the window. @param {number} room */
  measure(room) {
    const columns = Math.max(2, Math.floor((room + CARD.gap) / (CARD.least + CARD.gap)));
    const width = (room - (columns - 1) * CARD.gap) / columns;
    if (columns === this.columns && width === this.width) return;
    this.columns = columns;
    this.width = width;
    for (const [place, card] of this.cards) this.drop(place, card);
  },

  /** @param {number} place @param {HTMLElement} card */
  drop(place, card) {
    card.remove();
    this.cards.delete(place);
  },

  /** The card at a place; created if it does not exist. @param {number} place */
  card(place) {
    const known = this.cards.get(place);
    if (known) return known;
    const link = element("a", {
      class: "card",
      href: `#/photo/${place}?${this.query}`,
      "data-place": place,
      tabindex: place === this.focused ? 0 : -1,
      onfocus: () => this.focus(place, false),
    });
    const item = element("li", { "aria-setsize": this.rows.length, "aria-posinset": place + 1 }, link);
    item.style.width = `${this.width}px`;
    item.style.height = `${this.line - CARD.gap}px`;
    const left = (place % this.columns) * (this.width + CARD.gap);
    item.style.transform = `translate(${left}px, ${Math.floor(place / this.columns) * this.line}px)`;
    this.cards.set(place, item);
    this.list.append(item);
    Photos.at(this.rows[place]).then((photo) => Card.fill(link, photo));
    return item;
  },

  /** Make one card the one that Tab reaches. @param {number} place @param {boolean} move  also move the focus */
  focus(place, move) {
    const before = this.cards.get(this.focused)?.firstElementChild;
    this.focused = place;
    before?.setAttribute("tabindex", "-1");
    const link = /** @type {HTMLElement} */ (this.card(place).firstElementChild);
    link.setAttribute("tabindex", "0");
    if (!move) return;
    this.card(place).scrollIntoView({ block: "nearest" });
    link.focus({ preventScroll: true });
  },

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.rows.length) return;
    const page = Math.max(1, Math.floor(window.innerHeight / this.line)) * this.columns;
    const steps = /** @type {Record<string, number>} */ ({
      ArrowRight: 1,
      ArrowLeft: -1,
      ArrowDown: this.columns,
      ArrowUp: -this.columns,
      PageDown: page,
      PageUp: -page,
      Home: -this.rows.length,
      End: this.rows.length,
    });
    if (event.key in steps) {
      event.preventDefault();
      this.focus(Math.min(Math.max(this.focused + steps[event.key], 0), this.rows.length - 1), true);
    } else if (Shortcuts.on && event.key.toLowerCase() in Shortcuts.decisions) {
      event.preventDefault();
      this.decide(Shortcuts.decisions[event.key.toLowerCase()]);
    }
  },

  /** Decide on the focused photo. @param {Decision["decision"]} decision */
  async decide(decision) {
    const place = this.focused;
    const photo = await Photos.at(this.rows[place]);
    Decisions.decide(photo.photo_id, null, decision);
    Card.fill(/** @type {HTMLElement} */ (this.card(place).firstElementChild), photo);
    announce(
      `${Numbers.basename(photo.member)}: ${{ accept: "accepted", reject: "rejected", "": "undecided" }[decision]}`,
    );
  },

  /** Return to the card of a reviewed photo, with its current decisions. @param {number} place */
  back(place) {
    if (place >= this.rows.length) return;
    this.refresh();
    this.focus(place, true);
  },
};
