// The rail at the left: narrow or wide on large screens, off-canvas on small ones.

import { delegate, find } from "./dom.js";

const root = document.documentElement;

function showNarrow() {
  const button = find("[data-rail-toggle]");
  button?.setAttribute("aria-expanded", String(root.dataset.rail !== "narrow"));
}

export function startRail() {
  showNarrow();
  delegate("click", "[data-rail-toggle]", () => {
    if (root.dataset.rail === "narrow") delete root.dataset.rail;
    else root.dataset.rail = "narrow";
    localStorage.setItem("coi.rail", root.dataset.rail ?? "wide");
    showNarrow();
  });
}
