// Drives a running service with npm's own socket.io-client: both namespaces, both ports, each transport alone.
// Usage: node sockets.mjs <path of the binary>. Ends on a line like cargo's, for the count of tests.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { io } from "socket.io-client";
import WebSocket from "ws";

const PATIENCE = 20_000;
// A service that is watched, and goes away and comes back.
const shop = createServer((socket) => socket.destroy());
await once(shop.listen(0, "127.0.0.1"), "listening");
const { port } = shop.address();
const environment = { UPTIME_SERVICES: `shop=tcp://127.0.0.1:${port}`, HTTP_PORT: "0", WS_PORT: "0", KURRENTDB_PORT: "off", DATA_DIR: ":memory:", LOG_FORMAT: "json", LOG_LEVEL: "info" };
const service = spawn(process.argv[2], [], { env: { ...environment, PATH: process.env.PATH }, cwd: import.meta.dirname });
service.stderr.pipe(process.stderr);
const stopped = once(service, "exit");
process.on("exit", () => service.kill("SIGKILL"));

/** Waits for a promise, and not for ever. */
function soon(what, promise) {
  let timer;
  const timeout = new Promise((_, refuse) => {
    timer = setTimeout(() => refuse(new Error(`waited too long: ${what}`)), PATIENCE);
  });
  const outcome = Promise.race([promise, timeout]).finally(() => clearTimeout(timer));
  // It fails the test that awaits it, and not the process while another is awaited.
  outcome.catch(() => {});
  return outcome;
}

/** The first event of this name for which `wanted` holds. */
function next(socket, name, wanted = () => true) {
  return soon(name, new Promise((resolve) => {
    const listen = (data) => {
      if (!wanted(data)) return;
      socket.off(name, listen);
      resolve(data);
    };
    socket.on(name, listen);
  }));
}

async function addresses() {
  for await (const line of createInterface({ input: service.stdout })) {
    const fields = JSON.parse(line).fields ?? JSON.parse(line);
    if (fields.url) return [fields.url, `http://${fields.sockets}`];
  }
  throw new Error("the service did not become ready");
}

function open(address, namespace, transports) {
  return io(address + namespace, { transports, forceNew: true, reconnection: false });
}

async function post(url, body) {
  const answer = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  assert.equal(answer.status, 201, await answer.clone().text());
  return (await answer.json()).data;
}

let passed = 0;
let failed = 0;
async function test(name, body) {
  try {
    await body();
    passed += 1;
    console.log(`test ${name} ... ok`);
  } catch (error) {
    failed += 1;
    console.log(`test ${name} ... FAILED\n${error.stack}`);
  }
}

const [http, apart] = await soon("ready", addresses());
service.stdout.resume();
const isTime = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
let streams = 0;

for (const address of [http, apart]) {
  for (const transports of [["websocket"], ["polling"], ["polling", "websocket"]]) {
    const by = `on ${address === http ? "HTTP_PORT" : "WS_PORT"} by ${transports.join(" then ")}`;

    await test(`/ws/health ${by}`, async () => {
      const socket = open(address, "/ws/health", transports);
      const [greeting, status] = await Promise.all([
        next(socket, "connection"),
        next(socket, "health_status", (status) => status.services.kurrentdb !== "unknown"),
      ]);
      assert.equal(greeting.type, "connection");
      assert.match(greeting.message, /./);
      assert.match(greeting.timestamp, isTime);
      assert.equal(status.type, "health_status");
      assert.equal(status.services.proxy, "healthy");
      // Slow is degraded, and how slow the store is here is the machine's matter.
      assert.match(status.services.kurrentdb, /^(healthy|degraded)$/);
      socket.disconnect();
    });

    await test(`/ws/streams ${by}`, async () => {
      const stream = `loans-${(streams += 1)}`;
      await post(`${http}/api/streams/create`, { streamName: stream, eventType: "Lent", eventData: { n: 0 } });
      const written = Array.from({ length: 500 }, (_, n) => ({ eventType: "Lent", eventData: { n: n + 1 } }));
      await post(`${http}/api/streams/${stream}/events/batch`, { events: written });
      const socket = open(address, "/ws/streams", transports);
      const seen = [];
      socket.on("event", (event) => seen.push(event));
      const caughtUp = next(socket, "caught_up");
      const answer = await socket.timeout(PATIENCE).emitWithAck("subscribe", { streamName: stream, from: 100 });
      assert.equal(answer.success, true, JSON.stringify(answer));
      assert.deepEqual(await caughtUp, { subscriptionId: answer.subscriptionId, resume: { after: 500 } });
      const last = next(socket, "event", (event) => event.data.n === 501);
      await post(`${http}/api/streams/${stream}/events`, { eventType: "Lent", eventData: { n: 501 } });
      await last;
      assert.deepEqual(seen.map((event) => event.revision), Array.from({ length: 402 }, (_, n) => n + 100));
      assert.ok(seen.every((event) => event.subscriptionId === answer.subscriptionId && event.data.n === event.revision));

      const everything = await socket.timeout(PATIENCE).emitWithAck("subscribe", { all: true, filter: { prefix: stream } });
      const live = next(socket, "event", (event) => event.subscriptionId === everything.subscriptionId);
      await post(`${http}/api/streams/${stream}/events`, { eventType: "Lent", eventData: { n: 502 } });
      assert.equal((await live).data.n, 502);
      const ended = await socket.timeout(PATIENCE).emitWithAck("unsubscribe", { subscriptionId: answer.subscriptionId });
      assert.deepEqual(ended, { success: true, ended: true });

      await fetch(`${http}/api/streams/${stream}?mode=tombstone`, { method: "DELETE" });
      const refused = await socket.timeout(PATIENCE).emitWithAck("subscribe", { streamName: stream });
      assert.equal(refused.type, "stream-deleted");
      const wrong = await socket.timeout(PATIENCE).emitWithAck("subscribe", { streamName: stream, form: 1 });
      assert.equal(wrong.type, "validation-failed");
      socket.disconnect();
    });
  }

  await test(`an unknown namespace is refused, and its connection serves others, on ${address}`, async () => {
    const socket = open(address, "/ws/nothing", ["websocket"]);
    const [error] = await soon("a refusal", once(socket, "connect_error"));
    assert.equal(error.message, "Invalid namespace");
    socket.disconnect();
  });

  await test(`a plain WebSocket on ${address}`, async () => {
    const socket = new WebSocket(`${address.replace("http", "ws")}/ws/health`, { origin: "http://localhost:3000" });
    const messages = [];
    socket.on("message", (text) => messages.push(JSON.parse(text)));
    await soon("two messages", new Promise((resolve) => socket.on("message", () => messages.length >= 2 && resolve())));
    assert.deepEqual(messages.slice(0, 2).map((message) => message.type), ["connection", "health_status"]);
    socket.close();
  });

  await test(`a page from elsewhere gets no WebSocket on ${address}`, async () => {
    const socket = new WebSocket(`${address.replace("http", "ws")}/ws/health`, { origin: "https://evil.example" });
    const [error] = await soon("a refusal", once(socket, "error"));
    assert.match(error.message, /403/);
  });
}

