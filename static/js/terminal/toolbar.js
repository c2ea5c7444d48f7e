// Toolbar, search bar, key bar, paste dialog and notices around a TerminalView.

import { delegate, find, findAll } from "../lib/dom.js";
import { showToast } from "../lib/toasts.js";
import { keySequence } from "./keys.js";
import { countLines, needsLook, preview } from "./paste.js";
import { FONT_SIZES } from "./view.js";

const FONT_KEY = "coi.terminal.font";
const PASTE_KEY = "coi.terminal.paste-unasked";
const SEARCH_COLOURS = {
  matchBackground: "#7a5c00", matchOverviewRuler: "#d29922", activeMatchBackground: "#b35900",
  activeMatchColorOverviewRuler: "#ff9500",
};

export const storedFontSize = () => Number(localStorage.getItem(FONT_KEY)) || FONT_SIZES.usual;

/** Copy without asking for permissions; works over plain http too. */
async function copyText(text) {
  if (!text) return;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "visually-hidden";
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
}

function startPaste(root, view) {
  const dialog = find("#paste-dialog");
  let waiting = "";
  const offer = (text) => {
    if (!text) return;
    if (!needsLook(text) || localStorage.getItem(PASTE_KEY) === "yes") {
      view.paste(text);
      return;
    }
    waiting = text;
    find("[data-paste-count]", dialog).textContent = `${countLines(text)} lines, ${text.length} characters`;
    find("[data-paste-preview]", dialog).textContent = preview(text);
    dialog.showModal();
  };
  // Capturing: before xterm's own listener, which would paste without a question.
  find("[data-screen]", root).addEventListener("paste", (event) => {
    event.preventDefault();
    event.stopPropagation();
    offer(event.clipboardData?.getData("text/plain") ?? "");
  }, true);
  dialog.addEventListener("close", () => {
    if (dialog.returnValue === "paste") {
      if (find("[data-paste-remember]", dialog).checked) localStorage.setItem(PASTE_KEY, "yes");
      view.paste(waiting);
    }
    waiting = "";
    dialog.returnValue = "";
    view.terminal.focus();
  });
  return async () => {
    try {
      offer(await navigator.clipboard.readText());
    } catch {
      showToast({ text: "The browser does not let this page read the clipboard. Press Ctrl+Shift+V or use the system's paste.", kind: "warning" });
    }
  };
}

function startSearch(root, view) {
  const bar = find("[data-search-bar]", root);
  const field = find("input", bar);
  const count = find("[data-search-count]", bar);
  const options = { decorations: SEARCH_COLOURS };
  const next = () => view.search.findNext(field.value, options);
  const previous = () => view.search.findPrevious(field.value, options);
  view.search.onDidChangeResults(({ resultIndex, resultCount }) => {
    if (!field.value) count.textContent = "";
    else if (!resultCount) count.textContent = "nothing found";
    else count.textContent = resultIndex < 0 ? `${resultCount}+` : `${resultIndex + 1} of ${resultCount}`;
  });
  const close = () => {
    bar.hidden = true;
    view.search.clearDecorations();
    view.terminal.focus();
  };
  field.addEventListener("input", () => {
    if (field.value) view.search.findNext(field.value, { ...options, incremental: true });
    else view.search.clearDecorations();
  });
  bar.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    else if (event.key === "Enter" && event.target === field) (event.shiftKey ? previous : next)();
    else return;
    event.preventDefault();
  });
  find("[data-search-next]", bar).addEventListener("click", next);
  find("[data-search-previous]", bar).addEventListener("click", previous);
  find("[data-search-close]", bar).addEventListener("click", close);
  return () => {
    bar.hidden = false;
    field.focus();
    field.select();
  };
}

function setFont(view, size) {
  view.fontSize = size;
  localStorage.setItem(FONT_KEY, String(view.fontSize));
}

async function toggleFullScreen(root) {
  if (document.fullscreenElement) await document.exitFullscreen();
  else await root.requestFullscreen?.();
}

/** Keys that the page takes from the terminal. Ctrl+W, Ctrl+T and Ctrl+R are never among them. */
function startShortcuts(view, { openSearch }) {
  view.terminal.attachCustomKeyEventHandler((event) => {
    if (event.type !== "keydown" || !event.ctrlKey || !event.shiftKey || event.altKey || event.metaKey) return true;
    switch (event.code) {
      case "KeyC":
        event.preventDefault();
        copyText(view.terminal.getSelection());
        return false;
      case "KeyV":
        // Left to the browser, whose paste event needs no permission.
        return false;
      case "KeyF":
        event.preventDefault();
        openSearch();
        return false;
      default:
        return true;
    }
  });
}

function startKeyBar(root, view, pasteFromClipboard) {
  const control = find('[data-key="control"]', root);
  view.addEventListener("control", ({ detail }) => control?.setAttribute("aria-pressed", String(detail.on)));
  for (const key of findAll("[data-key]", root)) {
    // Keeps the focus, and with it a phone's keyboard, in the terminal.
    key.addEventListener("pointerdown", (event) => event.preventDefault());
    key.addEventListener("click", () => {
      const name = key.dataset.key;
      if (name === "control") view.holdControl(!view.controlHeld);
      else if (name === "paste") pasteFromClipboard();
      else view.type(keySequence(name, view.terminal.modes.applicationCursorKeysMode));
      view.terminal.focus();
    });
  }
}

/** @param {HTMLElement} root the terminal page @param {import("./view.js").TerminalView} view */
export function startToolbar(root, view) {
  const pasteFromClipboard = startPaste(root, view);
  const openSearch = startSearch(root, view);
  startShortcuts(view, { openSearch });
  startKeyBar(root, view, pasteFromClipboard);
  const actions = {
    "font-smaller": () => setFont(view, view.fontSize - 1),
    "font-larger": () => setFont(view, view.fontSize + 1),
    search: openSearch,
    copy: () => copyText(view.terminal.getSelection()),
    paste: pasteFromClipboard,
    "full-screen": () => toggleFullScreen(root),
  };
  delegate("click", "[data-terminal-action]", (_event, button) => {
    actions[button.dataset.terminalAction]?.();
    if (button.dataset.terminalAction !== "search") view.terminal.focus();
  });
  document.addEventListener("fullscreenchange", () => view.fit());
}
