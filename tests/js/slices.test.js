/** Files that go up in slices: from where they were, whatever happens on the way. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { SLICE } from "../../frontend/src/slices.js";
import { FileServer } from "../../frontend/src/uploads.js";
import { FakeTimers, owner, requestClass, settle } from "./fakes.js";

const FILE = { id: "u1", name: "a.bin", mime: "application/octet-stream", size: 25 };

/** A file for a server that, told to take ten bytes at a time, does not take it at once. */
const small = () => new File(["0123456789abcdefghijABCDE"], "a.bin", { type: "video/mp4" });

/** A server that says what a test says. */
function setUp(changes = {}) {
  const Request = requestClass();
  const timers = new FakeTimers();
  const mine = owner();
  const deleted = [];
  const fetch = async (url, options) => (deleted.push([options.method, url, options.headers.Authorization, options.keepalive]), new Response(null, { status: 204 }));
  const server = new FileServer("/chats/", mine, { XMLHttpRequest: Request, fetch, timers });
  const shares = [];
  const file = changes.file ?? small();
  const start = () => server.upload(file, (share) => shares.push(share));
  /** The request that waits for its answer, once there is one. */
  const next = async () => {
    await settle();
    return Request.all.at(-1);
  };
  const said = () => Request.all.map(({ method, url }) => `${method} ${url.replace("/chats/s1/", "")}`);
  return { Request, timers, mine, deleted, server, shares, file, start, next, said };
}

/** Be told that it has to come in slices, and begin. */
async function begin({ next }) {
  (await next()).answer(413, { error: "slices_expected", detail: "…" });
  (await next()).answer(201, { upload: "u1", offset: 0, slice: 10 });
}

test("what a server does not take at once goes up in slices of the size that it says", async () => {
  const up = setUp();
  const { done } = up.start();
  await begin(up);
  for (const offset of [10, 20, 25]) {
    const request = await up.next();
    assert.equal(request.headers.Authorization, "Bearer t1");
    request.upload.onprogress({ loaded: 5 });
    request.answer(200, { offset });
  }
  (await up.next()).answer(201, FILE);
  assert.deepEqual(await done, FILE);
  assert.deepEqual(up.said(), ["POST files/", "POST uploads/", "PUT uploads/u1/?offset=0", "PUT uploads/u1/?offset=10", "PUT uploads/u1/?offset=20", "POST uploads/u1/"]);
  assert.deepEqual(JSON.parse(up.Request.all[1].body), { name: "a.bin", mime: "video/mp4", size: 25 });
  assert.deepEqual(await Promise.all(up.Request.all.slice(2, 5).map(({ body }) => body.text())), ["0123456789", "abcdefghij", "ABCDE"]);
  assert.deepEqual(up.shares, [0.2, 0.6, 1]);
  assert.deepEqual(up.deleted, []);
});

test("more than a slice is not even tried at once", async () => {
  const file = new File([new Uint8Array(SLICE + 1)], "a.bin");
  const up = setUp({ file });
  up.start();
  await settle();
  assert.deepEqual(up.said(), ["POST uploads/"]);
  const exact = setUp({ file: new File([new Uint8Array(SLICE)], "a.bin") });
  exact.start();
  await settle();
  assert.deepEqual(exact.said(), ["POST files/"]);
});

test("a line that breaks in the middle is gone on with from where it was", async () => {
  const up = setUp();
  const { done } = up.start();
  await begin(up);
  (await up.next()).answer(200, { offset: 10 });
  (await up.next()).fail();
  await settle();
  up.timers.advance(10_000);
  (await up.next()).fail();
  await settle();
  up.timers.advance(10_000);
  // The first of them came through after all: only its answer was lost.
  (await up.next()).answer(200, { offset: 20 });
  (await up.next()).answer(502, "<html>bad gateway</html>");
  await settle();
  up.timers.advance(10_000);
  (await up.next()).answer(200, { offset: 25 });
  (await up.next()).answer(201, FILE);
  await done;
  const offsets = up.said().map((line) => line.split("=")[1]).filter(Boolean);
  assert.deepEqual(offsets, ["0", "10", "10", "10", "20", "20"]);
});

test("it waits until the line is back", async () => {
  const up = setUp();
  up.start();
  await begin(up);
  await settle();
  up.mine.state = { state: "offline" };
  up.Request.all.at(-1).fail();
  await settle();
  up.timers.advance(60_000);
  await settle();
  assert.equal(up.Request.all.length, 3);
  Object.assign(up.mine, { state: { state: "online" }, token: "t2" });
  up.mine.dispatchEvent(new Event("state"));
  const request = await up.next();
  assert.deepEqual([up.Request.all.length, request.url, request.headers.Authorization], [4, "/chats/s1/uploads/u1/?offset=0", "Bearer t2"]);
});

