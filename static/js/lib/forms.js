// Small help for forms: no double sends, copy buttons, fields that follow one another.

import { delegate, findAll, icon } from "./dom.js";
import { showToast } from "./toasts.js";

/** A page that stayed because the answer was a download or an error gets its buttons back. */
const UNLOCK_MS = 8000;

function lock(form) {
  const buttons = findAll("button[type=submit], button:not([type])", form).filter((button) => !button.disabled);
  // After this event, since a disabled button's own name would not be sent.
  setTimeout(() => buttons.forEach((button) => {
    button.disabled = true;
    button.dataset.busy = "";
  }));
  setTimeout(() => buttons.forEach((button) => {
    button.disabled = false;
    delete button.dataset.busy;
  }), UNLOCK_MS);
}

async function copy(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.replaceChildren(icon("check"));
    setTimeout(() => button.replaceChildren(icon("copy")), 1500);
  } catch {
    showToast({ text: "The browser did not let this page copy. Select the text and press Ctrl+C.", kind: "warning" });
  }
}

export function startForms() {
  document.addEventListener("submit", (event) => {
    if (event.target.method === "post" && !event.target.matches("[hx-post]")) lock(event.target);
  });
  window.addEventListener("pageshow", () => {
    for (const button of findAll("[data-busy]")) {
      button.disabled = false;
      delete button.dataset.busy;
    }
  });
  delegate("click", "[data-copy]", (_event, button) => copy(button));
  delegate("change", "[data-submit-on-change]", (_event, field) => field.form.requestSubmit());
  // A whole row is a link for the mouse; the name in it is the link for everybody.
  delegate("click", "tr[data-href]", (event, row) => {
    if (event.target.closest("a, button, input, label, summary, details") || window.getSelection()?.toString()) return;
    window.location.assign(row.dataset.href);
  });
}
