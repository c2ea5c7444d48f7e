// One terminal: xterm on the screen, a socket to the session, and what happens when it breaks.

import {
  FitAddon, SearchAddon, Terminal, Unicode11Addon, WebglAddon, WebLinksAddon,
} from "../../vendor/xterm/xterm.js";
import { debounce } from "../lib/dom.js";
import { ReconnectingSocket, socketUrl } from "../lib/socket.js";
import { Acknowledger } from "./flow.js";
import { withControl } from "./keys.js";
import {
  ackFrame, binaryFrame, clampSize, closing, inputFrames, parseFrame, pingFrame, resizeFrame,
} from "./protocol.js";
import { terminalTheme } from "./themes.js";

/** The server ends a socket that was silent for five minutes. */
const PING_EVERY_MS = 20_000;

/** A connection that does not answer a ping within this is dead, whatever the system says. */
const PONG_WITHIN_MS = 10_000;

/** The first one waits until the page is at rest, so that it measures the line. */
const FIRST_PING_MS = 1500;

const RESIZE_WAIT_MS = 80;

/** Typed or pasted bytes that may wait in the browser; beyond, the connection is too slow to go on. */
const MAX_WAITING_INPUT = 8 * 1024 * 1024;

export const FONT_SIZES = { least: 8, most: 32, usual: 14 };

/**
 * Events, all CustomEvent: "link" {state, seconds?, code?, meaning?}, "ready" {shell}, "session-state" {state},
 * "exit" {code}, "latency" {ms}, "control" {on}, "input-lost" {}.
 */
export class TerminalView extends EventTarget {
  #screen;
  #path;
  #socket;
  #fit = new FitAddon();
  #acknowledger;
  #connection = 0;
  #connectedBefore = false;
  #pings = new Map();
  #pingId = 0;
  #pingTimer = 0;
  #sentSize = "";
  #control = false;
  #observer;

