"use strict";
// Start the page, and show the view of the address: #/ overview, #/gallery?... gallery, #/photo/3?... its fourth photo.

const App = {
  start() {
    if (Report.summary === null) {
      trouble("data/summary.js cannot be loaded: this report is incomplete. Write it again with interlcm report.");
      return;
    }
    const name = Numbers.basename(Report.summary.output);
    byId("title").textContent = name;
    document.title = `${name}: restoration report`;
    Decisions.open();
    this.themeButton();
    byId("exchange-open").addEventListener("click", () => Exchange.open());
    document.querySelector(".skip")?.addEventListener("click", (event) => {
      event.preventDefault(); // the link's target must not replace the view in the address
      byId("main").focus();
    });
    window.addEventListener("hashchange", () => this.route());
    this.route();
  },

  async route() {
    const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
    const [view, place] = path.split("/");
    const gallery = view === "gallery" || view === "photo";
    const changed = byId("gallery").hidden === gallery;
    byId("overview").hidden = gallery;
    byId("gallery").hidden = !gallery;
    for (const link of document.querySelectorAll("[data-view]")) {
      const current = link.getAttribute("data-view") === (gallery ? "gallery" : "overview");
      if (current) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    if (changed && !Review.parts.title) window.scrollTo(0, 0);
    if (gallery) await Gallery.show(byId("gallery"), new URLSearchParams(query));
    else Overview.show(byId("overview"));
    if (view === "photo" && Gallery.rows.length) await Review.show(Math.trunc(Number(place)) || 0);
    else Review.close();
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
