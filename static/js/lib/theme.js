// The choice between light, dark and the system's; applied at once, stored with the person.

import { delegate, findAll } from "./dom.js";
import { HttpError, postForm } from "./http.js";
import { showToast } from "./toasts.js";

const root = document.documentElement;

function mark(theme) {
  for (const button of findAll("[data-set-theme]")) {
    button.setAttribute("aria-pressed", String(button.dataset.setTheme === theme));
  }
}

export function startTheme() {
  mark(root.dataset.theme);
  delegate("click", "[data-set-theme]", async (event, button) => {
    event.preventDefault();
    root.dataset.theme = button.dataset.setTheme;
    root.dispatchEvent(new CustomEvent("coi:theme-chosen"));
    mark(button.dataset.setTheme);
    try {
      await postForm(button.form.action, { theme: button.dataset.setTheme });
    } catch (error) {
      if (!(error instanceof HttpError)) throw error;
      showToast({ text: "The theme could not be stored. It holds until you reload.", kind: "warning" });
    }
  });
}
