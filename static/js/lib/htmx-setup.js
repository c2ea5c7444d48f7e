// htmx under a strict Content-Security-Policy, with our CSRF token.

import { csrfToken } from "./http.js";

export function startHtmx() {
  document.addEventListener("htmx:configRequest", (event) => {
    if (event.detail.verb !== "get") event.detail.headers["X-CSRFToken"] = csrfToken();
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { detail } = event;
    // A form that was refused comes back with its errors, status 422, to be shown in place.
    if (detail.xhr.status === 422) {
      detail.shouldSwap = true;
      detail.isError = false;
    }
    // Signed out meanwhile: a login page must not appear inside a fragment.
    if (detail.xhr.responseURL.includes("/account/login/")) {
      detail.shouldSwap = false;
      window.location.reload();
    }
  });
}