  /** @param {HTMLElement} screen an element with a size @param {string} path of the socket */
  constructor(screen, path, { fontSize = FONT_SIZES.usual } = {}) {
    super();
    this.#screen = screen;
    this.#path = path;
    this.search = new SearchAddon();
    this.terminal = new Terminal({
      allowProposedApi: true,
      cursorBlink: !window.matchMedia("(prefers-reduced-motion: reduce)").matches,
      fontFamily: getComputedStyle(screen).getPropertyValue("--coi-mono") || "monospace",
      fontSize,
      macOptionIsMeta: true,
      minimumContrastRatio: 4.5,
      rightClickSelectsWord: false,
      screenReaderMode: true,
      scrollback: 10_000,
      theme: terminalTheme(document.documentElement),
    });
    this.#acknowledger = new Acknowledger((total) => this.#socket.send(ackFrame(total)));
    this.#socket = new ReconnectingSocket(() => this.#address(), {
      onMessage: (data) => this.#receive(data),
      onState: (change) => this.#linkChanged(change),
      isFinal: (code) => !closing(code).retry,
    });
  }

  /** Put it on the page and connect. */
  start() {
    const { terminal } = this;
    terminal.loadAddon(this.#fit);
    terminal.loadAddon(this.search);
    terminal.loadAddon(new Unicode11Addon());
    terminal.unicode.activeVersion = "11";
    terminal.loadAddon(new WebLinksAddon((event, address) => {
      if (/^https?:/i.test(address)) window.open(address, "_blank", "noopener,noreferrer");
      event.preventDefault();
    }));
    terminal.open(this.#screen);
    this.#useWebgl();
    this.fit();
    terminal.onData((text) => this.type(text));
    terminal.onBinary((text) => this.#sendBytes([binaryFrame(text)]));
    this.#observer = new ResizeObserver(debounce(() => this.fit(), RESIZE_WAIT_MS));
    this.#observer.observe(this.#screen);
    document.documentElement.addEventListener("coi:theme", () => {
      terminal.options.theme = terminalTheme(document.documentElement);
    });
    this.#socket.open();
    terminal.focus();
  }

  /** Leave; the shell goes on inside tmux. */
  detach() {
    this.#acknowledger.reset();
    clearTimeout(this.#pingTimer);
    this.#socket.close();
  }

  /** Connect again after it closed for good, or at once while counting down. */
  again() {
    this.#socket.open();
    this.#socket.retryNow();
  }

  /** Send text as if typed; a sticky Ctrl applies to one character of it. */
  type(text) {
    let input = text;
    if (this.#control && text.length === 1) {
      input = withControl(text);
      this.holdControl(false);
    }
    this.#sendBytes(inputFrames(input));
  }

  /** Paste with the brackets that the program asked for. */
  paste(text) {
    this.terminal.paste(text);
    this.terminal.focus();
  }

  /** The next typed character is sent with Ctrl. */
  holdControl(on) {
    this.#control = on;
    this.#tell("control", { on });
  }

  get controlHeld() {
    return this.#control;
  }

  set fontSize(size) {
    this.terminal.options.fontSize = Math.min(Math.max(size, FONT_SIZES.least), FONT_SIZES.most);
    this.fit();
  }

  get fontSize() {
    return this.terminal.options.fontSize;
  }

  /** Make the terminal as large as its place and say so to the other side. */
  fit() {
    const size = this.#fit.proposeDimensions();
    if (!size || !Number.isFinite(size.cols) || !this.#screen.offsetParent) return;
    const { cols, rows } = clampSize(size.cols, size.rows);
    if (cols !== this.terminal.cols || rows !== this.terminal.rows) this.terminal.resize(cols, rows);
    this.#sendSize();
  }

  #address() {
    const { cols, rows } = clampSize(this.terminal.cols, this.terminal.rows);
    this.#sentSize = `${cols}x${rows}`;
    return socketUrl(this.#path, { cols, rows });
  }

  #sendSize() {
    const size = `${this.terminal.cols}x${this.terminal.rows}`;
    if (size === this.#sentSize) return;
    if (this.#socket.send(resizeFrame(this.terminal.cols, this.terminal.rows))) this.#sentSize = size;
  }

  #sendBytes(frames) {
    if (this.#socket.bufferedBytes > MAX_WAITING_INPUT) {
      this.#tell("input-lost", {});
      return;
    }
    for (const frame of frames) {
      if (!this.#socket.send(frame)) {
        this.#tell("input-lost", {});
        return;
      }
    }
  }

  #receive(data) {
    if (typeof data === "string") {
      this.#act(parseFrame(data));
      return;
    }
    const bytes = new Uint8Array(data);
    const connection = this.#connection;
    this.terminal.write(bytes, () => {
      // What an earlier connection sent must not be counted for this one.
      if (connection === this.#connection) this.#acknowledger.consumed(bytes.length);
    });
  }

  #act(frame) {
    if (frame?.type === "ready") {
      // The screen is drawn afresh by tmux: modes of the lost connection must not linger.
      if (this.#connectedBefore) this.terminal.reset();
      this.#connectedBefore = true;
      this.#tell("ready", { shell: frame.shell });
    } else if (frame?.type === "pong") {
      const sentAt = this.#pings.get(frame.id);
      this.#pings.clear();
      if (sentAt !== undefined) this.#tell("latency", { ms: performance.now() - sentAt });
    } else if (frame?.type === "state") {
      this.#tell("session-state", { state: frame.state });
    } else if (frame?.type === "exit") {
      this.#tell("exit", { code: frame.code });
    }
  }

  #linkChanged(change) {
    clearTimeout(this.#pingTimer);
    if (change.state === "open") {
      this.#connection += 1;
      this.#acknowledger.reset();
      this.#pings.clear();
      this.#sendSize();
      this.#pingTimer = setTimeout(() => this.#ping(), FIRST_PING_MS);
    }
    const meaning = "code" in change ? closing(change.code) : undefined;
    this.#tell("link", { ...change, meaning });
  }

  #ping() {
    this.#pingId += 1;
    this.#pings.set(this.#pingId, performance.now());
    this.#socket.send(pingFrame(this.#pingId));
    this.#pingTimer = setTimeout(() => {
      // A hidden tab's timers are slow by design: only a visible one may call the line dead.
      if (this.#pings.size && !document.hidden) {
        this.#socket.restart();
        return;
      }
      this.#pingTimer = setTimeout(() => this.#ping(), PING_EVERY_MS - PONG_WITHIN_MS);
    }, PONG_WITHIN_MS);
  }

  #useWebgl() {
    // Drawn by software, WebGL takes three times as long as the DOM does.
    const probe = document.createElement("canvas").getContext("webgl2", { failIfMajorPerformanceCaveat: true });
    if (!probe) return;
    probe.getExtension("WEBGL_lose_context")?.loseContext();
    try {
      const webgl = new WebglAddon();
      webgl.onContextLoss(() => webgl.dispose());
      this.terminal.loadAddon(webgl);
    } catch {
      // No WebGL here: xterm draws with the DOM instead.
    }
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
