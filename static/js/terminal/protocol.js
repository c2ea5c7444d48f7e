// The browser's half of sessions/terminals/protocol.py; a test compares the two.
// Binary frames are terminal bytes, text frames are small JSON objects with a "type".

/** Acknowledge at least this often, in bytes; must stay below the server's window. */
export const ACK_EVERY_BYTES = 128 * 1024;

/** Longest binary frame that we send; the server refuses more than 1 MiB. */
export const MAX_INPUT_BYTES = 1024 * 1024;

export const MIN_COLS = 2;
export const MAX_COLS = 1000;
export const MIN_ROWS = 1;
export const MAX_ROWS = 1000;

/**
 * Why the server closed a terminal: `name` is its word for it, `retry` says whether coming back by
 * itself makes sense, `text` is for the person, `again` offers a button to try by hand.
 */
export const CLOSE_CODES = Object.freeze({
  1000: { name: "normal", retry: false, again: true, text: "The shell ended." },
  4400: { name: "protocol-error", retry: false, again: true, text: "This page and the panel did not understand each other. Reload the page." },
  4401: { name: "signed-out", retry: false, again: false, text: "You are signed out. Reload the page to sign in again." },
  4403: { name: "forbidden", retry: false, again: false, text: "Only the owner of a session can open its terminal." },
  4404: { name: "not-found", retry: false, again: false, text: "There is no such session, or you cannot see it." },
  4408: { name: "stalled", retry: true, again: true, text: "This page took no output for too long." },
  4409: { name: "not-running", retry: false, again: true, text: "The session is not running. Start it from its page, then open the terminal again." },
  4410: { name: "ended", retry: false, again: false, text: "The session has ended. The workspace and its files are still there." },
  4429: { name: "too-many", retry: false, again: true, text: "Too many terminals are open. Close one in another tab and try again." },
  4500: { name: "internal-error", retry: true, again: true, text: "Something went wrong in the panel." },
  4503: { name: "engine-unavailable", retry: true, again: true, text: "The container engine does not answer." },
});

const LOST = Object.freeze({ name: "lost", retry: true, again: true, text: "The connection was lost." });

/** What a close code means; unknown and standard codes mean a lost connection. */
export const closing = (code) => CLOSE_CODES[code] ?? LOST;

const clamp = (value, least, most) => Math.min(Math.max(Math.trunc(value) || least, least), most);

export const clampSize = (cols, rows) => ({
  cols: clamp(cols, MIN_COLS, MAX_COLS),
  rows: clamp(rows, MIN_ROWS, MAX_ROWS),
});

export const resizeFrame = (cols, rows) => JSON.stringify({ type: "resize", ...clampSize(cols, rows) });

/** @param {number} total bytes consumed since the socket opened */
export const ackFrame = (total) => JSON.stringify({ type: "ack", bytes: total });

/** @param {number} id */
export const pingFrame = (id) => JSON.stringify({ type: "ping", id });

/**
 * A text frame from the server as an object, or null for what a newer server may send.
 * @returns {{type: "ready", shell: string, cols: number, rows: number} | {type: "pong", id: number | string}
 *   | {type: "state", state: string} | {type: "exit", code: number | null} | null}
 */
export function parseFrame(text) {
  let frame;
  try {
    frame = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof frame !== "object" || frame === null) return null;
  switch (frame.type) {
    case "ready":
      return typeof frame.shell === "string" ? frame : null;
    case "pong":
      return ["number", "string"].includes(typeof frame.id) ? frame : null;
    case "state":
      return typeof frame.state === "string" ? frame : null;
    case "exit":
      return frame.code === null || Number.isInteger(frame.code) ? frame : null;
    default:
      return null;
  }
}

const encoder = new TextEncoder();

/** Typed or pasted text as frames of at most `limit` bytes. @returns {Uint8Array[]} */
export function inputFrames(text, limit = 32 * 1024) {
  const bytes = encoder.encode(text);
  const frames = [];
  for (let at = 0; at < bytes.length; at += limit) frames.push(bytes.subarray(at, at + limit));
  return frames;
}

/** xterm's "binary" strings (mouse reports of old programs): one byte per character. */
export const binaryFrame = (text) => Uint8Array.from(text, (character) => character.charCodeAt(0) & 255);
