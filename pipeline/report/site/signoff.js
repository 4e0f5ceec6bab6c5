"use strict";
// The sign-off of a sampling plan: one HTML file without links, to keep and to print.

const PRINTED = `
body { font: 11pt/1.45 system-ui, "Noto Sans", "Liberation Sans", sans-serif; color: #111; background: #fff; margin: 2cm auto; max-width: 17cm; padding: 0 1cm; }
h1 { font-size: 17pt; margin: 0 0 0.2cm; } h2 { font-size: 12pt; margin: 0.8cm 0 0.2cm; }
.result { font-size: 14pt; font-weight: 700; border: 2pt solid; padding: 0.3cm 0.4cm; }
.accepted { color: #1b6b3c; } .rejected { color: #a4281f; } .open { color: #8a5000; }
table { border-collapse: collapse; width: 100%; font-size: 9pt; } thead { display: table-header-group; } tr { break-inside: avoid; }
th, td { text-align: left; vertical-align: top; border-bottom: 0.5pt solid #999; padding: 1.5pt 6pt 1.5pt 0; overflow-wrap: anywhere; }
th[scope=row] { font-weight: 400; color: #444; width: 4.2cm; }
.sign { display: flex; gap: 1cm; margin-top: 1.5cm; } .sign p { flex: 1; border-top: 0.5pt solid #111; padding-top: 3pt; }
@page { size: A4; margin: 1.5cm; } @media print { body { margin: 0; max-width: none; padding: 0; } }`;

const SignOff = {
  async save() {
    const html = await this.page(/** @type {Plan} */ (Lot.plan));
    Exchange.download(Exchange.filename("sign-off", "html"), "text/html", html);
  },

  /** @param {Plan} plan @returns {Promise<string>} */
  async page(plan) {
    const state = await Lot.state();
    const { summary } = Report;
    const made = summary.settings ?? {};
    const facts = [
      ["Result", Lot.said(state)],
      ["Reviewer", Reviewer.name || "not named"],
      ["Date", Numbers.moment(timeAfter())],
      ["Run", summary.output],
      ["Digest of the results", `sha256 ${summary.digest}`],
      ["Settings and weights", `settings ${made.settings_digest ?? "–"}, weights ${made.weights_digest ?? "–"}`],
      [
        "Lot",
        `${inWords(Choices.read(new URLSearchParams(plan.query)))}, ${Numbers.counted(plan.lot, "photo", "photos")}`,
      ],
      ["Plan", `ISO 2859-1, single sampling, normal inspection, general level II. ${described(plan)}`],
      [
        "Sample",
        `drawn ${Numbers.moment(plan.drawn_at)} with seed ${plan.seed}: the first ${plan.sample} photos of the lot by SHA-256 of "${plan.seed}/photo_id"`,
      ],
      ["Defect", "a photo that is rejected, or one of whose faces is rejected"],
    ];
    const photos = await Promise.all(state.rows.map(async (row) => this.row(row, await Photos.at(row))));
    const body = [
      `<h1>Sign-off of ${escaped(Numbers.basename(summary.output))}</h1>`,
      `<p class="result ${state.result}">${escaped(Lot.said(state))}</p>`,
      `<table>${facts.map(([name, value]) => `<tr><th scope="row">${name}</th><td>${escaped(value)}</td></tr>`).join("")}</table>`,
      `<div class="sign"><p>Date and place</p><p>Signature</p></div>`,
      "<h2>The sample</h2>",
      "<table><thead><tr><th>Photo</th><th>Photo id</th><th>Decision</th><th>By</th><th>Comment</th></tr></thead>",
      `<tbody>${photos.join("")}</tbody></table>`,
    ];
    return `<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Sign-off</title><style>${PRINTED}</style></head>\n<body>${body.join("\n")}</body></html>\n`;
  },

  /** One photo of the sample, with what was said of it and its faces. @param {number} row @param {Photo} photo */
  row(row, photo) {
    const all = [null, ...photo.faces.map((/** @type {Face} */ one) => one.face_index)];
    const found = all.map((face) => Decisions.current(photo, face)).filter((one) => one !== undefined);
    const name = photo.pages > 1 ? `${photo.member}, page ${photo.page}` : photo.member || photo.source;
    const verdict = Verdicts.rejected(row) ? "defect" : Verdicts.decided(row) ? "good" : "not decided";
    const cells = [
      name,
      photo.photo_id,
      verdict,
      [...new Set(found.map((one) => one.reviewer))].join(", "),
      found
        .map((one) => one.comment)
        .filter(Boolean)
        .join("; "),
    ];
    return `<tr>${cells.map((cell) => `<td>${escaped(cell)}</td>`).join("")}</tr>`;
  },
};

/** A text in HTML: names come from untrusted archives. @param {string} text */
function escaped(text) {
  return text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}
