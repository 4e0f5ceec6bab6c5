"use strict";
// The form of the decision on a photo or on one of its faces.

const PAUSE = 400; // ms

const Form = {
  /** @param {Photo} photo @param {Target} target @param {Compare} compare @returns {Node[]} */
  draw(photo, target, compare) {
    const { face } = target;
    const kept = Decisions.current(photo, face);
    const button = (/** @type {"accept"|"reject"} */ name, /** @type {string} */ label) => {
      const pressed = kept?.decision === name;
      const attributes = {
        type: "button",
        class: `decide ${name}`,
        "data-decision": name,
        "aria-pressed": pressed ? "true" : "false",
      };
      return element("button", { ...attributes, onclick: () => Judge.decide(pressed ? "" : name) }, label);
    };
    const undo = element("button", { type: "button", class: "quiet", onclick: () => Judge.undo() }, "Undo");
    undo.disabled = Decisions.steps.length === 0;
    return [
      element("div", { class: "form-head" }, element("h3", {}, face === null ? "The photo" : `Face ${face}`), undo),
      ...this.others(photo, face),
      element("div", { class: "row" }, button("accept", "✓ Accept"), button("reject", "✗ Reject")),
      ...(photo.pictures && photo.faces.length
        ? [this.strength(target, kept?.strength ?? null, madeWith(photo, face), compare)]
        : []),
      element("label", { class: "field" }, "Comment", this.comment(target, kept?.comment ?? "")),
    ];
  },

  /** It is kept when typing pauses, and when the field is left. @param {Target} target @param {string} kept */
  comment(target, kept) {
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    let timer;
    const save = () => {
      clearTimeout(timer);
      Reviewer.known().then(() => Decisions.note(target, { comment: field.value }));
    };
    const later = () => {
      clearTimeout(timer);
      if (Reviewer.given !== null) timer = setTimeout(save, PAUSE); // else the question would interrupt
    };
    const field = element("textarea", { rows: 2, name: "comment", oninput: later, onchange: save }, kept);
    return field;
  },

  /**
   * How much of the restored faces is blended over the faces as they were.
   * @param {Target} target @param {number|null} kept @param {number} made  what the result has @param {Compare} compare
   */
  strength(target, kept, made, compare) {
    const shown = element("output", {});
    const most = Math.round(made * 100);
    const say = (/** @type {number} */ percent) =>
      (shown.textContent = percent > most ? `${percent} %, shown at ${most} % as it was made` : `${percent} %`);
    const range = element("input", {
      type: "range",
      name: "strength",
      min: 0,
      max: 100,
      step: 5,
      value: Math.round((kept ?? made) * 100),
      oninput: () => {
        say(Number(range.value));
        compare.blend(range.value / 100, made);
      },
      onchange: () => Reviewer.known().then(() => Decisions.note(target, { strength: range.value / 100 })),
    });
    say(Number(range.value));
    return element("label", { class: "field" }, element("span", {}, "Strength ", shown), range);
  },

  /** What other reviewers said, if they differ, or what was said of an earlier result. @param {Photo} photo @param {number|null} face */
  others(photo, face) {
    const line = (/** @type {Decision} */ one) =>
      `${one.reviewer || "Somebody"} ${SAID[one.decision]} it on ${Numbers.moment(one.decided_at)}.`;
    const voices = Decisions.conflict(photo.photo_id, face);
    if (voices.length) return [element("p", { class: "reason" }, ["Reviewers differ.", ...voices.map(line)].join(" "))];
    const newest = Decisions.of(photo.photo_id, face);
    if (!newest) return [];
    if (!isOn(newest, photo.versions)) {
      return [element("p", { class: "reason" }, `${line(newest)} That was an earlier result.`)];
    }
    const own = newest.reviewer === Reviewer.name || newest.decision === "";
    return own ? [] : [element("p", { class: "note" }, line(newest))];
  },
};

/** The strength of a face in the result, or the greatest of a photo. @param {Photo} photo @param {number|null} face @returns {number} */
function madeWith({ faces }, face) {
  const shown = face === null ? faces : [faces[face]];
  return Math.max(0, ...shown.map((/** @type {Face} */ one) => one.strength ?? 1));
}
