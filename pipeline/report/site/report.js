"use strict";
// Shared by all other scripts: data files, elements, announcements.

/**
 * @typedef {{name: string, level: "face"|"photo", label: string, unit: string, description: string}} Metric
 * @typedef {{name: string, logarithmic: boolean, edges: number[], limit: number|null,
 *            series: {name: string, counts: number[]}[]}} Plot
 * @typedef {Record<string, any>} Face    by the names of summary.face_fields
 * @typedef {Record<string, any>} Photo   by the names of summary.photo_fields
 */

const Report = {
  /** @type {any} the contents of data/summary.js */
  summary: null,
  /** @type {any} what the data file that was just run has passed */
  received: null,

  /** Every data file is one call of this function. @param {string} name @param {any} value */
  receive(name, value) {
    if (name === "summary") this.summary = value;
    else this.received = value;
  },

  /** The value of a data file of this report. @param {string} name @returns {Promise<any>} */
  load(name) {
    return this.fetch(`data/${encodeURIComponent(name)}.js?v=${this.summary.version}`);
  },

  /**
   * Load a data file, as a script, because a page opened from a disk may not fetch files. A script's load event comes
   * before any other script runs, so the value is its own.
   * @param {string} address @returns {Promise<any>}
   */
  fetch(address) {
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = address;
      script.onload = () => {
        script.remove();
        resolve(this.received);
      };
      script.onerror = () => {
        script.remove();
        const remedy = "write it again with interlcm report";
        const message = `${address.split("?")[0]} cannot be loaded: this report is incomplete; ${remedy}`;
        trouble(message);
        reject(new Error(message));
      };
      document.head.append(script);
    });
  },
};

/**
 * A new element. Strings become text, never markup: they may come from an untrusted archive.
 * @param {string} tag
 * @param {Record<string, any>} [attributes]  on<event> is a listener, false and null leave an attribute out
 * @param {...(Node|string|null)} children
 * @returns {any}
 */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  set(made, attributes);
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** The same for SVG. @param {string} tag @param {Record<string, any>} attributes @param {...(Node|string)} children */
function drawn(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  set(made, attributes);
  made.append(...children);
  return made;
}

/** @param {Element} target @param {Record<string, any>} attributes */
function set(target, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) target.addEventListener(name.slice(2), value);
    else if (value === true) target.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) target.setAttribute(name, String(value));
  }
}

/** @param {string} id @returns {any} */
function byId(id) {
  return document.getElementById(id);
}

/** Tell a screen reader. @param {string} text */
function announce(text) {
  byId("announce").textContent = text;
}

/** Show an error, above everything else. @param {string} text */
function trouble(text) {
  byId("trouble").textContent = text;
  byId("trouble").hidden = false;
}
