// The key bar for phones: what its keys send, and the sticky Ctrl.

const CURSOR = { up: "A", down: "B", right: "C", left: "D" };
const PLAIN = { escape: "\x1b", tab: "\t", "shift-tab": "\x1b[Z", enter: "\r", "ctrl-c": "\x03" };

/** @param {string} name @param {boolean} application whether the program asked for application cursor keys */
export function keySequence(name, application) {
  if (name in CURSOR) return `\x1b${application ? "O" : "["}${CURSOR[name]}`;
  return PLAIN[name] ?? "";
}

/** Ctrl held for one key: "c" becomes 0x03; what has no control character stays as it is. */
export function withControl(text) {
  if (text.length !== 1) return text;
  if (text === " ") return "\x00";
  const code = text.toUpperCase().charCodeAt(0);
  return code >= 64 && code <= 95 ? String.fromCharCode(code & 31) : text;
}
