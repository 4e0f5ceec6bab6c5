"use strict";
// Numbers, times and names as text.

const Numbers = {
  /** @param {number} value */
  whole(value) {
    return Math.round(value).toLocaleString("en");
  },

  /** A measure with its significant digits. @param {number|null} value @param {string} [unit] */
  measure(value, unit = "") {
    if (value === null || value === undefined || Number.isNaN(value)) return "–";
    if (unit === "byte") return this.bytes(value);
    if (unit === "s") return this.duration(value);
    const size = Math.abs(value);
    const digits = Number.isInteger(value) || size >= 1000 ? 0 : size >= 100 ? 1 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
    const text = value.toLocaleString("en", { minimumFractionDigits: 0, maximumFractionDigits: digits });
    return unit && unit !== "CIEDE2000" ? `${text} ${unit}` : text;
  },

  /** @param {number} value */
  bytes(value) {
    const names = ["B", "kB", "MB", "GB", "TB"];
    let place = 0;
    while (value >= 1000 && place < names.length - 1) [value, place] = [value / 1000, place + 1];
    return `${value.toLocaleString("en", { maximumFractionDigits: value < 10 && place ? 1 : 0 })} ${names[place]}`;
  },

  /** @param {number} seconds */
  duration(seconds) {
    if (seconds < 60) return `${seconds.toLocaleString("en", { maximumFractionDigits: seconds < 10 ? 2 : 0 })} s`;
    const minutes = Math.round(seconds / 60);
    if (minutes < 60) return `${minutes} min`;
    const hours = Math.floor(minutes / 60);
    return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
  },

  /** "1 face", "2 faces", "1.5 faces". @param {number} count @param {string} one @param {string} many */
  counted(count, one, many) {
    return `${this.measure(count)} ${count === 1 ? one : many}`;
  },

  /** "2026-11-24 00:32" in UTC. @param {string|null} iso */
  moment(iso) {
    return iso ? `${iso.slice(0, 10)} ${iso.slice(11, 16)} UTC` : "–";
  },

  /** The last part of a path. @param {string} path */
  basename(path) {
    return path.replace(/\/+$/, "").split("/").pop() || path;
  },

  /** A column's or status's name in words: no_face is "no face". @param {string} name */
  words(name) {
    return name.replaceAll("_", " ");
  },
};
