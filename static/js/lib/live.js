// The live socket carries hints only ("session X changed"); the elements that show X fetch themselves.

import { find, findAll } from "./dom.js";
import { concerns, parseHint } from "./hints.js";
import { ReconnectingSocket, socketUrl } from "./socket.js";

/** Hints that arrive together are answered together. */
const GATHER_MS = 120;

/** One element fetches itself at most this often, whatever happens on the machine. */
const REST_MS = 700;

/** A link that is gone for less than this is not worth a banner. */
const QUIET_MS = 2500;

/** Close code of coi_web/consumers.py; every other one means: come back. */
const SIGNED_OUT = 4401;

const lastFetch = new WeakMap();
const waiting = new WeakMap();

function refresh(node) {
  if (waiting.has(node)) return;
  const rest = (lastFetch.get(node) ?? 0) + REST_MS - performance.now();
  const run = () => {
    waiting.delete(node);
    if (!node.isConnected) return;
    lastFetch.set(node, performance.now());
    window.htmx.trigger(node, "live");
  };
  if (rest <= 0) run();
  else waiting.set(node, setTimeout(run, rest));
}

/** Connect and keep the page fresh. Call once. */
export function startLive() {
  const path = document.body.dataset.live;
  if (!path || !window.htmx) return;
  const banner = find("#live-down");
  const text = banner ? find("[data-text]", banner) : null;
  let hints = [];
  let gatherTimer = 0;
  let bannerTimer = 0;
  // What changed between the rendering of this page and the moment its socket listens was never announced.
  let missed = true;

  const flush = () => {
    gatherTimer = 0;
    if (document.hidden) {
      missed = missed || hints.length > 0;
      hints = [];
      return;
    }
    const batch = hints;
    hints = [];
    for (const node of findAll("[data-live]:not(body)")) {
      if (concerns(node.dataset.live, batch)) refresh(node);
    }
    document.dispatchEvent(new CustomEvent("coi:hints", { detail: batch }));
  };
  const refreshAll = () => findAll("[data-live]:not(body)").forEach(refresh);

  const catchUp = () => {
    if (!missed || document.hidden) return;
    missed = false;
    refreshAll();
  };

  const showBanner = (message) => {
    if (!banner) return;
    text.textContent = message;
    banner.hidden = false;
  };

  const socket = new ReconnectingSocket(() => socketUrl(path), {
    isFinal: (code) => code === SIGNED_OUT,
    onMessage(data) {
      const hint = parseHint(data);
      if (!hint) return;
      if (hint.type === "hello") catchUp();
      hints.push(hint);
      if (!gatherTimer) gatherTimer = setTimeout(flush, GATHER_MS);
    },
    onState(change) {
      document.body.dataset.link = change.state;
      if (change.state === "open") {
        clearTimeout(bannerTimer);
        bannerTimer = 0;
        if (banner) banner.hidden = true;
      } else if (change.state === "waiting") {
        missed = true;
        const say = () => showBanner(`Live updates are interrupted; next attempt in ${change.seconds} s. The pages still work.`);
        if (banner && !banner.hidden) say();
        else if (!bannerTimer) bannerTimer = setTimeout(say, QUIET_MS);
      } else if (change.state === "closed" && change.code === SIGNED_OUT) {
        showBanner("You are signed out. Reload the page to sign in again.");
      }
    },
  });

  banner?.querySelector("button")?.addEventListener("click", () => socket.retryNow());
  document.addEventListener("visibilitychange", () => {
    if (document.body.dataset.link === "open") catchUp();
  });
  window.addEventListener("pagehide", () => socket.close());
  window.addEventListener("pageshow", (event) => {
    // A page out of the back/forward cache shows what was true when it was left.
    if (event.persisted) {
      missed = true;
      socket.open();
    }
  });
  socket.open();
}
