"use strict";
// Before and after: under a movable line, side by side, as a difference, or in turns.

/**
 * @typedef {{before: string, after: string, label: string, width: number, height: number, folder: string|null,
 *            boxes: {number: number, box: number[], flagged: boolean}[]}} Pair
 *   width, height: px of the photo to which the boxes belong. folder: of the tiles that a large photo has; null: none.
 */

const VIEWS = /** @type {const} */ ({
  slider: "Slider",
  side: "Side by side",
  difference: "Difference",
  flicker: "Flicker",
});
const WHOLE_SIDE = 4096; // px: pictures of larger photos are reduced to it, by pipeline/report/display_copies.py
const FLICKER = 700; // ms for each side: fewer than three flashes a second (WCAG 2.3.1)

class Compare {
  /** @param {(face: number) => void} openFace  when the box of a face is clicked */
  constructor(openFace) {
    this.openFace = openFace;
    /** @type {keyof VIEWS} */
    this.look = "slider";
    this.before = new Layer("before");
    this.beside = new Layer("beside");
    this.after = new Layer("after");
    this.boxes = element("div", { class: "boxes" });
    this.line = element("div", { class: "line", "aria-hidden": "true" }, element("span", { class: "grip" }, "⇔"));
    const side = (/** @type {string} */ name, /** @type {string} */ label) =>
      element("span", { class: `side ${name}`, "aria-hidden": "true" }, label);
    this.frame = element(
      "div",
      { class: "frame", onpointerdown: (/** @type {PointerEvent} */ event) => this.drag(event) },
      this.before.node,
      this.after.node,
      this.boxes,
      this.line,
      side("left", "Before"),
      side("right", "After"),
    );
    this.other = element("div", { class: "frame" }, this.beside.node, side("left", "Before"));
    this.view = element("div", { class: "view" }, this.frame);
    this.otherView = element("div", { class: "view other", "aria-hidden": "true" }, this.other);
    this.panes = element("div", { class: "panes" }, this.otherView, this.view);
    this.range = element("input", {
      type: "range",
      min: 0,
      max: 100,
      step: 1,
      "aria-label": "Position of the line between before and after",
      oninput: () => this.split(Number(this.range.value)),
    });
    this.full = this.button("Full size", false, () => this.zoom.toggle());
    this.smaller = this.button("−", null, () => this.zoom.by(1 / STEP));
    this.larger = this.button("+", null, () => this.zoom.by(STEP));
    this.scale = element("output", { class: "scale", "aria-label": "Size on the screen" });
    set(this.smaller, { "aria-label": "Smaller" });
    set(this.larger, { "aria-label": "Larger" });
    this.outlines = this.button("Outlines", true, () => this.toggleBoxes());
    this.looks = Object.entries(VIEWS).map(([name, label]) =>
      this.button(label, false, () => this.setLook(/** @type {keyof VIEWS} */ (name))),
    );
    const ends = element(
      "span",
      { class: "ends" },
      element("span", { "aria-hidden": "true" }, "Before"),
      this.range,
      element("span", { "aria-hidden": "true" }, "After"),
    );
    this.node = element(
      "div",
      { class: "compare" },
      this.panes,
      element(
        "div",
        { class: "bar" },
        element("span", { class: "looks", role: "group", "aria-label": "View" }, ...this.looks),
        ends,
        element("span", { class: "sizes" }, this.smaller, this.scale, this.larger, this.full),
        this.outlines,
      ),
    );
    this.zoom = new Zoom(this.view, this.frame, () => this.size, () => this.resized());
    this.after.image.addEventListener("load", () => {
      this.zoom.fit();
      this.deepen();
    });
    this.view.addEventListener("scroll", () => this.drawSoon());
    setInterval(() => this.look === "flicker" && this.frame.classList.toggle("off"), FLICKER);
    this.setLook("slider");
  }

  /** @param {string} label @param {boolean|null} pressed  null: it is not switched on and off @param {() => void} onclick */
  button(label, pressed, onclick) {
    const state = pressed === null ? null : String(pressed);
    return element("button", { type: "button", class: "quiet", "aria-pressed": state, onclick }, label);
  }

  /** Width and height of what is compared, px. @returns {[number, number]} */
  get size() {
    return this.after.size ?? [this.after.image.naturalWidth, this.after.image.naturalHeight];
  }

  /** @param {Pair} pair */
  show(pair) {
    this.pair = pair;
    for (const side of /** @type {const} */ (["before", "after"]))
      this[side].show(pair[side], `${pair.label}, ${side} restoration`);
    this.beside.show(pair.before, "");
    this.outlines.hidden = pair.boxes.length === 0;
    this.boxes.replaceChildren(...pair.boxes.map((one) => this.outline(one, pair)));
    this.zoom.to(null);
    this.split(50);
  }

  /** A picture as large as a reduced one: ask for the size of the photo, whose tiles are seen from now on. */
  async deepen() {
    const { pair } = this;
    if (!pair?.folder || Math.max(...this.size) !== WHOLE_SIDE) return;
    const sizes = await Report.fetch(`${pair.folder}/tiles.js`);
    if (this.pair !== pair) return;
    this.after.deepen(`${pair.folder}/after_files/`, sizes.after ?? null);
    for (const layer of [this.before, this.beside])
      layer.deepen(`${pair.folder}/before_files/`, sizes.before ?? null);
    this.zoom.fit();
  }

