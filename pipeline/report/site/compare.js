"use strict";
// Before and after on top of each other, divided by a movable line.

/**
 * @typedef {{before: string, after: string, label: string, width: number, height: number,
 *            boxes: {number: number, box: number[], flagged: boolean}[]}} Pair
 *   width, height: px of the photo to which the boxes belong.
 */

class Compare {
  /** @param {(face: number) => void} openFace  when the box of a face is clicked */
  constructor(openFace) {
    this.openFace = openFace;
    this.zoomed = false;
    this.before = element("img", { alt: "", draggable: "false" });
    this.after = element("img", { class: "after", alt: "", draggable: "false" });
    this.boxes = element("div", { class: "boxes" });
    this.line = element("div", { class: "line", "aria-hidden": "true" }, element("span", { class: "grip" }, "⇔"));
    this.frame = element(
      "div",
      { class: "frame", onpointerdown: (/** @type {PointerEvent} */ event) => this.drag(event) },
      this.before,
      this.after,
      this.boxes,
      this.line,
      element("span", { class: "side left", "aria-hidden": "true" }, "Before"),
      element("span", { class: "side right", "aria-hidden": "true" }, "After"),
    );
    this.view = element("div", { class: "view" }, this.frame);
    this.range = element("input", {
      type: "range",
      min: 0,
      max: 100,
      step: 1,
      "aria-label": "Position of the line between before and after",
      oninput: () => this.split(Number(this.range.value)),
    });
    this.zoom = element(
      "button",
      { type: "button", class: "quiet", "aria-pressed": "false", onclick: () => this.setZoom(!this.zoomed) },
      "Full size",
    );
    this.outlines = element(
      "button",
      { type: "button", class: "quiet", "aria-pressed": "true", onclick: () => this.toggleBoxes() },
      "Outlines",
    );
    this.node = element(
      "div",
      { class: "compare" },
      this.view,
      element(
        "div",
        { class: "bar" },
        element("span", { "aria-hidden": "true" }, "Before"),
        this.range,
        element("span", { "aria-hidden": "true" }, "After"),
        this.zoom,
        this.outlines,
      ),
    );
    this.after.addEventListener("load", () => this.fit());
    new ResizeObserver(() => this.fit()).observe(this.view);
    this.split(50);
  }

  /** @param {Pair} pair */
  show(pair) {
    this.pair = pair;
    for (const side of /** @type {const} */ (["before", "after"])) {
      this[side].src = pair[side];
      this[side].alt = `${pair.label}, ${side} restoration`;
    }
    this.outlines.hidden = pair.boxes.length === 0;
    this.boxes.replaceChildren(
      ...pair.boxes.map(({ number, box, flagged }) => {
        const outline = element(
          "button",
          {
            type: "button",
            class: flagged ? "box flagged" : "box",
            "aria-label": `Open face ${number + 1}`,
            onclick: () => this.openFace(number),
          },
          element("span", {}, String(number + 1)),
        );
        const [left, top, right, bottom] = box;
        outline.style.left = `${(left / pair.width) * 100}%`;
        outline.style.top = `${(top / pair.height) * 100}%`;
        outline.style.width = `${((right - left) / pair.width) * 100}%`;
        outline.style.height = `${((bottom - top) / pair.height) * 100}%`;
        return outline;
      }),
    );
    this.setZoom(false);
    this.split(50);
  }

  /** Put the line at a percentage of the width: the restored photo is to its right. @param {number} percent */
  split(percent) {
    this.range.value = String(percent);
    this.range.setAttribute(
      "aria-valuetext",
      `line at ${Math.round(percent)} percent; the restored photo is on its right`,
    );
    this.after.style.clipPath = `inset(0 0 0 ${percent}%)`;
    this.line.style.left = `${percent}%`;
    this.frame.classList.toggle("no-before", percent < 12);
    this.frame.classList.toggle("no-after", percent > 88);
  }

  /** All before, or all after. */
  flip() {
    this.split(Number(this.range.value) > 50 ? 0 : 100);
  }

  /** @param {boolean} zoomed  one pixel of the photo on one pixel of the screen */
  setZoom(zoomed) {
    this.zoomed = zoomed;
    this.zoom.setAttribute("aria-pressed", String(zoomed));
    this.view.classList.toggle("zoomed", zoomed);
    // A scrolling region must be reachable by keyboard.
    if (zoomed) set(this.view, { tabindex: 0, role: "region", "aria-label": "Photo in full size, scrolls" });
    else for (const name of ["tabindex", "role", "aria-label"]) this.view.removeAttribute(name);
    this.fit();
    if (zoomed)
      this.view.scrollTo(
        (this.view.scrollWidth - this.view.clientWidth) / 2,
        (this.view.scrollHeight - this.view.clientHeight) / 2,
      );
  }

  toggleBoxes() {
    const shown = this.frame.classList.toggle("no-boxes") === false;
    this.outlines.setAttribute("aria-pressed", String(shown));
  }

  /** Fit the pictures into the view; a small face is enlarged up to four times. */
  fit() {
    const { naturalWidth: width, naturalHeight: height } = this.after;
    if (!width || !this.view.clientWidth) return;
    const room = Math.min(this.view.clientWidth / width, this.view.clientHeight / height, 4);
    const scale = this.zoomed ? 1 / window.devicePixelRatio : room;
    this.frame.style.width = `${Math.max(1, Math.floor(width * scale))}px`;
    this.frame.style.height = `${Math.max(1, Math.floor(height * scale))}px`;
  }

  /**
   * The line follows mouse, pen or finger. In full size only its grip can be dragged: elsewhere a finger scrolls.
   * @param {PointerEvent} event
   */
  drag(event) {
    const target = /** @type {Element} */ (event.target);
    const grip = target.closest(".line") !== null;
    if (event.button !== 0 || target.closest(".box") || (this.zoomed && !grip)) return;
    event.preventDefault();
    const { left, width } = this.frame.getBoundingClientRect();
    const move = (/** @type {PointerEvent} */ { clientX }) =>
      this.split(Math.min(Math.max(((clientX - left) / width) * 100, 0), 100));
    const end = () => {
      this.frame.removeEventListener("pointermove", move);
      this.range.focus({ preventScroll: true });
    };
    this.frame.setPointerCapture(event.pointerId);
    this.frame.addEventListener("pointermove", move);
    for (const name of ["pointerup", "pointercancel"]) this.frame.addEventListener(name, end, { once: true });
    move(event);
  }
}
