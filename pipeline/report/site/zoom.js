"use strict";
// Zoom of a picture in a view that scrolls: fitted, in full size, or in between by the wheel.

const MOST_ZOOM = 16; // px of the screen for one of the picture
const MOST_FIT = 4; // a small face is enlarged this much to fit
const STEP = 1.5; // of a key or button
const MOVE = 0.25; // of the view, at a key

class Zoom {
  /**
   * @param {any} view  scrolls @param {any} frame  in it, gets the size of the picture
   * @param {() => [number, number]} size  width and height of the picture, px
   * @param {() => void} changed
   */
  constructor(view, frame, size, changed) {
    this.view = view;
    this.frame = frame;
    this.size = size;
    this.changed = changed;
    /** @type {number|null} px of the page for one of the picture; null: fitted */
    this.scale = null;
    view.addEventListener("wheel", (/** @type {WheelEvent} */ event) => {
      if (!event.deltaY) return;
      event.preventDefault();
      this.by(Math.exp(-event.deltaY / 500), event.clientX, event.clientY);
    });
    this.pinched();
    new ResizeObserver(() => this.fit()).observe(view);
  }

  /** The scale at which the whole picture is seen. */
  get fitting() {
    const [width, height] = this.size();
    return Math.min(this.view.clientWidth / width, this.view.clientHeight / height, MOST_FIT);
  }

  /** One pixel of the picture on one of the screen, or on 2, 3, ... if it is shown larger than that already. */
  get full() {
    return Math.max(1, Math.ceil(this.fitting * window.devicePixelRatio - 1e-6)) / window.devicePixelRatio;
  }

  /** The scale on show. */
  get shown() {
    return this.scale ?? this.fitting;
  }

  get isFull() {
    return this.scale === this.full;
  }

  toggle() {
    this.to(this.isFull ? null : this.full);
  }

  /** Larger or smaller; the point of the screen stays where it is. @param {number} factor @param {number} [x] @param {number} [y] */
  by(factor, x, y) {
    const { fitting } = this;
    const scale = Math.min(this.shown * factor, Math.max(MOST_ZOOM / window.devicePixelRatio, fitting));
    this.to(scale <= fitting ? null : scale, x, y);
  }

  /** @param {number|null} scale @param {number} [x] @param {number} [y] */
  to(scale, x, y) {
    const view = this.view.getBoundingClientRect();
    const [left, top] = [x ?? view.left + view.width / 2, y ?? view.top + view.height / 2];
    const before = this.frame.getBoundingClientRect();
    const [across, down] = [(left - before.left) / before.width, (top - before.top) / before.height];
    this.scale = scale;
    this.view.classList.toggle("zoomed", scale !== null);
    // A scrolling region must be reachable by keyboard.
    if (scale !== null) set(this.view, { tabindex: 0, role: "region", "aria-label": "Enlarged photo, scrolls" });
    else for (const name of ["tabindex", "role", "aria-label"]) this.view.removeAttribute(name);
    this.fit();
    const after = this.frame.getBoundingClientRect();
    this.view.scrollBy(after.left + across * after.width - left, after.top + down * after.height - top);
  }

  /** Give the frame its size. */
  fit() {
    const [width, height] = this.size();
    if (!width || !this.view.clientWidth) return;
    const scale = this.shown;
    this.frame.style.width = `${Math.max(1, Math.floor(width * scale))}px`;
    this.frame.style.height = `${Math.max(1, Math.floor(height * scale))}px`;
    this.changed();
  }

  /** Show what is further to the right and down, or with negative numbers to the left and up. @param {number} across @param {number} down */
  move(across, down) {
    this.view.scrollBy(across * MOVE * this.view.clientWidth, down * MOVE * this.view.clientHeight);
  }

  /** Two fingers enlarge at the middle between them. */
  pinched() {
    let apart = 0;
    this.view.addEventListener("touchstart", () => (apart = 0));
    this.view.addEventListener("touchmove", (/** @type {TouchEvent} */ event) => {
      const [one, other] = event.touches;
      if (!other) return;
      if (event.cancelable) event.preventDefault();
      const now = Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
      if (apart) this.by(now / apart, (one.clientX + other.clientX) / 2, (one.clientY + other.clientY) / 2);
      apart = now;
    });
  }

  /** The picture follows the mouse. @param {PointerEvent} event */
  pan(event) {
    let [x, y] = [event.clientX, event.clientY];
    follow(this.frame, event, (moved) => {
      this.view.scrollBy(x - moved.clientX, y - moved.clientY);
      [x, y] = [moved.clientX, moved.clientY];
    });
  }
}

/** Follow a pressed pointer until it is lifted. @param {any} target @param {PointerEvent} event @param {(event: PointerEvent) => void} move @param {() => void} [end] */
function follow(target, event, move, end) {
  target.setPointerCapture(event.pointerId);
  target.addEventListener("pointermove", move);
  const stop = () => {
    target.removeEventListener("pointermove", move);
    end?.();
  };
  for (const name of ["pointerup", "pointercancel"]) target.addEventListener(name, stop, { once: true });
}
