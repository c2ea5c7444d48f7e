import assert from "node:assert/strict";
import { test } from "node:test";

import { keySequence, withControl } from "../terminal/keys.js";
import { noticeFor } from "../terminal/notices.js";
import { countLines, needsLook, preview } from "../terminal/paste.js";
import { closing } from "../terminal/protocol.js";

test("a paste of one line goes through, several are shown first", () => {
  assert.equal(needsLook("ls -la"), false);
  assert.equal(needsLook("ls -la\n"), false);
  assert.equal(needsLook("ls\nrm -rf x"), true);
  assert.equal(needsLook("a\rb"), true);
  assert.equal(needsLook("x".repeat(20_001)), true);
  assert.equal(countLines("a\r\nb\r\nc\r\n"), 3);
});

test("the preview is bounded and shows control characters", () => {
  const text = preview(Array.from({ length: 100 }, (_, line) => `line ${line}`).join("\n"), 5);
  assert.equal(text.split("\n").length, 6);
  assert.match(text, /95 more lines/);
  assert.equal(preview("a\x1b[31mb"), "a␛[31mb");
  assert.ok(preview("x".repeat(5000)).length <= 200);
});

test("arrow keys follow the program's mode", () => {
  assert.equal(keySequence("up", false), "\x1b[A");
  assert.equal(keySequence("left", true), "\x1bOD");
  assert.equal(keySequence("shift-tab", false), "\x1b[Z");
  assert.equal(keySequence("unknown", false), "");
});

test("sticky Ctrl makes control characters of letters only", () => {
  assert.equal(withControl("c"), "\x03");
  assert.equal(withControl("C"), "\x03");
  assert.equal(withControl("["), "\x1b");
  assert.equal(withControl(" "), "\x00");
  assert.equal(withControl("1"), "1");
  assert.equal(withControl("ab"), "ab");
});

test("notices say what happened and when it is tried again", () => {
  assert.equal(noticeFor({ state: "open" }, null), null);
  assert.equal(noticeFor({ state: "connecting", attempt: 0 }, null), null);
  const waiting = noticeFor({ state: "waiting", seconds: 4, meaning: closing(1006) }, null);
  assert.match(waiting.text, /lost\. Trying again in 4 s\.$/);
  assert.equal(waiting.label, "Try now");
  assert.match(noticeFor({ state: "closed", meaning: closing(1000) }, 130).text, /code 130/);
  const gone = noticeFor({ state: "closed", meaning: closing(4404) }, null);
  assert.equal(gone.again, false);
});
