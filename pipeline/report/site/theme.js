"use strict";
// This runs before the page is drawn, so that a dark page never flashes white.

/** Light, dark, or the system's choice ("auto"); kept in the browser for all reports. */
const Theme = {
  names: ["auto", "light", "dark"],

  get current() {
    const kept = localStorage.getItem("interlcm:theme");
    return kept !== null && this.names.includes(kept) ? kept : "auto";
  },

  apply() {
    if (this.current === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = this.current;
  },

  next() {
    const next = this.names[(this.names.indexOf(this.current) + 1) % this.names.length];
    localStorage.setItem("interlcm:theme", next);
    this.apply();
  },
};

Theme.apply();
