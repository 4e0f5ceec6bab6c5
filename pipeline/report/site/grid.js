"use strict";
// A grid of very many cards. Only those near the window are in the document.

/**
 * @typedef {{least: number, gap: number, ratio: number, text: number}} Shape  px: the least width of a card, the space
 *   between cards, and the height: ratio x width + text
 * @typedef {{key: (place: number) => string, href: (place: number) => string, marked: (place: number) => boolean,
 *            fill: (link: HTMLElement, place: number) => void, click: (event: MouseEvent, place: number) => void,
 *            pick: (event: MouseEvent, place: number) => void}} Owner
 *   key: the same for as long as a card shows the same. marked: whether it is selected.
 */

const TALLEST = 15_000_000; // px: the tallest page in which browsers still place elements exactly

class Grid {
  /** @param {Owner} owner @param {string} label */
  constructor(owner, label) {
    this.owner = owner;
    /** @type {Map<string, HTMLElement>} cards by key */
    this.cards = new Map();
    this.count = 0;
    this.focused = 0;
    this.columns = 1;
    this.width = 0;
    this.drawing = false;
    /** @type {Shape} */
    this.shape = { least: 168, gap: 14, ratio: 0.78, text: 82 };
    this.list = element("ul", { class: "cards", role: "list", "aria-label": label });
    new ResizeObserver(() => this.draw()).observe(this.list);
    window.addEventListener("scroll", () => this.soon(), { passive: true });
  }

  /** Show other cards. @param {number} count @param {Shape} shape */
  show(count, shape) {
    if (shape !== this.shape) this.empty();
    [this.count, this.shape] = [count, shape];
    this.focused = Math.max(0, Math.min(this.focused, count - 1));
    this.list.classList.toggle("empty", count === 0);
    this.draw();
  }

  empty() {
    for (const card of this.cards.values()) card.remove();
    this.cards.clear();
    this.width = 0;
  }

  /** Fill all cards again. */
  refresh() {
    for (const card of this.cards.values()) this.fill(card);
  }

  soon() {
    if (this.drawing) return;
    this.drawing = true;
    requestAnimationFrame(() => {
      this.drawing = false;
      this.draw();
    });
  }

  /** Distance between two lines of cards, px. */
  get line() {
    return Math.round(this.width * this.shape.ratio) + this.shape.text + this.shape.gap;
  }

  /** Make the cards near the window, move those that have another place, and remove the others. */
  draw() {
    const { list } = this;
    if (list.clientWidth === 0) return;
    const { least, gap } = this.shape;
    this.columns = Math.max(2, Math.floor((list.clientWidth + gap) / (least + gap)));
    this.width = (list.clientWidth - (this.columns - 1) * gap) / this.columns;
    list.style.height = `${Math.min(Math.ceil(this.count / this.columns) * this.line, TALLEST)}px`;
    const top = -list.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(top / this.line) - 2) * this.columns;
    const last = Math.min(this.count, (Math.ceil((top + window.innerHeight) / this.line) + 2) * this.columns);
    const wanted = new Map();
    if (this.focused < this.count) wanted.set(this.owner.key(this.focused), this.focused);
    for (let place = first; place < last; place++) wanted.set(this.owner.key(place), place);
    for (const [key, card] of this.cards) {
      if (wanted.has(key)) continue;
      card.remove();
      this.cards.delete(key);
    }
    for (const [key, place] of wanted) this.put(key, place);
  }

  /** @param {string} key @param {number} place */
  put(key, place) {
    let card = this.cards.get(key);
    if (!card) {
      card = this.made();
      this.cards.set(key, card);
      card.dataset.at = String(place);
      this.fill(card);
      this.list.append(card);
    }
    card.dataset.at = String(place);
    set(card, { "aria-setsize": this.count, "aria-posinset": place + 1 });
    const link = /** @type {HTMLElement} */ (card.firstElementChild);
    set(link, { href: this.owner.href(place), "data-place": place, tabindex: place === this.focused ? 0 : -1 });
    card.style.width = `${this.width}px`;
    card.style.height = `${this.line - this.shape.gap}px`;
    const left = (place % this.columns) * (this.width + this.shape.gap);
    card.style.transform = `translate(${left}px, ${Math.floor(place / this.columns) * this.line}px)`;
  }

  /** @returns {HTMLElement} */
  made() {
    const card = element("li", {});
    const place = () => Number(card.dataset.at);
    const pick = (/** @type {MouseEvent} */ event) => this.owner.pick(event, place());
    card.append(
      element("a", {
        class: "card",
        onfocus: () => this.focus(place(), false),
        onclick: (/** @type {MouseEvent} */ event) => this.owner.click(event, place()),
      }),
      // For mouse and finger alone: a keyboard selects with the space bar.
      element("button", { type: "button", class: "pick", tabindex: -1, onclick: pick }),
    );
    return card;
  }

  /** @param {HTMLElement} card */
  fill(card) {
    const place = Number(card.dataset.at);
    const marked = this.owner.marked(place);
    card.classList.toggle("marked", marked);
    this.owner.fill(/** @type {HTMLElement} */ (card.firstElementChild), place);
    set(/** @type {Element} */ (card.lastElementChild), {
      "aria-pressed": String(marked),
      "aria-label": `Select number ${place + 1}`,
    });
  }

  /** Make one card the one that Tab reaches. @param {number} place @param {boolean} move  also move the focus */
  focus(place, move) {
    const before = this.cards.get(this.focused < this.count ? this.owner.key(this.focused) : "");
    before?.firstElementChild?.setAttribute("tabindex", "-1");
    this.focused = place;
    this.put(this.owner.key(place), place);
    if (!move) return;
    const card = /** @type {HTMLElement} */ (this.cards.get(this.owner.key(place)));
    card.scrollIntoView({ block: "nearest" });
    /** @type {HTMLElement} */ (card.firstElementChild).focus({ preventScroll: true });
  }

  get hasFocus() {
    return this.list.contains(document.activeElement);
  }

  /** The place that a key leads to; null for other keys. @param {string} key @returns {number|null} */
  next(key) {
    const page = Math.max(1, Math.floor(window.innerHeight / this.line)) * this.columns;
    const steps = /** @type {Record<string, number>} */ ({
      ArrowRight: 1,
      ArrowLeft: -1,
      ArrowDown: this.columns,
      ArrowUp: -this.columns,
      PageDown: page,
      PageUp: -page,
      Home: -this.count,
      End: this.count,
    });
    return key in steps ? Math.min(Math.max(this.focused + steps[key], 0), this.count - 1) : null;
  }
}
