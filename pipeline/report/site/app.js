"use strict";
// Start the page, and show the view of the address: #/ overview, #/gallery?... gallery, #/photo/3?... its fourth photo,
// #/sampling acceptance sampling.

const App = {
  start() {
    if (Report.summary === null) {
      trouble("data/summary.js cannot be loaded: this report is incomplete. Write it again with interlcm report.");
      return;
    }
    const name = Numbers.basename(Report.summary.output);
    byId("title").textContent = name;
    document.title = `${name}: restoration report`;
    this.themeButton();
    byId("exchange-open").addEventListener("click", () => Verdicts.ready().then(() => Sheet.open()));
    document.querySelector(".skip")?.addEventListener("click", (event) => {
      event.preventDefault(); // the link's target must not replace the view in the address
      byId("main").focus();
    });
    window.addEventListener("hashchange", () => this.route());
    this.route();
  },

  async route() {
    const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
    const [asked, place] = path.split("/");
    const choice = new URLSearchParams(query);
    const views = { gallery: "gallery", photo: "gallery", sampling: "sampling" };
    const view = views[/** @type {keyof views} */ (asked)] ?? "overview";
    const changed = byId(view).hidden;
    for (const name of ["overview", "gallery", "sampling"]) byId(name).hidden = name !== view;
    this.mark(view === "gallery" && choice.get("decision") === "open" ? "queue" : view);
    if (changed && !Review.parts.title) window.scrollTo(0, 0);
    if (view === "gallery") await Gallery.show(byId("gallery"), choice);
    else if (view === "sampling") await Inspection.show(byId("sampling"));
    else Overview.show(byId("overview"));
    if (asked === "photo" && Gallery.rows.length) await Review.show(Math.trunc(Number(place)) || 0);
    else Review.close();
  },

  /** Mark the current view in the navigation. @param {string} view */
  mark(view) {
    for (const link of document.querySelectorAll("[data-view]")) {
      if (link.getAttribute("data-view") === view) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  },

  themeButton() {
    const button = byId("theme");
    const label = () => {
      const words = { auto: "Theme: system", light: "Theme: light", dark: "Theme: dark" };
      button.textContent = words[/** @type {"auto"|"light"|"dark"} */ (Theme.current)];
    };
    button.addEventListener("click", () => {
      Theme.next();
      label();
    });
    label();
  },
};

App.start();
