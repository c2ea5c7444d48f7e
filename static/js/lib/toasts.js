// Short messages at the corner. Errors stay until they are read, the rest leaves by itself.

import { delegate, element, find, findAll, icon } from "./dom.js";
import { describeFailure } from "./http.js";

const ICONS = { success: "circle-check", error: "alert-circle", warning: "alert-triangle", info: "info-circle" };
const STAYS_MS = 6000;
const MOST = 4;

function leaveLater(toast) {
  if (toast.dataset.kind === "error") return;
  let timer = setTimeout(() => toast.remove(), STAYS_MS);
  toast.addEventListener("mouseenter", () => clearTimeout(timer));
  toast.addEventListener("mouseleave", () => {
    timer = setTimeout(() => toast.remove(), STAYS_MS);
  });
}

/** @param {{text: string, kind?: string, url?: string, label?: string}} message */
export function showToast({ text, kind = "info", url, label }) {
  const region = find("#toasts");
  if (!region) return;
  const toast = element("div", { class: "toast-own", "data-kind": kind },
    icon(ICONS[kind] ?? ICONS.info),
    element("p", {}, text, url ? " " : "", url ? element("a", { href: url }, label ?? "Open") : ""),
    element("button", { type: "button", class: "icon-button", "data-close-toast": true, "aria-label": "Dismiss" }, icon("x")));
  region.append(toast);
  findAll(".toast-own", region).slice(0, -MOST).forEach((old) => old.remove());
  leaveLater(toast);
}

/** The words in an error fragment of the panel, "" where there are none. */
function messageIn(html) {
  const page = new DOMParser().parseFromString(html, "text/html");
  return page.querySelector("[data-error-message]")?.textContent.trim() ?? "";
}

export function startToasts() {
  findAll("#toasts .toast-own").forEach(leaveLater);
  delegate("click", "[data-close-toast]", (_event, button) => button.closest(".toast-own")?.remove());
  // Sent by the server as HX-Trigger: {"toast": {...}}.
  document.addEventListener("toast", (event) => showToast(event.detail));
  document.addEventListener("htmx:responseError", (event) => {
    // A background refresh that fails shows the old state; the live banner speaks for it.
    if (event.detail.requestConfig?.triggeringEvent?.type === "live") return;
    const { xhr } = event.detail;
    showToast({ text: messageIn(xhr.responseText) || describeFailure(xhr.status, null).message, kind: "error" });
  });
  document.addEventListener("htmx:sendError", (event) => {
    if (event.detail.requestConfig?.triggeringEvent?.type === "live") return;
    showToast({ text: describeFailure(0, null).message, kind: "error" });
  });
}