  /** What is on show, as shares of the photo: left, top, right, bottom. Some are outside 0 to 1 if all of it is. */
  get part() {
    const [view, frame] = [this.view.getBoundingClientRect(), this.frame.getBoundingClientRect()];
    if (!frame.width || !frame.height) return [0, 0, 1, 1];
    const left = (view.left - frame.left) / frame.width;
    const top = (view.top - frame.top) / frame.height;
    return [left, top, left + this.view.clientWidth / frame.width, top + this.view.clientHeight / frame.height];
  }

  /** Draw the tiles of what is on show, and the line and labels in it; the other view shows the same place. */
  draw() {
    this.otherView.scrollTo(this.view.scrollLeft, this.view.scrollTop);
    const { part, frame } = this;
    const hidden = { left: part[0], top: part[1], right: 1 - part[2], bottom: 1 - part[3] };
    for (const [name, share] of Object.entries(hidden))
      this.panes.style.setProperty(`--hidden-${name}`, `${Math.max(0, share) * 100}%`);
    this.split(Number(this.range.value));
    const width = frame.clientWidth * window.devicePixelRatio;
    const side = this.look === "side";
    this.after.draw(part, width);
    this.before.draw(part, side ? 0 : width);
    this.beside.draw(part, side ? width : 0);
  }

  /** Once what is on show has its size and place. */
  drawSoon() {
    this.drawing ??= requestAnimationFrame(() => {
      this.drawing = undefined;
      this.draw();
    });
  }

  /** @param {Pair["boxes"][0]} face @param {Pair} pair */
  outline({ number, box, flagged }, pair) {
    const outline = element(
      "button",
      {
        type: "button",
        class: flagged ? "box flagged" : "box",
        "aria-label": `Open face ${number}`,
        onclick: () => this.openFace(number),
      },
      element("span", {}, String(number)),
    );
    const [left, top, right, bottom] = box;
    outline.style.left = `${(left / pair.width) * 100}%`;
    outline.style.top = `${(top / pair.height) * 100}%`;
    outline.style.width = `${((right - left) / pair.width) * 100}%`;
    outline.style.height = `${((bottom - top) / pair.height) * 100}%`;
    return outline;
  }

  /** @param {keyof VIEWS} look */
  setLook(look) {
    this.look = look;
    Object.keys(VIEWS).forEach((name, place) => {
      this.node.classList.toggle(name, name === look);
      this.looks[place].setAttribute("aria-pressed", String(name === look));
    });
    this.frame.classList.remove("off");
    this.split(Number(this.range.value));
    this.zoom.fit();
  }

  nextView() {
    const names = /** @type {(keyof VIEWS)[]} */ (Object.keys(VIEWS));
    this.setLook(names[(names.indexOf(this.look) + 1) % names.length]);
    announce(`View: ${VIEWS[this.look]}`);
  }

  /**
   * Show a result as it would be with another strength, 0 (as before) to 1. More than it was made with cannot be shown.
   * @param {number} strength @param {number} made  the strength that it was made with
   */
  blend(strength, made) {
    this.after.node.style.opacity = String(made > 0 ? Math.min(1, strength / made) : 0);
  }

  /** Put the line at a percentage of the width on show: the restored photo is to its right. @param {number} percent */
  split(percent) {
    this.range.value = String(percent);
    this.range.setAttribute(
      "aria-valuetext",
      `line at ${Math.round(percent)} percent; the restored photo is on its right`,
    );
    const [left, , right] = this.part.map((share) => Math.min(Math.max(share, 0), 1));
    const place = left * 100 + (right - left) * percent;
    this.after.node.style.clipPath = this.look === "slider" ? `inset(0 0 0 ${place}%)` : "none";
    this.line.style.left = `${place}%`;
    this.frame.classList.toggle("no-before", percent < 12);
    this.frame.classList.toggle("no-after", percent > 88);
  }

  /** All before, or all after. */
  flip() {
    this.split(Number(this.range.value) > 50 ? 0 : 100);
  }

  toggleBoxes() {
    const shown = this.frame.classList.toggle("no-boxes") === false;
    this.outlines.setAttribute("aria-pressed", String(shown));
  }

  /** The other frame follows, and the bar says the scale. */
  resized() {
    this.full.setAttribute("aria-pressed", String(this.zoom.isFull));
    this.smaller.disabled = this.zoom.scale === null;
    this.scale.textContent = `${Math.round(this.zoom.shown * window.devicePixelRatio * 100)} %`;
    Object.assign(this.other.style, { width: this.frame.style.width, height: this.frame.style.height });
    this.otherView.classList.toggle("zoomed", this.zoom.scale !== null);
    this.drawSoon();
  }

  /**
   * The line follows mouse, pen or finger. In an enlarged photo only its grip does: elsewhere the photo is moved, by a
   * finger as everything that scrolls.
   * @param {PointerEvent} event
   */
  drag(event) {
    const target = /** @type {Element} */ (event.target);
    const grip = target.closest(".line") !== null;
    if (event.button !== 0 || target.closest(".box")) return;
    if (this.zoom.scale !== null && !grip) {
      if (event.pointerType === "mouse") this.zoom.pan(event);
      return;
    }
    if (this.look !== "slider") return;
    event.preventDefault();
    const [left, right] = ["left", "right"].map((end) => {
      const [view, frame] = [this.view, this.frame].map((one) => one.getBoundingClientRect()[end]);
      return end === "left" ? Math.max(view, frame) : Math.min(view, frame);
    });
    const width = right - left;
    const move = (/** @type {PointerEvent} */ { clientX }) =>
      this.split(Math.min(Math.max(((clientX - left) / width) * 100, 0), 100));
    follow(this.frame, event, move, () => this.range.focus({ preventScroll: true }));
    move(event);
  }
}
