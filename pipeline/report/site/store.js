"use strict";
// Where this browser keeps decisions: IndexedDB, which has room for many more than localStorage.

const Store = {
  /** @type {IDBDatabase|null} null: this browser keeps nothing */
  base: null,

  /** Open it, if the browser lets us. */
  async open() {
    try {
      const asking = indexedDB.open("interlcm", 1);
      asking.onupgradeneeded = () => asking.result.createObjectStore("decisions");
      this.base = await answer(asking);
    } catch {
      this.base = null;
    }
  },

  /** All kept decisions of this run. @returns {Promise<any[]>} */
  async all() {
    const kept = this.base && (await answer(this.rows("readonly").getAll(this.range())));
    return [...(kept ?? []), ...this.earlier()];
  },

  /**
   * Keep these; a later one replaces that of the same reviewer. Returns whether they are kept.
   * @param {Decision[]} decisions @returns {Promise<boolean>}
   */
  async put(decisions) {
    if (this.base === null) return false;
    try {
      const rows = this.rows("readwrite");
      for (const one of decisions)
        rows.put(one, [Report.summary.run, one.photo_id, one.face_index ?? -1, one.reviewer]);
      rows.transaction.commit(); // at once: it is kept even if the page is closed now
      await finished(rows.transaction);
      return true;
    } catch {
      return false;
    }
  },

  /** Forget this run's decisions. */
  async clear() {
    for (const key of Kept.keys()) if (key.startsWith(this.prefix)) Kept.set(key, null);
    if (this.base === null) return;
    const rows = this.rows("readwrite");
    rows.delete(this.range());
    await finished(rows.transaction);
  },

  /** @param {IDBTransactionMode} mode */
  rows(mode) {
    return /** @type {IDBDatabase} */ (this.base).transaction("decisions", mode).objectStore("decisions");
  },

  range() {
    return IDBKeyRange.bound([Report.summary.run], [Report.summary.run, []]); // an array comes after all texts
  },

  get prefix() {
    return `interlcm:${Report.summary.run}:`;
  },

  /** The decisions that an earlier version of this page kept, in localStorage. @returns {any[]} */
  earlier() {
    const keys = Kept.keys().filter((key) => key.startsWith(this.prefix));
    return keys.map((key) => {
      try {
        const [photo_id, face_index, ...rest] = key.slice(this.prefix.length).split("/");
        const [decision, decided_at, comment] = JSON.parse(Kept.get(key) ?? "");
        return rest.length ? null : { photo_id, face_index, decision, decided_at, comment };
      } catch {
        return null; // damaged
      }
    });
  },
};

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function answer(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** @param {IDBTransaction} transaction @returns {Promise<void>} */
function finished(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
  });
}
