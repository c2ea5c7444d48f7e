import assert from "node:assert/strict";
import { test } from "node:test";

import { Acknowledger } from "../terminal/flow.js";

function fixture(every = 100) {
  const sent = [];
  let pending = null;
  const timers = {
    set(task) {
      assert.equal(pending, null, "one timer at a time");
      pending = task;
      return task;
    },
    clear(timer) {
      assert.equal(timer, pending);
      pending = null;
    },
  };
  const acknowledger = new Acknowledger((total) => sent.push(total), { every, timers });
  return {
    acknowledger,
    sent,
    elapse() {
      const task = pending;
      pending = null;
      task?.();
    },
  };
}

test("acknowledges the running total once enough was drawn", () => {
  const { acknowledger, sent } = fixture();
  acknowledger.consumed(60);
  assert.deepEqual(sent, []);
  acknowledger.consumed(40);
  assert.deepEqual(sent, [100]);
  acknowledger.consumed(250);
  assert.deepEqual(sent, [100, 350]);
});

test("acknowledges the rest when nothing more comes, and only once", () => {
  const { acknowledger, sent, elapse } = fixture();
  acknowledger.consumed(10);
  acknowledger.consumed(5);
  elapse();
  elapse();
  assert.deepEqual(sent, [15]);
});

test("a full step leaves no timer behind", () => {
  const { acknowledger, sent, elapse } = fixture();
  acknowledger.consumed(10);
  acknowledger.consumed(95);
  elapse();
  assert.deepEqual(sent, [105]);
});

test("a new socket counts from zero", () => {
  const { acknowledger, sent, elapse } = fixture();
  acknowledger.consumed(130);
  acknowledger.consumed(10);
  acknowledger.reset();
  elapse();
  acknowledger.consumed(100);
  assert.deepEqual(sent, [130, 100]);
  assert.equal(acknowledger.total, 100);
});

test("whatever the pieces, the last total is everything drawn and no step is exceeded", () => {
  for (let round = 0; round < 200; round += 1) {
    const { acknowledger, sent, elapse } = fixture(1000);
    let drawn = 0;
    for (let piece = 0; piece < 50; piece += 1) {
      const size = 1 + ((round * 7919 + piece * 104729) % 900);
      acknowledger.consumed(size);
      drawn += size;
      assert.ok(drawn - (sent.at(-1) ?? 0) < 1000);
    }
    elapse();
    assert.equal(sent.at(-1), drawn);
    assert.deepEqual(sent, [...sent].sort((a, b) => a - b));
  }
});