await test("a change of a watched service reaches each kind of client", async () => {
  const check = async (status) => {
    const end = Date.now() + PATIENCE;
    for (let now; now !== status; now = (await (await fetch(`${http}/api/uptime/status`)).json()).services.shop) {
      assert.ok(Date.now() < end, `the shop is never ${status}`);
      assert.equal((await fetch(`${http}/api/uptime/check`, { method: "POST" })).status, 200);
    }
  };
  await check("up");
  const sockets = [open(http, "/ws/health", ["websocket"]), open(apart, "/ws/health", ["polling"])];
  await Promise.all(sockets.map((socket) => next(socket, "health_status")));
  for (const status of ["down", "up"]) {
    // Listened to from the start: both may come in one answer to a long poll.
    const heard = sockets.map((socket) => soon("a change, and how things are after it", new Promise((resolve) => {
      let change;
      socket.on("service_status_change", (c) => {
        if (c.serviceName === "shop" && c.status === status) change = c;
      });
      socket.on("health_status", (after) => change && resolve([change, after]));
    })));
    if (status === "down") await new Promise((done) => shop.close(done));
    else await once(shop.listen(port, "127.0.0.1"), "listening");
    await check(status);
    for (const [change, after] of await Promise.all(heard)) {
      assert.equal(change.type, "service_status_change");
      assert.match(change.timestamp, isTime);
      assert.equal("error" in change.metadata, status === "down");
      assert.notEqual(after.services.proxy, "unhealthy");
    }
  }
  sockets.forEach((socket) => socket.disconnect());
  const { timeline } = (await (await fetch(`${http}/api/uptime/timeline/shop?hours=-1`)).json()).timeline;
  assert.deepEqual(timeline.map((record) => record.status), ["up", "down", "up"]);
});

await test("a subscription without an acknowledgement is refused by an event", async () => {
  const socket = open(http, "/ws/streams", ["websocket"]);
  const refused = next(socket, "subscription_error");
  socket.emit("subscribe", { form: 1 });
  assert.equal((await refused).type, "validation-failed");
  socket.disconnect();
});

await test("sockets are told that the service stops", async () => {
  const socket = open(http, "/ws/streams", ["websocket"]);
  const poller = open(apart, "/ws/streams", ["polling"]);
  const told = [];
  for (const each of [socket, poller]) {
    const answer = await each.timeout(PATIENCE).emitWithAck("subscribe", { all: true });
    assert.equal(answer.success, true);
    told.push(next(each, "subscription_error"), soon("a disconnect", once(each, "disconnect")));
  }
  service.kill("SIGTERM");
  const [first, , second] = await Promise.all(told);
  for (const error of [first, second]) {
    assert.equal(error.type, "shutting-down");
    assert.ok("after" in error.resume || "from" in error.resume);
  }
  assert.deepEqual(await soon("the end", stopped), [0, null]);
});

console.log(`test result: ${failed ? "FAILED" : "ok"}. ${passed} passed; ${failed} failed; 0 ignored; 0 measured; 0 filtered out`);
process.exit(failed ? 1 : 0);
