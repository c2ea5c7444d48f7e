// Small helpers around the document.

/** @param {string} selector @param {ParentNode} root @returns {any} the first match or null */
export const find = (selector, root = document) => root.querySelector(selector);

/** @param {string} selector @param {ParentNode} root @returns {any[]} */
export const findAll = (selector, root = document) => [...root.querySelectorAll(selector)];

/** Listen on the document for events that happen inside `selector`, now and after every swap. */
export function delegate(type, selector, handler, options) {
  document.addEventListener(type, (event) => {
    const target = event.target instanceof Element ? event.target.closest(selector) : null;
    if (target) handler(event, target);
  }, options);
}

/** Build an element: `element("p", { class: "note" }, "text", child)`. Text is never parsed as HTML. */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** An icon of the sprite that the page names in <body data-icons="…">. */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `${document.body.dataset.icons}#${name}`);
  svg.append(use);
  return svg;
}

/** True while keys belong to somebody else: a field, an editor, a terminal or an open dialog. */
export function isTyping(target) {
  if (!(target instanceof Element)) return false;
  return target.closest("input, textarea, select, [contenteditable], .xterm, dialog[open]") !== null;
}

/** Call `task` once, `waitMs` after the last call; `.cancel()` forgets a waiting one. */
export function debounce(task, waitMs) {
  let timer = 0;
  const run = (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => task(...values), waitMs);
  };
  run.cancel = () => clearTimeout(timer);
  return run;
}
