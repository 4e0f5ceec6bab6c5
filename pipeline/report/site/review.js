"use strict";
// One photo: before and after, its faces, its measures, and the curator's decision.

const Review = {
  /** @type {Photo} */
  photo: /** @type {any} */ (null),
  place: 0,
  row: 0,
  /** @type {number|null} the face on show; null: the whole photo */
  face: null,
  /** @type {Compare} */
  compare: /** @type {any} */ (null),
  /** @type {Record<string, any>} */
  parts: {},

  build() {
    this.compare = new Compare((face) => this.select(face));
    const dialog = byId("review");
    const part = (
      /** @type {string} */ name,
      /** @type {string} */ tag,
      /** @type {Record<string, any>} */ attributes = {},
    ) => (this.parts[name] = element(tag, attributes));
    const step = (/** @type {number} */ by, /** @type {string} */ label, /** @type {string} */ sign) =>
      element("button", { type: "button", class: "quiet", "aria-label": label, onclick: () => Judge.step(by) }, sign);
    dialog.replaceChildren(
      element(
        "header",
        { class: "review-head" },
        element(
          "button",
          {
            type: "button",
            class: "quiet",
            "aria-label": "Close and go back to the gallery",
            onclick: () => this.leave(),
          },
          "✕",
        ),
        element(
          "div",
          { class: "heading" },
          part("title", "h2", { id: "review-title", tabindex: -1 }),
          part("where", "p", { class: "note" }),
        ),
        element(
          "div",
          { class: "steps" },
          step(-1, "Previous photo", "←"),
          part("position", "span", { class: "note" }),
          step(1, "Next photo", "→"),
        ),
      ),
      element(
        "div",
        { class: "review-body" },
        element(
          "div",
          { class: "stage" },
          this.compare.node,
          part("nothing", "p", { class: "nothing" }),
          part("strip", "div", { class: "strip", role: "group", "aria-label": "Photo and faces" }),
        ),
        element(
          "aside",
          { class: "aside", "aria-label": "Decision and measures" },
          part("decision", "div", {}),
          part("measures", "div", {}),
          part("facts", "div", {}),
          Describe.help(),
        ),
      ),
    );
    dialog.addEventListener("cancel", (/** @type {Event} */ event) => {
      event.preventDefault();
      this.leave();
    });
    // Not the dialog: a click on its ground takes the focus out of it.
    document.addEventListener("keydown", (event) => Judge.key(event));
  },

  /** @param {number} place in the gallery */
  async show(place) {
    if (!this.parts.title) this.build();
    this.place = Math.min(Math.max(place, 0), Gallery.rows.length - 1);
    const asked = this.place;
    const [row, face] = Gallery.item(asked);
    const photo = await Photos.at(row);
    if (asked !== this.place) return;
    [this.photo, this.row] = [photo, row];
    const { title, where, facts } = this.parts;
    title.textContent = Numbers.basename(photo.member || photo.source);
    where.textContent =
      photo.pages > 1
        ? `${photo.source} / ${photo.member}, page ${photo.page} of ${photo.pages}`
        : `${photo.source} / ${photo.member}`;
    facts.replaceChildren(Describe.warnings(photo), Describe.facts(photo));
    this.strip();
    this.select(face < 0 ? null : face);
    if (!byId("review").open) {
      byId("review").showModal();
      title.focus();
    }
    if (asked + 1 < Gallery.rows.length) this.preload(Gallery.rows[asked + 1]);
  },

  /** @param {number} row */
  async preload(row) {
    const next = await Photos.at(row);
    if (next.pictures && next.faces.length)
      for (const side of ["before", "after"]) new Image().src = `${next.pictures}/${side}.jpg`;
  },

  /** The whole photo, or one of its faces. @param {number|null} face */
  select(face) {
    this.face = face;
    const { photo } = this;
    const restored = photo.pictures !== null && photo.faces.length > 0;
    this.compare.node.hidden = !restored;
    this.parts.nothing.hidden = restored;
    if (restored) {
      this.compare.show(this.pair(face));
      const made = madeWith(photo, face);
      this.compare.blend(Decisions.current(photo, face)?.strength ?? made, made);
    } else this.parts.nothing.replaceChildren(...Describe.instead(photo));
    for (const button of this.parts.strip.querySelectorAll("button")) {
      const current = button.dataset.face === String(face ?? "");
      button.setAttribute("aria-pressed", String(current));
      if (current) button.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
    this.parts.measures.replaceChildren(
      face === null ? Describe.reasons(photo, (one) => this.select(one)) : Describe.measures(photo.faces[face]),
    );
    this.drawDecision();
  },

  /** @param {number|null} face @returns {Pair} */
  pair(face) {
    const { photo } = this;
    const name = Numbers.basename(photo.member);
    const path = `${photo.pictures}/${face === null ? "" : `${face}_`}`;
    const boxes = photo.faces.map((/** @type {Face} */ one) => ({
      number: one.face_index,
      box: one.box,
      flagged: one.needs_review,
    }));
    return {
      before: `${path}before.jpg`,
      after: `${path}after.jpg`,
      label: face === null ? name : `Face ${face} of ${name}`,
      width: photo.width,
      height: photo.height,
      folder: face === null ? photo.pictures : null,
      boxes: face === null ? boxes : [],
    };
  },

  strip() {
    const { photo } = this;
    const tile = (
      /** @type {number|null} */ face,
      /** @type {string} */ name,
      /** @type {string} */ file,
      /** @type {boolean} */ flagged,
    ) =>
      element(
        "button",
        {
          type: "button",
          "data-face": face ?? "",
          class: flagged ? "flagged" : "",
          "aria-label": flagged ? `${name}, needs review` : name,
          onclick: () => this.select(face),
        },
        element("img", { src: `${photo.pictures}/${file}`, alt: "", loading: "lazy" }),
        element("span", {}, name),
      );
    const tiles =
      photo.pictures && photo.faces.length
        ? [
            tile(null, "Photo", "thumbnail.jpg", false),
            ...photo.faces.map((/** @type {Face} */ { face_index, needs_review }) =>
              tile(face_index, `Face ${face_index}`, `${face_index}_after.jpg`, needs_review),
            ),
          ]
        : [];
    this.parts.strip.replaceChildren(...tiles);
    this.parts.strip.hidden = tiles.length === 0;
  },

  /** Draw the decision form of the photo or face on show, and the marks in the strip. */
  drawDecision() {
    const focused = document.activeElement?.getAttribute("data-decision");
    const target = targetOf(this.row, this.photo, this.face);
    this.parts.decision.replaceChildren(...Form.draw(this.photo, target, this.compare));
    if (focused) this.parts.decision.querySelector(`[data-decision="${focused}"]`).focus();
    for (const tile of this.parts.strip.querySelectorAll("button")) {
      const own = Decisions.current(this.photo, tile.dataset.face === "" ? null : Number(tile.dataset.face));
      tile.dataset.decision = own?.decision ?? "";
    }
    const all = Numbers.whole(Gallery.rows.length);
    const left = Gallery.choice.decision === "open";
    this.parts.position.textContent = left ? `${all} left` : `${Numbers.whole(this.place + 1)} of ${all}`;
  },

  leave() {
    location.replace(`#/gallery?${Gallery.query}`);
  },

  close() {
    if (!byId("review").open) return;
    byId("review").close();
    Gallery.back(this.place);
  },
};