test("a server that knows better says where to go on", async () => {
  const up = setUp();
  const { done } = up.start();
  await begin(up);
  (await up.next()).answer(200, { offset: 20 });
  (await up.next()).answer(409, { error: "wrong_offset", offset: 10 });
  (await up.next()).answer(200, { offset: 20 });
  (await up.next()).answer(200, { offset: 25 });
  (await up.next()).answer(409, { error: "wrong_offset", offset: 20 });
  (await up.next()).answer(200, { offset: 25 });
  (await up.next()).answer(201, FILE);
  assert.deepEqual(await done, FILE);
  const offsets = up.said().slice(2).map((line) => line.split("=")[1] ?? "end");
  assert.deepEqual(offsets, ["0", "20", "10", "20", "end", "20", "end"]);
});

test("a server that never gets on is not asked for ever", async () => {
  const up = setUp();
  const { done } = up.start();
  const failed = assert.rejects(done, { code: "wrong_offset" });
  await begin(up);
  for (let tries = 0; tries < 7; tries++) {
    (await up.next()).answer(409, { error: "wrong_offset", detail: "no", offset: 0 });
    await settle();
    up.timers.advance(60_000);
  }
  await failed;
  assert.equal(up.deleted.length, 1);
});

test("it asks until the slices are put together", async () => {
  const up = setUp();
  const { done } = up.start();
  await begin(up);
  (await up.next()).answer(200, { offset: 25 });
  for (let polls = 0; polls < 50; polls++) {
    (await up.next()).answer(202, { offset: 25 });
    await settle();
    up.timers.advance(1000);
  }
  (await up.next()).answer(201, FILE);
  assert.deepEqual(await done, FILE);
});

test("what has failed for good goes on from there when it is tried again", async () => {
  const up = setUp();
  const { done } = up.start();
  const failed = assert.rejects(done, { code: "network" });
  await begin(up);
  (await up.next()).answer(200, { offset: 10 });
  for (let tries = 0; tries < 7; tries++) {
    (await up.next()).fail();
    await settle();
    up.timers.advance(60_000);
  }
  await failed;
  assert.deepEqual(up.deleted, []);
  const before = up.Request.all.length;
  up.start();
  // At once it is tried first: the server may take more by now.
  (await up.next()).answer(413, { error: "slices_expected" });
  assert.equal((await up.next()).url, "/chats/s1/uploads/u1/?offset=10");
  assert.equal(up.Request.all.length, before + 2);
});

test("what the server has given up begins again, once", async () => {
  const up = setUp();
  const { done } = up.start();
  await begin(up);
  (await up.next()).answer(200, { offset: 10 });
  (await up.next()).answer(404, { error: "not_found", detail: "" });
  (await up.next()).answer(201, { upload: "u2", offset: 0, slice: 10 });
  const request = await up.next();
  assert.equal(request.url, "/chats/s1/uploads/u2/?offset=0");
  request.answer(404, { error: "not_found", detail: "Nothing here." });
  await assert.rejects(done, { code: "not_found", message: "Nothing here." });
});

test("a refusal is told, and what was there is given up", async () => {
  const up = setUp();
  const { done } = up.start();
  await begin(up);
  (await up.next()).answer(415, { error: "type_mismatch", detail: "It is something else." });
  await assert.rejects(done, { code: "type_mismatch", message: "It is something else." });
  assert.deepEqual(up.deleted, [["DELETE", "/chats/s1/uploads/u1/", "Bearer t1", true]]);
});

test("a cancelled one is given up: while it runs, while it waits, and after it has failed", async () => {
  for (const when of ["running", "waiting", "failed"]) {
    const up = setUp();
    const { done, cancel } = up.start();
    const failed = assert.rejects(done, { code: when === "failed" ? "network" : "cancelled" });
    await begin(up);
    const request = await up.next();
    if (when !== "running") request.fail();
    await settle();
    for (let tries = 0; when === "failed" && tries < 6; tries++) {
      up.timers.advance(60_000);
      (await up.next()).fail();
      await settle();
    }
    if (when === "failed") await failed;
    cancel();
    await failed;
    assert.equal(request.aborted, when === "running", when);
    assert.deepEqual(up.deleted, [["DELETE", "/chats/s1/uploads/u1/", "Bearer t1", true]], when);
    assert.equal(up.timers.size, 0, when);
  }
});

test("one that is finished is not given up", async () => {
  const up = setUp();
  const { done, cancel } = up.start();
  await begin(up);
  (await up.next()).answer(200, { offset: 25 });
  (await up.next()).answer(201, FILE);
  await done;
  cancel();
  assert.deepEqual(up.deleted, []);
});

test("in another session it begins anew", async () => {
  const up = setUp();
  const first = up.start();
  await begin(up);
  await up.next();
  up.mine.session = "s2";
  first.cancel();
  await assert.rejects(first.done, { code: "cancelled" });
  assert.deepEqual(up.deleted, []);
  up.start();
  (await up.next()).answer(413, { error: "slices_expected" });
  assert.equal((await up.next()).url, "/chats/s2/uploads/");
});
