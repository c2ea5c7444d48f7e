// When to tell the server how many bytes have been drawn.

import { ACK_EVERY_BYTES } from "./protocol.js";

/** Having drawn less than that, tell it after this long. */
export const IDLE_MS = 100;

/**
 * Counts bytes that the terminal has consumed, which is after xterm's write callback and never at
 * arrival: the window then covers xterm's own buffer too, and Ctrl-C works in a flood.
 */
export class Acknowledger {
  #send;
  #every;
  #timers;
  #timer = null;
  #total = 0;
  #acked = 0;

  /**
   * @param {(total: number) => void} send gets the total since the socket opened
   * @param {{every?: number, timers?: {set: (task: () => void, ms: number) => any, clear: (timer: any) => void}}} options
   */
  constructor(send, { every = ACK_EVERY_BYTES, timers } = {}) {
    this.#send = send;
    this.#every = every;
    this.#timers = timers ?? { set: (task, ms) => setTimeout(task, ms), clear: (timer) => clearTimeout(timer) };
  }

  /** Bytes drawn since the socket opened. */
  get total() {
    return this.#total;
  }

  /** A new socket counts from zero. */
  reset() {
    this.#cancel();
    this.#total = 0;
    this.#acked = 0;
  }

  consumed(bytes) {
    this.#total += bytes;
    if (this.#total - this.#acked >= this.#every) {
      this.flush();
    } else if (this.#timer === null) {
      this.#timer = this.#timers.set(() => {
        this.#timer = null;
        this.flush();
      }, IDLE_MS);
    }
  }

  /** Tell the server now what it has not been told. */
  flush() {
    this.#cancel();
    if (this.#total === this.#acked) return;
    this.#acked = this.#total;
    this.#send(this.#total);
  }

  #cancel() {
    if (this.#timer !== null) this.#timers.clear(this.#timer);
    this.#timer = null;
  }
}
