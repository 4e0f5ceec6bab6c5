"use strict";
// The content of a card in the contact sheet: one face, after the restoration, and before it while one points at it.

const TILE = { side: 128, columns: 32 }; // px and faces in a line of faces.jpg, as pipeline/report/display_copies.py cuts it

const Tile = {
  /** @param {HTMLElement} link @param {Photo} photo @param {number} face @param {boolean} marked */
  fill(link, photo, face, marked) {
    const one = photo.faces[face];
    const decision = (Decisions.current(photo, face) ?? Decisions.current(photo, null))?.decision ?? "";
    const words = [
      `Face ${one.face_index} of ${Numbers.basename(photo.member)}`,
      one.needs_review ? "needs review" : "",
      decision ? SAID[decision] : "",
      marked ? "selected" : "",
    ];
    const said = words.filter(Boolean).join(", ");
    if (link.dataset.shows === said) return;
    link.dataset.shows = said;
    const picture = element("span", { class: "face" });
    if (photo.pictures) this.cut(picture, `${photo.pictures}/faces.jpg`, photo.faces.length, face);
    else picture.append(element("span", { class: "nothing", "aria-hidden": "true" }, "no picture"));
    link.title = [photo.member, one.review_reason].filter(Boolean).join("\n");
    link.replaceChildren(
      picture,
      element("span", { class: "unseen name" }, said),
      ...(one.needs_review ? [badge("flag", "!")] : []),
      ...(decision ? [badge(decision, { accept: "✓", reject: "✗" }[decision])] : []),
    );
  },

  /** Show one face of a sheet: the style sheet moves it to the line of faces before. @param {any} picture @param {string} sheet @param {number} faces @param {number} face */
  cut(picture, sheet, faces, face) {
    const columns = Math.min(faces, TILE.columns);
    const lines = Math.ceil(faces / columns) * 2;
    const down = (/** @type {number} */ line) => `${(line / (lines - 1)) * 100}%`;
    const line = Math.floor(face / columns) * 2;
    picture.style.backgroundImage = `url("${sheet}")`;
    picture.style.backgroundSize = `${columns * 100}% ${lines * 100}%`;
    picture.style.setProperty("--across", columns > 1 ? `${((face % columns) / (columns - 1)) * 100}%` : "0%");
    picture.style.setProperty("--before", down(line));
    picture.style.setProperty("--after", down(line + 1));
  },
};
