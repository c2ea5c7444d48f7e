// Ctrl+K: jump to a page, a session or a workspace by typing some of its name.

import { delegate, element, find, findAll, icon } from "./dom.js";
import { rank } from "./fuzzy.js";
import { getJson } from "./http.js";

let things = null;
let shown = [];
let chosen = 0;

function pages() {
  return findAll("a[data-nav]").map((link) => ({
    label: link.dataset.nav, hint: "page", icon: link.dataset.icon ?? "arrow-right", url: link.getAttribute("href"),
  }));
}

async function load(dialog) {
  const url = dialog.dataset.url;
  if (things || !url) return;
  try {
    things = (await getJson(url)).items;
  } catch {
    // The pages of the rail still work; the next opening asks again.
    things = null;
  }
}

function draw(dialog) {
  const field = find("input", dialog);
  const list = find("[role=listbox]", dialog);
  shown = rank(field.value, [...pages(), ...(things ?? [])]);
  chosen = Math.min(chosen, Math.max(shown.length - 1, 0));
  list.replaceChildren(...shown.map((item, index) =>
    element("a", { role: "option", id: `palette-${index}`, href: item.url, tabindex: "-1", "aria-selected": String(index === chosen) },
      icon(item.icon), element("span", {}, item.label), element("small", {}, item.hint ?? ""))));
  find("[data-nothing]", dialog).hidden = shown.length > 0;
  if (shown.length) field.setAttribute("aria-activedescendant", `palette-${chosen}`);
  else field.removeAttribute("aria-activedescendant");
  find('[aria-selected="true"]', list)?.scrollIntoView({ block: "nearest" });
}

export async function openPalette() {
  const dialog = find("#palette");
  if (!dialog || dialog.open) return;
  const field = find("input", dialog);
  field.value = "";
  chosen = 0;
  dialog.showModal();
  draw(dialog);
  await load(dialog);
  if (dialog.open) draw(dialog);
}

export function startPalette() {
  const dialog = find("#palette");
  if (!dialog) return;
  delegate("click", "[data-palette]", (event) => {
    event.preventDefault();
    openPalette();
  });
  dialog.addEventListener("close", () => {
    things = null;
  });
  find("input", dialog).addEventListener("input", () => {
    chosen = 0;
    draw(dialog);
  });
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && shown.length) {
      event.preventDefault();
      chosen = (chosen + step + shown.length) % shown.length;
      draw(dialog);
    } else if (event.key === "Enter" && shown[chosen]) {
      event.preventDefault();
      window.location.assign(shown[chosen].url);
    }
  });
}
