// The terminal page.

import { find } from "../lib/dom.js";
import { startNotices } from "../terminal/notices.js";
import { startToolbar, storedFontSize } from "../terminal/toolbar.js";
import { TerminalView } from "../terminal/view.js";

const root = find("#terminal-page");
const view = new TerminalView(find("[data-screen]", root), root.dataset.socket, { fontSize: storedFontSize() });
startNotices(root, view);
startToolbar(root, view);
view.start();
window.addEventListener("pagehide", () => view.detach());
window.addEventListener("pageshow", (event) => {
  if (event.persisted) view.again();
});
