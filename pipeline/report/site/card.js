"use strict";
// The content of a card in the gallery: a photo.

const Card = {
  /** @param {HTMLElement} link @param {Photo} photo @param {boolean} marked  whether it is selected */
  fill(link, photo, marked) {
    const flagged = photo.faces.some((/** @type {Face} */ face) => face.needs_review);
    const state = stateOf(photo);
    const said = this.said(photo, flagged, state, marked);
    const detail = this.detail(photo);
    if (link.dataset.shows === said + detail) return; // a picture that is made again flickers
    link.dataset.shows = said + detail;
    const picture = element("span", { class: "thumbnail" });
    if (photo.pictures)
      picture.append(
        element("img", { src: `${photo.pictures}/thumbnail.jpg`, alt: "", loading: "lazy", decoding: "async" }),
      );
    else picture.append(element("span", { class: "nothing" }, photo.error_type ?? "no picture"));
    if (flagged) picture.append(badge("flag", "Review"));
    if (state) picture.append(badge(state, { accept: "✓", reject: "✗", some: "…" }[state] ?? ""));
    const path = photo.member || photo.source;
    link.replaceChildren(
      picture,
      element("span", { class: "name", title: path }, Numbers.basename(path)),
      element("span", { class: "detail" }, this.where(photo)),
      element("span", { class: "detail" }, detail),
      element("span", { class: "unseen" }, said),
    );
  },

  /** The folder, and the page of a file with several: what tells photos of one name apart. @param {Photo} photo */
  where(photo) {
    const folders = photo.member.split("/").slice(-3, -1).join("/");
    const page = photo.pages > 1 ? `page ${photo.page} of ${photo.pages}` : "";
    return [page, folders || Numbers.basename(photo.source)].filter(Boolean).join(", ");
  },

  /** The measure of the sort order, or the photo's status. @param {Photo} photo */
  detail(photo) {
    const metric = Report.summary.metrics.find((/** @type {Metric} */ one) => one.name === Filters.choice.sort);
    if (!metric || metric.name === "face_count") return this.what(photo);
    const values =
      metric.level === "photo"
        ? [photo[metric.name]]
        : photo.faces.map((/** @type {Face} */ face) => face[metric.name]);
    const known = values.filter((/** @type {number|null} */ value) => value !== null);
    if (!known.length) return this.what(photo);
    const shown = Filters.choice.descending ? Math.max(...known) : Math.min(...known);
    return `${metric.label} ${Numbers.measure(shown, metric.unit)}`;
  },

  /** @param {Photo} photo */
  what(photo) {
    return photo.status === "restored"
      ? Numbers.counted(photo.faces.length, "face", "faces")
      : Numbers.words(photo.status);
  },

  /**
   * The badges in words, for screen readers.
   * @param {Photo} photo @param {boolean} flagged @param {string} state @param {boolean} marked
   */
  said(photo, flagged, state, marked) {
    const parts = [
      photo.status === "restored" ? "" : Numbers.words(photo.status),
      flagged ? "needs review" : "",
      { accept: "accepted", reject: "rejected", some: "some faces decided" }[state] ?? "",
      marked ? "selected" : "",
    ];
    return parts.filter(Boolean).join(", ");
  },
};

/** @param {string} kind @param {string} text */
function badge(kind, text) {
  return element("span", { class: `badge ${kind}`, "aria-hidden": "true" }, text);
}

/** The decision on a photo: its own, else "some" if a face has one, else "". @param {Photo} photo */
function stateOf(photo) {
  const own = Decisions.current(photo, null)?.decision;
  if (own) return own;
  const some = photo.faces.some((/** @type {Face} */ face) => Decisions.current(photo, face.face_index)?.decision);
  return some ? "some" : "";
}

/** Single keys, which some people need to switch off (WCAG 2.1.4). */
const Shortcuts = {
  /** @type {Record<string, Decision["decision"]>} */
  decisions: { a: "accept", r: "reject", u: "" },

  get on() {
    return Kept.get("interlcm:shortcuts") !== "off";
  },

  set on(value) {
    Kept.set("interlcm:shortcuts", value ? "on" : "off");
  },
};
