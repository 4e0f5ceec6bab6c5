"use strict";
// This runs before the page is drawn, so that a dark page never flashes white.

/** What this browser keeps for the page. It may refuse to keep anything, and others may have changed it. */
const Kept = {
  /** @param {string} key @returns {string|null} null: there is none, or the browser does not say */
  get(key) {
    try {
      return localStorage.getItem(key);
    } catch {
      return null;
    }
  },

  /** @param {string} key @param {string|null} value null removes it @returns {boolean} whether it is kept */
  set(key, value) {
    try {
      if (value === null) localStorage.removeItem(key);
      else localStorage.setItem(key, value);
      return true;
    } catch {
      return false;
    }
  },

  /** @returns {string[]} */
  keys() {
    try {
      return Object.keys(localStorage);
    } catch {
      return [];
    }
  },
};

/** Light, dark, or the system's choice ("auto"); kept in the browser for all reports. */
const Theme = {
  names: ["auto", "light", "dark"],

  get current() {
    const kept = Kept.get("interlcm:theme");
    return kept !== null && this.names.includes(kept) ? kept : "auto";
  },

  apply() {
    if (this.current === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = this.current;
  },

  next() {
    const next = this.names[(this.names.indexOf(this.current) + 1) % this.names.length];
    Kept.set("interlcm:theme", next);
    this.apply();
  },
};

Theme.apply();
