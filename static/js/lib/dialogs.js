// Dialogs, the drawer at the right, menus. All native: <dialog> and <details class="menu">.

import { delegate, find, findAll } from "./dom.js";

/** Open a dialog of the page by its id. */
export function openDialog(id) {
  const dialog = document.getElementById(id);
  if (dialog instanceof HTMLDialogElement && !dialog.open) dialog.showModal();
  return dialog;
}

function closeMenus(except) {
  for (const menu of findAll("details.menu[open]")) {
    if (menu !== except) menu.open = false;
  }
}

/** A typed name unlocks the button: the server checks it again. */
function checkTypedName(field) {
  const button = field.form?.querySelector("[data-needs-word]");
  if (button) button.disabled = field.value.trim() !== field.dataset.confirmWord;
}

export function startDialogs() {
  delegate("click", "[data-dialog]", (event, opener) => {
    event.preventDefault();
    closeMenus(null);
    openDialog(opener.dataset.dialog);
  });
  delegate("click", "[data-close-dialog]", (event, button) => {
    event.preventDefault();
    button.closest("dialog")?.close();
  });
  // A click on the backdrop lands on the dialog element itself.
  document.addEventListener("click", (event) => {
    if (event.target instanceof HTMLDialogElement && event.target.matches("[data-light-dismiss]")) event.target.close();
    closeMenus(event.target instanceof Element ? event.target.closest("details.menu") : null);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const menu = find("details.menu[open]");
    if (!menu) return;
    menu.open = false;
    menu.querySelector("summary")?.focus();
  });
  delegate("input", "[data-confirm-word]", (_event, field) => checkTypedName(field));
  // Content fetched into a dialog opens it; <a href> stays as the way without scripts.
  document.addEventListener("htmx:afterSwap", (event) => {
    const dialog = event.detail.target instanceof Element ? event.detail.target.closest("dialog") : null;
    // A refresh by a hint must not open what the person has closed.
    if (!dialog || event.detail.requestConfig?.triggeringEvent?.type === "live") return;
    closeMenus(null);
    if (!dialog.open) dialog.showModal();
    findAll("[data-confirm-word]", dialog).forEach(checkTypedName);
    find("[autofocus]", dialog)?.focus();
  });
  // Closed, the drawer has nothing left to keep fresh.
  find("#drawer")?.addEventListener("close", () => find("#drawer-body").replaceChildren());
  findAll("[data-confirm-word]").forEach(checkTypedName);
}
