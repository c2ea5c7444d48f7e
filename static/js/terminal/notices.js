// What the terminal page says about its connection: a word in the toolbar, a notice over the screen.

import { find } from "../lib/dom.js";
import { closing } from "./protocol.js";

const NOT_RUNNING = closing(4409);

const WORDS = { connecting: "connecting", open: "connected", waiting: "reconnecting", closed: "closed" };

/** The notice for a change of the connection, or null for none. Pure. */
export function noticeFor({ state, seconds, meaning, attempt }, exitCode) {
  if (state === "open") return null;
  if (state === "connecting") return attempt ? { text: "Connecting again …", again: false } : null;
  const text = meaning?.text ?? "The connection was lost.";
  if (state === "waiting") return { text: `${text} Trying again in ${seconds} s.`, again: true, label: "Try now" };
  if (meaning?.name === "normal" && Number.isInteger(exitCode)) {
    return { text: `The shell ended with code ${exitCode}.`, again: true, label: "Open a new one" };
  }
  return { text, again: meaning?.again ?? false, label: "Try again" };
}

/** @param {HTMLElement} root @param {import("./view.js").TerminalView} view */
export function startNotices(root, view) {
  const notice = find("[data-notice]", root);
  const text = find("[data-notice-text]", notice);
  const again = find("[data-notice-again]", notice);
  const link = find("[data-link-state]", root);
  const shell = find("[data-shell]", root);
  const frozen = find("[data-frozen]", root);
  const latency = find("[data-latency]", root);
  let exitCode = null;
  let plain = false;
  let reason = "";
  let wasAway = false;

  const say = (said) => {
    notice.hidden = said === null;
    if (!said) return;
    text.textContent = said.text;
    again.hidden = !said.again;
    again.textContent = said.label ?? "";
  };

  // The badge of the session's state is kept fresh by the live link. A terminal that closed because
  // its container went away says so, and comes back with it.
  document.addEventListener("htmx:afterSettle", () => {
    const badge = find("#terminal-state [data-state]");
    if (!badge || root.dataset.link !== "closed" || !["normal", NOT_RUNNING.name].includes(reason)) return;
    if (badge.dataset.state !== "running") {
      wasAway = true;
      say({ text: NOT_RUNNING.text, again: false });
    } else if (wasAway || reason === NOT_RUNNING.name) {
      view.again();
    }
  });

  again.addEventListener("click", () => view.again());
  view.addEventListener("link", ({ detail }) => {
    root.dataset.link = detail.state;
    link.textContent = WORDS[detail.state];
    if (detail.state === "connecting" && !detail.attempt) exitCode = null;
    if (detail.state === "open") wasAway = false;
    else latency.textContent = "";
    reason = detail.meaning?.name ?? "";
    say(noticeFor(detail, exitCode));
  });
  view.addEventListener("ready", ({ detail }) => {
    plain = detail.shell !== "tmux";
    shell.hidden = !plain;
  });
  view.addEventListener("exit", ({ detail }) => {
    exitCode = detail.code;
  });
  view.addEventListener("session-state", ({ detail }) => {
    frozen.hidden = detail.state !== "frozen";
  });
  view.addEventListener("latency", ({ detail }) => {
    latency.textContent = `${Math.max(1, Math.round(detail.ms))} ms`;
  });
  window.addEventListener("beforeunload", (event) => {
    // A plain shell ends with the page; inside tmux nothing is lost.
    if (plain && root.dataset.link === "open") event.preventDefault();
  });
}
