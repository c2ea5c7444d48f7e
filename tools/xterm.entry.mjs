// What the terminal page needs of xterm, bundled into static/vendor/xterm/xterm.js.
export { Terminal } from "@xterm/xterm";
export { ClipboardAddon } from "@xterm/addon-clipboard";
export { FitAddon } from "@xterm/addon-fit";
export { SearchAddon } from "@xterm/addon-search";
export { Unicode11Addon } from "@xterm/addon-unicode11";
export { WebglAddon } from "@xterm/addon-webgl";
export { WebLinksAddon } from "@xterm/addon-web-links";
