// A WebSocket that comes back by itself and says when.

import { delayMs } from "./backoff.js";

/** Codes of the WebSocket standard after which trying again makes sense: going away, lost, restart, … */
const PASSING = new Set([1000, 1001, 1005, 1006, 1011, 1012, 1013, 1014]);

/** A connection that stayed open this long starts counting attempts anew. */
const STEADY_MS = 5000;

/**
 * States given to `onState`:
 *   {state: "connecting", attempt}
 *   {state: "open"}
 *   {state: "waiting", attempt, seconds, code}   once a second while counting down
 *   {state: "closed", code}                      for good: the code is final, or close() was called
 */
export class ReconnectingSocket {
  #makeUrl;
  #options;
  #socket = null;
  #attempt = 0;
  #timer = 0;
  #retryAt = 0;
  #openedAt = 0;
  #stopped = true;
  #lastCode = 0;
  #wake = () => {
    if (!document.hidden) this.retryNow();
  };

  /**
   * @param {() => string} makeUrl asked before each attempt
   * @param {{onMessage: (data: any) => void, onState: (change: any) => void,
   *          isFinal?: (code: number) => boolean}} options `isFinal` says which close codes end it
   */
  constructor(makeUrl, options) {
    this.#makeUrl = makeUrl;
    this.#options = options;
  }

  /** Connect; safe to call again after it closed for good. */
  open() {
    if (!this.#stopped) return;
    this.#stopped = false;
    this.#attempt = 0;
    window.addEventListener("online", this.#wake);
    document.addEventListener("visibilitychange", this.#wake);
    this.#connect();
  }

  /** End it and do not come back. */
  close() {
    this.#finish(1000);
    this.#socket?.close(1000);
    this.#socket = null;
  }

  /** Stop counting down and try at once. */
  retryNow() {
    if (this.#stopped || this.#socket) return;
    clearTimeout(this.#timer);
    this.#connect();
  }

  /** Give the present connection up as dead and begin again. */
  restart() {
    if (this.#stopped) return;
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
    this.#lost(1006);
  }

  /** @returns {boolean} false when there is no open connection: nothing was sent */
  send(data) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(data);
    return true;
  }

  /** Bytes given to send() that have not left the browser yet. */
  get bufferedBytes() {
    return this.#socket?.bufferedAmount ?? 0;
  }

  #connect() {
    this.#options.onState({ state: "connecting", attempt: this.#attempt });
    const socket = new WebSocket(this.#makeUrl());
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    socket.addEventListener("open", () => {
      if (this.#socket !== socket) return;
      this.#openedAt = Date.now();
      this.#options.onState({ state: "open" });
    });
    socket.addEventListener("message", (event) => {
      if (this.#socket === socket) this.#options.onMessage(event.data);
    });
    socket.addEventListener("close", (event) => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      if (this.#openedAt && Date.now() - this.#openedAt > STEADY_MS) this.#attempt = 0;
      this.#openedAt = 0;
      const final = this.#options.isFinal?.(event.code) ?? !PASSING.has(event.code);
      if (final) this.#finish(event.code);
      else this.#lost(event.code);
    });
  }

  #lost(code) {
    if (this.#stopped) return;
    this.#lastCode = code;
    this.#retryAt = Date.now() + delayMs(this.#attempt);
    this.#attempt += 1;
    this.#count();
  }

  #count() {
    const left = this.#retryAt - Date.now();
    if (left <= 0) {
      this.#connect();
      return;
    }
    this.#options.onState({
      state: "waiting", attempt: this.#attempt, seconds: Math.ceil(left / 1000), code: this.#lastCode,
    });
    this.#timer = setTimeout(() => this.#count(), Math.min(1000, left));
  }


  #finish(code) {
    if (this.#stopped) return;
    this.#stopped = true;
    clearTimeout(this.#timer);
    window.removeEventListener("online", this.#wake);
    document.removeEventListener("visibilitychange", this.#wake);
    this.#options.onState({ state: "closed", code });
  }
}

/** Absolute ws:// or wss:// address of a path on this site. */
export function socketUrl(path, query = {}) {
  const url = new URL(path, window.location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, String(value));
  return url.href;
}
