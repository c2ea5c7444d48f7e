// Keys of every page: Ctrl+K, "/", "?", "g s" and friends, "j k x Enter" in tables.

import { find, findAll, isTyping } from "./dom.js";
import { openDialog } from "./dialogs.js";
import { openPalette } from "./palette.js";

/** After "g", the second key must come within this. */
const SECOND_KEY_MS = 1200;

let awaitingJump = 0;

function jump(key) {
  const link = findAll("a[data-jump]").find((candidate) => candidate.dataset.jump === key);
  if (!link) return false;
  window.location.assign(link.href);
  return true;
}

function rows() {
  return findAll("table[data-rows] tbody tr, [data-rows]:not(table) > *").filter((row) => row.querySelector("a"));
}

function move(step) {
  const all = rows();
  if (!all.length) return false;
  const present = all.findIndex((row) => row.hasAttribute("data-current"));
  const next = present < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(Math.max(present + step, 0), all.length - 1);
  all.forEach((row, index) => row.toggleAttribute("data-current", index === next));
  all[next].scrollIntoView({ block: "nearest" });
  find("a", all[next])?.focus({ preventScroll: true });
  return true;
}

function select() {
  const box = find('[data-current] input[type="checkbox"]');
  box?.click();
  return Boolean(box);
}

const KEYS = {
  "/": () => {
    const field = find("[data-filter]");
    field?.focus();
    field?.select?.();
    return Boolean(field);
  },
  "?": () => Boolean(openDialog("shortcuts")),
  j: () => move(1),
  k: () => move(-1),
  x: select,
  n: () => {
    window.location.assign(document.body.dataset.new);
    return true;
  },
};

export function startKeyboard() {
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey) {
      // In a terminal Ctrl+K belongs to the program that runs there.
      if (event.target instanceof Element && event.target.closest(".xterm")) return;
      event.preventDefault();
      openPalette();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || isTyping(event.target)) return;
    if (awaitingJump && Date.now() < awaitingJump) {
      awaitingJump = 0;
      if (jump(event.key)) event.preventDefault();
      return;
    }
    awaitingJump = 0;
    if (event.key === "g") awaitingJump = Date.now() + SECOND_KEY_MS;
    else if (KEYS[event.key]?.()) event.preventDefault();
  });
}
