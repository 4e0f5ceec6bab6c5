"use strict";
// Keys and decisions while one photo is on show: one key decides and goes on to the next.

const Judge = {
  /** @param {KeyboardEvent} event */
  key(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    if (!byId("review").open || document.querySelector("dialog[open]:not(#review)") || event.altKey) return;
    if (target.matches("textarea")) return this.inText(event);
    const { compare } = Review;
    const { zoom } = compare;
    const arrows = /** @type {Record<string, () => void>} */ (
      zoom.scale === null
        ? { ArrowLeft: () => this.step(-1), ArrowRight: () => this.step(1) }
        : {
            ArrowLeft: () => zoom.move(-1, 0),
            ArrowRight: () => zoom.move(1, 0),
            ArrowUp: () => zoom.move(0, -1),
            ArrowDown: () => zoom.move(0, 1),
          }
    );
    const letters = /** @type {Record<string, () => void>} */ ({
      j: () => this.stepFace(1),
      k: () => this.stepFace(-1),
      a: () => this.decide("accept"),
      r: () => this.decide("reject"),
      u: () => this.decide(""),
      z: () => this.undo(),
      c: () => Review.parts.decision.querySelector("textarea").focus(),
      b: () => compare.flip(),
      v: () => compare.nextView(),
      f: () => zoom.toggle(),
      "+": () => zoom.by(STEP),
      "-": () => zoom.by(1 / STEP),
      0: () => zoom.to(null),
    });
    const key = event.key.toLowerCase();
    const control = event.ctrlKey || event.metaKey;
    const moves = event.key in arrows && !target.matches("input[type=range]");
    const letter = control ? (key === "z" ? letters.z : undefined) : Shortcuts.on ? letters[key] : undefined;
    const action = moves && !control ? arrows[event.key] : letter;
    if (!action) return;
    event.preventDefault();
    action();
  },

  /** Esc leaves the comment, so that the next key decides. @param {KeyboardEvent} event */
  inText(event) {
    if (event.key !== "Escape") return;
    event.preventDefault();
    Review.parts.title.focus();
  },

  /** Decide on the photo or face on show. @param {Decision["decision"]} decision */
  decide(decision) {
    return this.inTurn(async () => {
      await Reviewer.known();
      const { row, photo, face, place } = Review;
      const key = Gallery.key(place);
      const what = face === null ? "Photo" : `Face ${face}`;
      Decisions.decide([targetOf(row, photo, face)], decision);
      announce(`${what} ${SAID[decision]}`);
      Review.drawDecision();
      if (decision !== "" && !(await Inspection.ended())) await this.goOn(key);
    });
  },

  /** The next undecided face of the photo, or else the next photo. @param {string} key  of what was decided */
  async goOn(key) {
    const { photo, face, place } = Review;
    const gone = place >= Gallery.rows.length || Gallery.key(place) !== key;
    if (Gallery.faces === null && face !== null) {
      const open = photo.faces.findIndex(
        (/** @type {Face} */ one) => one.face_index > face && !Decisions.current(photo, one.face_index)?.decision,
      );
      if (open >= 0) return Review.select(open);
    }
    if (!Gallery.rows.length) {
      announce("Nothing is left to decide.");
      return Review.leave();
    }
    const next = gone ? place % Gallery.rows.length : place + 1;
    if (next < Gallery.rows.length) await this.go(next);
    else announce("This was the last one.");
  },

  undo() {
    return this.inTurn(async () => {
      const [target, ...others] = Decisions.undo();
      if (!target) return announce("There is nothing to undo.");
      const place = Gallery.placeOf(target);
      if (place >= 0 && target.row !== Review.row) await this.go(place);
      else if (place >= 0) Review.place = place;
      if (target.row === Review.row) Review.select(target.face);
      announce(others.length ? `${Numbers.whole(others.length + 1)} decisions undone` : "Undone");
    });
  },

  /** One after the other, however fast the keys come. @param {() => Promise<any>} action */
  inTurn(action) {
    Gallery.deciding = Gallery.deciding.then(action);
    return Gallery.deciding;
  },

  /** @param {number} by */
  step(by) {
    const place = Review.place + by;
    if (place < 0 || place >= Gallery.rows.length) return announce("There is no further photo in this direction.");
    return this.inTurn(() => this.go(place));
  },

  /** @param {number} place in the gallery */
  async go(place) {
    history.replaceState(null, "", Gallery.href(place));
    await Review.show(place);
  },

  /** Photo, first face, second face, ... @param {number} by */
  stepFace(by) {
    const next = (Review.face ?? -1) + by;
    if (next >= -1 && next < Review.photo.faces.length) Review.select(next < 0 ? null : next);
  },
};
