"use strict";
// SHA-256 (FIPS 180-4, section 6.2) of a text in UTF-8. A browser's own is missing on pages without https.

/** The first 32 bits of the fractional parts of a root of the first primes. @param {number} count @param {number} power */
function fractions(count, power) {
  const found = new Uint32Array(count);
  for (let number = 2, place = 0; place < count; number++) {
    let prime = true;
    for (let divisor = 2; divisor * divisor <= number; divisor++) if (number % divisor === 0) prime = false;
    if (prime) found[place++] = (number ** power % 1) * 2 ** 32;
  }
  return found;
}

const ROUNDS = fractions(64, 1 / 3);
const START = fractions(8, 1 / 2);

/** @param {string} text @returns {string} 64 hexadecimal digits */
function sha256(text) {
  const data = new TextEncoder().encode(text);
  const padded = new Uint8Array((((data.length + 8) >> 6) << 6) + 64);
  padded.set(data);
  padded[data.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(padded.length - 8, Math.floor(data.length / 2 ** 29));
  view.setUint32(padded.length - 4, data.length << 3);
  const hash = START.slice();
  const words = new Uint32Array(64);
  for (let start = 0; start < padded.length; start += 64) block(hash, words, view, start);
  return Array.from(hash, (word) => word.toString(16).padStart(8, "0")).join("");
}

/** @param {Uint32Array} hash @param {Uint32Array} words @param {DataView} view @param {number} start */
function block(hash, words, view, start) {
  const turned = (/** @type {number} */ word, /** @type {number} */ by) => (word >>> by) | (word << (32 - by));
  for (let place = 0; place < 16; place++) words[place] = view.getUint32(start + place * 4);
  for (let place = 16; place < 64; place++) {
    const [late, early] = [words[place - 2], words[place - 15]];
    const low = turned(early, 7) ^ turned(early, 18) ^ (early >>> 3);
    const high = turned(late, 17) ^ turned(late, 19) ^ (late >>> 10);
    words[place] = words[place - 16] + low + words[place - 7] + high;
  }
  let [a, b, c, d, e, f, g, h] = hash;
  for (let place = 0; place < 64; place++) {
    const chosen = (e & f) ^ (~e & g);
    const one = h + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + chosen + ROUNDS[place] + words[place];
    const two = (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    [a, b, c, d, e, f, g, h] = [(one + two) | 0, a, b, c, (d + one) | 0, e, f, g];
  }
  [a, b, c, d, e, f, g, h].forEach((word, place) => (hash[place] += word));
}
