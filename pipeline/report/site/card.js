"use strict";
// The content of a card in the gallery.

const Card = {
  /** @param {HTMLElement} link @param {Photo} photo */
  fill(link, photo) {
    const picture = element("span", { class: "thumbnail" });
    if (photo.pictures)
      picture.append(
        element("img", { src: `${photo.pictures}/thumbnail.jpg`, alt: "", loading: "lazy", decoding: "async" }),
      );
    else picture.append(element("span", { class: "nothing" }, photo.error_type ?? "no picture"));
    const flagged = photo.faces.some((/** @type {Face} */ face) => face.needs_review);
    const state = stateOf(photo);
    const badge = (/** @type {string} */ kind, /** @type {string} */ text) =>
      element("span", { class: `badge ${kind}`, "aria-hidden": "true" }, text);
    if (flagged) picture.append(badge("flag", "Review"));
    if (state) picture.append(badge(state, { accept: "✓", reject: "✗", some: "…" }[state] ?? ""));
    link.replaceChildren(
      picture,
      element("span", { class: "name", title: photo.member }, Numbers.basename(photo.member || photo.source)),
      element("span", { class: "detail" }, this.detail(photo)),
      element("span", { class: "unseen" }, this.said(photo, flagged, state)),
    );
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
   * @param {Photo} photo @param {boolean} flagged @param {string} state
   */
  said(photo, flagged, state) {
    const parts = [
      photo.status === "restored" ? "" : Numbers.words(photo.status),
      flagged ? "needs review" : "",
      { accept: "accepted", reject: "rejected", some: "some faces decided" }[state] ?? "",
    ];
    return parts.filter(Boolean).join(", ");
  },
};

/** The decision on a photo: its own, else "some" if a face has one, else "". @param {Photo} photo */
function stateOf(photo) {
  const own = Decisions.of(photo.photo_id, null)?.decision;
  if (own) return own;
  return photo.faces.some((/** @type {Face} */ face) => Decisions.of(photo.photo_id, face.face_index)?.decision)
    ? "some"
    : "";
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
