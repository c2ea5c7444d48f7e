// Colours of the terminal in the panel's two themes; contrast at least 4.5 on the background.

const DARK = {
  background: "#0f151f", foreground: "#dbe2ee", cursor: "#8ab4ff", cursorAccent: "#0f151f",
  selectionBackground: "#2f4a78", selectionInactiveBackground: "#273449",
  black: "#2a3444", red: "#ff7b72", green: "#6fd08c", yellow: "#e3b341", blue: "#79b0ff", magenta: "#d2a8ff",
  cyan: "#5fd0d8", white: "#cbd5e1", brightBlack: "#8190a5", brightRed: "#ffa198", brightGreen: "#8ee0a5",
  brightYellow: "#f2cc60", brightBlue: "#a5cdff", brightMagenta: "#e2c5ff", brightCyan: "#8be5ea", brightWhite: "#f8fafc",
};

const LIGHT = {
  background: "#fcfdfe", foreground: "#1d2838", cursor: "#1f5fc4", cursorAccent: "#fcfdfe",
  selectionBackground: "#bcd4fb", selectionInactiveBackground: "#dbe4f0",
  black: "#1d2838", red: "#b42318", green: "#146c3a", yellow: "#865b00", blue: "#1557b0", magenta: "#7a35b0",
  cyan: "#0b6e7a", white: "#5c6b80", brightBlack: "#64748b", brightRed: "#c0291d", brightGreen: "#177a43",
  brightYellow: "#8a6200", brightBlue: "#1d66cc", brightMagenta: "#8b45c4", brightCyan: "#0e7885", brightWhite: "#334155",
};

/** @param {HTMLElement} root the document's root, whose data-bs-theme is "dark" or "light" */
export const terminalTheme = (root) => (root.dataset.bsTheme === "dark" ? DARK : LIGHT);
