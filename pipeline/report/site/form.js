"use strict";
// The form of the decision on a photo or on one of its faces.

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
    const oninput = (/** @type {any} */ event) => Decisions.note(target, { comment: event.target.value });
    const comment = element("textarea", { rows: 2, name: "comment", oninput }, kept?.comment ?? "");
    return [
      element("h3", {}, face === null ? "The photo" : `Face ${face + 1}`),
      ...this.others(photo, face),
      element("div", { class: "row" }, button("accept", "✓ Accept"), button("reject", "✗ Reject")),
      ...(face === null || !photo.pictures ? [] : [this.strength(target, kept?.strength ?? null, compare)]),
      element("label", { class: "field" }, "Comment", comment),
    ];
  },

  /** How much of the restored face is blended over the face as it was. @param {Target} target @param {number|null} kept @param {Compare} compare */
  strength(target, kept, compare) {
    const shown = element("output", {});
    const say = (/** @type {number} */ percent) => (shown.textContent = `${percent} %`);
    const range = element("input", {
      type: "range",
      name: "strength",
      min: 0,
      max: 100,
      step: 5,
      value: Math.round((kept ?? 1) * 100),
      oninput: () => {
        say(range.value);
        compare.blend(range.value / 100);
      },
      onchange: () => Reviewer.known().then(() => Decisions.note(target, { strength: range.value / 100 })),
    });
    say(range.value);
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
    if (!isOn(newest, photo.restored_sha256)) {
      return [element("p", { class: "reason" }, `${line(newest)} That was an earlier result.`)];
    }
    const own = newest.reviewer === Reviewer.name || newest.decision === "";
    return own ? [] : [element("p", { class: "note" }, line(newest))];
  },
};
