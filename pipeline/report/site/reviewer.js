"use strict";
// Who decides: asked once, before the first decision, and kept in this browser for all reports.

const Reviewer = {
  /** @type {string|null} null: not known yet */
  given: Kept.get("interlcm:reviewer"),

  get name() {
    return this.given ?? "";
  },

  set name(name) {
    this.given = name.trim();
    Kept.set("interlcm:reviewer", this.given);
  },

  /** Ask for the name unless it is known; an empty one is accepted. @returns {Promise<void>} */
  known() {
    if (this.given !== null) return Promise.resolve();
    const dialog = byId("who");
    const input = this.input();
    const form = element(
      "form",
      { method: "dialog" },
      element("h2", { id: "who-title" }, "Who decides?"),
      element("p", { class: "note" }, "Your name goes with each decision into the export. This browser keeps it."),
      element("label", { class: "field" }, "Name", input),
      element("div", { class: "row end" }, element("button", { class: "primary" }, "Continue")),
    );
    dialog.replaceChildren(form);
    dialog.showModal();
    input.focus();
    return new Promise((resolve) => {
      const done = () => {
        this.name = input.value;
        resolve();
      };
      dialog.addEventListener("close", done, { once: true });
    });
  },

  input() {
    return element("input", { type: "text", name: "reviewer", value: this.name, autocomplete: "name", maxlength: 200 });
  },
};
