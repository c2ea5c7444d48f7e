import assert from "node:assert/strict";
import { test } from "node:test";

import { delayMs } from "../lib/backoff.js";
import { rank, score } from "../lib/fuzzy.js";
import { concerns, parseHint } from "../lib/hints.js";
import { describeFailure } from "../lib/http.js";
import { clock, relative } from "../lib/time.js";

test("back-off grows, is bounded, and is spread over half a step", () => {
  for (let attempt = 0; attempt < 20; attempt += 1) {
    const least = delayMs(attempt, () => 0);
    const most = delayMs(attempt, () => 1);
    assert.equal(most, 2 * least);
    assert.ok(most <= 15000);
    assert.ok(least >= delayMs(attempt - 1, () => 0));
  }
  assert.equal(delayMs(0, () => 1), 500);
});

test("relative times", () => {
  const now = Date.UTC(2026, 10, 23, 12);
  const ago = (seconds) => relative(now - seconds * 1000, now);
  assert.equal(ago(3), "just now");
  assert.equal(ago(50), "1 minute ago");
  assert.equal(ago(3 * 60 + 5), "3 minutes ago");
  assert.equal(ago(3 * 3600), "3 hours ago");
  assert.equal(ago(86400), "yesterday");
  assert.equal(ago(-7200), "in 2 hours");
  assert.equal(ago(400 * 86400), "last year");
});

test("running times", () => {
  assert.equal(clock(7), "0:07");
  assert.equal(clock(3723), "1:02:03");
  assert.equal(clock(-5), "0:00");
});

test("hints concern those who name their kind or the very thing", () => {
  const hints = [{ type: "session.changed", id: "a" }];
  assert.ok(concerns("session.changed", hints));
  assert.ok(concerns("operation.changed session.changed:a", hints));
  assert.ok(!concerns("session.changed:b operation.changed", hints));
  assert.ok(!concerns("", hints));
});

test("only hints are read from the live socket", () => {
  assert.deepEqual(parseHint('{"type":"x.y","id":"1","extra":{}}'), { type: "x.y", id: "1" });
  assert.deepEqual(parseHint('{"type":"x.y"}'), { type: "x.y", id: "" });
  for (const text of ["", "[1]", "null", '{"id":"1"}', new ArrayBuffer(2), `{"type":"${"x".repeat(70000)}"}`]) {
    assert.equal(parseHint(text), null);
  }
});

test("the palette finds by parts of words, best first", () => {
  const items = [{ label: "Audit" }, { label: "coi-ab12-1", hint: "session shop" }, { label: "shop", hint: "workspace" }];
  assert.deepEqual(rank("shop", items).map((item) => item.label), ["shop", "coi-ab12-1"]);
  assert.deepEqual(rank("", items).length, 3);
  assert.equal(score("zz", "Audit"), 0);
  assert.ok(score("ab12", "coi-ab12-1") > score("b12", "coi-ab12-1"));
});

test("failures speak with the panel's own words where there are some", () => {
  assert.deepEqual(describeFailure(409, { error: { code: "busy", message: "Wait." } }), { code: "busy", message: "Wait." });
  assert.deepEqual(describeFailure(400, { error: { code: "x", message: "No." } }), { code: "x", message: "No." });
  assert.equal(describeFailure(0, null).code, "unreachable");
  assert.match(describeFailure(502, null).message, /502/);
});
