"use strict";
// The column beside a photo under review: measures, reasons, facts, keys.

const Describe = {
  /** The text in place of a comparison. @param {Photo} photo @returns {Node[]} */
  instead(photo) {
    const words =
      photo.picture_error ??
      photo.error ??
      (photo.status === "no_face"
        ? "No face of this photo was restored."
        : "This report has no pictures of this photo.");
    const picture = photo.pictures
      ? [element("img", { src: `${photo.pictures}/thumbnail.jpg`, alt: "The photo, small" })]
      : [];
    return [...picture, element("span", {}, photo.error_type ? `${photo.error_type}: ${words}` : words)];
  },

  /** The measures of a face. @param {Face} one */
  measures(one) {
    const metrics = Report.summary.metrics.filter((/** @type {Metric} */ { level }) => level === "face");
    const rows = metrics.flatMap((/** @type {Metric} */ { name, label, unit, description }) => [
      element("dt", { title: description }, label),
      element("dd", {}, Numbers.measure(one[name], unit)),
    ]);
    const reason = one.needs_review ? element("p", { class: "reason" }, one.review_reason ?? "needs review") : "";
    return element("section", {}, element("h3", {}, "Measures"), reason, element("dl", { class: "facts" }, ...rows));
  },

  /** The faces that need review, and why. @param {Photo} photo @param {(face: number) => void} select */
  reasons(photo, select) {
    const flagged = photo.faces.filter((/** @type {Face} */ one) => one.needs_review);
    if (!flagged.length) return element("section", {});
    return element(
      "section",
      {},
      element("h3", {}, "To review"),
      element(
        "ul",
        { class: "reasons" },
        ...flagged.map((/** @type {Face} */ { face_index, review_reason }) =>
          element(
            "li",
            {},
            element(
              "button",
              { type: "button", class: "link", onclick: () => select(face_index) },
              `Face ${face_index}`,
            ),
            ` ${review_reason ?? ""}`,
          ),
        ),
      ),
    );
  },

  /** What was lost or is uncertain in the photo. @param {Photo} photo */
  warnings(photo) {
    if (!photo.warnings?.length) return element("section", {});
    const lines = photo.warnings.map((/** @type {{words: string}} */ { words }) => element("li", {}, words));
    return element("section", {}, element("h3", {}, "Warnings"), element("ul", { class: "reasons" }, ...lines));
  },

  /** Facts about the file. @param {Photo} photo */
  facts(photo) {
    const rows = [
      ["Status", Numbers.words(photo.status)],
      [
        "Size",
        photo.width
          ? `${photo.width} × ${photo.height} px, ${photo.bit_depth} bit${photo.monochrome ? ", one tone" : ""}`
          : "–",
      ],
      ["File", [photo.format, photo.bytes === null ? "" : Numbers.bytes(photo.bytes)].filter(Boolean).join(", ")],
      ["Detector", photo.detector ?? "–"],
      ["Done", Numbers.moment(photo.finished_at)],
      ["Photo id", element("code", {}, photo.photo_id)],
    ];
    if (photo.restored) rows.push(["Restored", this.link(photo.restored)]);
    return element(
      "section",
      {},
      element("h3", {}, "The file"),
      element(
        "dl",
        { class: "facts" },
        ...rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
      ),
    );
  },

  /** A link to a restored file; only its address if it is outside the run's folder. @param {string} address */
  link(address) {
    return address.startsWith("../")
      ? element("a", { href: address, target: "_blank", rel: "noopener" }, "open the file")
      : element("span", { class: "path" }, address);
  },

  help() {
    const keys = [
      ["← →", "previous, next photo; arrows move an enlarged one"],
      ["K J", "previous, next face"],
      ["A R", "accept, reject, and go on"],
      ["U", "withdraw the decision"],
      ["Z", "undo the last step"],
      ["C", "comment"],
      ["B", "switch before and after"],
      ["V", "next view"],
      ["F + − 0", "full size, larger, smaller, fitted"],
      ["Esc", "back"],
    ];
    const box = element("input", { type: "checkbox", onchange: () => (Shortcuts.on = box.checked) });
    box.checked = Shortcuts.on;
    return element(
      "details",
      { class: "help" },
      element("summary", {}, "Keys"),
      element(
        "dl",
        { class: "facts" },
        ...keys.flatMap(([key, words]) => [element("dt", {}, element("kbd", {}, key)), element("dd", {}, words)]),
      ),
      element("label", { class: "check" }, box, "Use single letters as shortcuts"),
    );
  },
};
