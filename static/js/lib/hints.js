// Which elements a hint concerns. Pure, so that it can be tested without a browser.

/**
 * `wanted` is the value of data-live: words such as "session.changed" (any) or "session.changed:ID".
 * @param {string} wanted @param {{type: string, id: string}[]} hints
 */
export function concerns(wanted, hints) {
  const keys = wanted.split(/\s+/).filter(Boolean);
  return hints.some(({ type, id }) => keys.includes(type) || keys.includes(`${type}:${id}`));
}

/** A hint from a text frame, or null for anything else. */
export function parseHint(text) {
  if (typeof text !== "string" || text.length > 65536) return null;
  let data;
  try {
    data = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof data !== "object" || data === null || typeof data.type !== "string") return null;
  return { type: data.type, id: typeof data.id === "string" ? data.id : "" };
}
