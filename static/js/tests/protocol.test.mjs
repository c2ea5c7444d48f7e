import assert from "node:assert/strict";
import { test } from "node:test";

import {
  ackFrame, binaryFrame, clampSize, CLOSE_CODES, closing, inputFrames, parseFrame, pingFrame, resizeFrame,
} from "../terminal/protocol.js";

test("every close code has words, and those that retry may be retried by hand", () => {
  for (const [code, entry] of Object.entries(CLOSE_CODES)) {
    assert.match(code, /^(1000|44\d\d|45\d\d)$/);
    assert.match(entry.name, /^[a-z]+(-[a-z]+)*$/);
    assert.match(entry.text, /\.$/);
    if (entry.retry) assert.ok(entry.again, entry.name);
  }
});

test("codes of the network mean a lost connection and are retried", () => {
  for (const code of [1001, 1006, 1011, 1012, 4999]) assert.equal(closing(code).retry, true);
  for (const code of [1000, 4401, 4404, 4410]) assert.equal(closing(code).retry, false);
});

test("sizes are brought into the range the server accepts", () => {
  assert.deepEqual(clampSize(0, 0), { cols: 2, rows: 1 });
  assert.deepEqual(clampSize(NaN, 100000), { cols: 2, rows: 1000 });
  assert.deepEqual(clampSize(80.9, 24.2), { cols: 80, rows: 24 });
});

test("frames to the server", () => {
  assert.equal(resizeFrame(80, 24), '{"type":"resize","cols":80,"rows":24}');
  assert.equal(ackFrame(131072), '{"type":"ack","bytes":131072}');
  assert.equal(pingFrame(3), '{"type":"ping","id":3}');
});

test("frames from the server: known ones are read, everything else is ignored", () => {
  assert.deepEqual(parseFrame('{"type":"exit","code":null}'), { type: "exit", code: null });
  assert.deepEqual(parseFrame('{"type":"exit","code":130}'), { type: "exit", code: 130 });
  assert.equal(parseFrame('{"type":"ready","shell":"tmux","cols":80,"rows":24}').shell, "tmux");
  for (const text of ["", "{", "null", "[]", "1", '{"type":"exit","code":"1"}', '{"type":"new-thing"}', '{"type":"state"}']) {
    assert.equal(parseFrame(text), null, text);
  }
});

test("input is UTF-8 in bounded frames whose bytes are the text's", () => {
  const text = "ä€😀x".repeat(5000);
  const frames = inputFrames(text, 1000);
  assert.ok(frames.every((frame) => frame.length <= 1000));
  assert.equal(new TextDecoder().decode(Buffer.concat(frames)), text);
  assert.deepEqual(inputFrames(""), []);
});

test("binary strings keep their bytes", () => {
  assert.deepEqual([...binaryFrame("\x1b[M\xff\x80")], [27, 91, 77, 255, 128]);
});
