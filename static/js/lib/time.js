// Relative times: <time datetime="…" data-ago>3 minutes ago</time>, exact on hover.

const UNITS = [
  ["year", 365 * 86400], ["month", 30 * 86400], ["day", 86400], ["hour", 3600], ["minute", 60],
];
const words = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const exactFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** "just now", "3 minutes ago", "in 2 hours"; `at` and `now` in milliseconds. */
export function relative(at, now) {
  const seconds = Math.round((at - now) / 1000);
  if (Math.abs(seconds) < 45) return seconds > 5 ? "in a moment" : "just now";
  for (const [unit, length] of UNITS) {
    if (Math.abs(seconds) >= length) return words.format(Math.trunc(seconds / length), unit);
  }
  return words.format(seconds < 0 ? -1 : 1, "minute");
}

/** "0:07", "12:30", "1:02:03" for a running time in seconds. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  if (parts[0] === 0) parts.shift();
  return parts.map((part, index) => (index === 0 ? String(part) : String(part).padStart(2, "0"))).join(":");
}

function refresh(root = document) {
  const now = Date.now();
  for (const node of root.querySelectorAll("time[data-ago], time[data-since]")) {
    const at = Date.parse(node.dateTime);
    if (Number.isNaN(at)) continue;
    const text = "since" in node.dataset ? clock((now - at) / 1000) : relative(at, now);
    if (node.textContent !== text) node.textContent = text;
    if (!node.title || "utc" in node.dataset) {
      node.title = exactFormat.format(at);
      delete node.dataset.utc;
    }
  }
}

/** Keep every time on the page right, also those that arrive later. */
export function startTimes() {
  refresh();
  setInterval(() => {
    if (!document.hidden) refresh();
  }, 1000);
  document.addEventListener("htmx:afterSettle", () => refresh());
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) refresh();
  });
}
