// Drives the KurrentDB protocol with its official client for Node: `node kurrentdb.mjs kurrentdb://host:port?tls=false`.
// Every line says what was seen; the first thing that is not so ends it with a failure.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import {
  ANY, AppendConsistencyViolationError, AppendRecordSizeExceededError, BACKWARDS, DeadlineExceededError, END, FORWARDS,
  KurrentDBClient, MaxAppendSizeExceededError, NO_STREAM, PARK, PINNED_BY_CORRELATION,
  PersistentSubscriptionDoesNotExistError, PersistentSubscriptionDroppedError, PersistentSubscriptionExistsError,
  PersistentSubscriptionFailedError, PersistentSubscriptionMaximumSubscribersReachedError, RETRY, ROUND_ROBIN, SKIP,
  START, STREAM_EXISTS, STREAM_STATE, StreamDeletedError, StreamNotFoundError, StreamTombstonedError, UnknownError,
  WrongExpectedVersionError, binaryEvent, eventTypeFilter, excludeSystemEvents, jsonEvent,
  persistentSubscriptionToAllSettingsFromDefaults, persistentSubscriptionToStreamSettingsFromDefaults, streamNameFilter,
} from "@kurrent/kurrentdb-client";

const connection = process.argv[2];
if (!connection) throw new Error("usage: node kurrentdb.mjs <connection string>");
const client = KurrentDBClient.connectionString`${connection}`;
const run = randomUUID();
const name = (stream) => `node_${run}-${stream}`;
const event = (n, type = "counted") => jsonEvent({ type, data: { n }, metadata: { by: "node" } });
const events = (count) => Array.from({ length: count }, (_, n) => event(n));
const collect = async (iterable) => {
  const found = [];
  for await (const { event } of iterable) found.push(event);
  return found;
};
const steps = [];
const step = (what, run) => steps.push([what, run]);
// Follows until `enough` of what came holds, and not for ever.
const follow = (subscription, enough) => new Promise((resolve, reject) => {
  const came = [];
  const timer = setTimeout(() => reject(new Error(`it never came; so far ${JSON.stringify(came)}`)), 30_000);
  const take = (what) => {
    came.push(what);
    if (enough(came)) {
      clearTimeout(timer);
      resolve(came);
    }
  };
  subscription.on("data", ({ event }) => take(event.revision));
  subscription.on("caughtUp", () => take("caughtUp"));
  subscription.on("error", (error) => { clearTimeout(timer); reject(error); });
});

for (const [how, options] of [["batch", {}], ["append", { credentials: { username: "admin", password: "changeit" } }]]) {
  step(`each expected state, by ${how}`, async () => {
    const stream = name(`states-${how}`);
    const append = (streamState, list = events(1)) => client.appendToStream(stream, list, { streamState, ...options });
    const first = await append(NO_STREAM);
    assert.equal(first.success, true);
    assert.equal(first.nextExpectedRevision, 0n);
    const second = await append(0n, events(3));
    assert.equal(second.nextExpectedRevision, 3n);
    assert.ok(second.position.commit > first.position.commit);
    await append(STREAM_EXISTS);
    await append(ANY);
    for (const wrong of [NO_STREAM, 1n, 99n]) {
      await assert.rejects(append(wrong), (error) => {
        assert.ok(error instanceof WrongExpectedVersionError, String(error));
        assert.equal(error.actualState, 5n);
        assert.equal(error.streamName, stream);
        return true;
      });
    }
  });
  step(`the same ids twice are written once, by ${how}`, async () => {
    const stream = name(`again-${how}`);
    const list = events(2);
    const first = await client.appendToStream(stream, list, { streamState: NO_STREAM, ...options });
    const again = await client.appendToStream(stream, list, { streamState: NO_STREAM, ...options });
    assert.deepEqual(again, first);
  });
}

step("a large batch in chunks", async () => {
  const stream = name("chunks");
  const data = Buffer.alloc(100_000, 7);
  const list = Array.from({ length: 40 }, () => binaryEvent({ type: "large", data }));
  const written = await client.appendToStream(stream, list, { batchAppendSize: 1 << 20 });
  assert.equal(written.nextExpectedRevision, 39n);
  const read = await collect(client.readStream(stream));
  assert.equal(read.length, 40);
  assert.ok(read.every((e) => !e.isJson && Buffer.compare(Buffer.from(e.data), data) === 0));
});

step("several streams at once", async () => {
  const [a, b] = [name("multi-a"), name("multi-b")];
  const string = (n) => jsonEvent({ type: "counted", data: { n }, metadata: { by: "node" } });
  const written = await client.multiStreamAppend([
    { streamName: a, events: [string(1), string(2)], expectedState: NO_STREAM },
    { streamName: b, events: [string(3)], expectedState: ANY },
  ]);
  assert.deepEqual(written.responses.map((r) => [r.streamName, r.revision]).sort(), [[a, 1n], [b, 0n]].sort());
  const wrong = client.multiStreamAppend([
    { streamName: a, events: [string(4)], expectedState: ANY },
    { streamName: b, events: [string(5)], expectedState: 7n },
  ]);
  await assert.rejects(wrong, (error) => error instanceof WrongExpectedVersionError);
  assert.equal((await collect(client.readStream(a))).length, 2, "nothing was written");
});

step("records of several streams under conditions, and which of them do not hold", async () => {
  const [a, b] = [name("records-a"), name("records-b")];
  const record = (streamName, n) => ({ streamName, record: jsonEvent({ type: "counted", data: { n } }) });
  const check = (streamName, expectedState) => ({ type: STREAM_STATE, streamName, expectedState });
  const written = await client.appendRecords([record(a, 1), record(b, 2), record(a, 3)], [check(a, NO_STREAM)]);
  assert.deepEqual(written.responses.map((r) => [r.streamName, r.revision]).sort(), [[a, 1n], [b, 0n]].sort());
  await assert.rejects(client.appendRecords([record(a, 4)], [check(b, 0n), check(a, 0n), check(name("none"), STREAM_EXISTS)]), (error) => {
    assert.ok(error instanceof AppendConsistencyViolationError, String(error));
    assert.deepEqual(error.violations.map((v) => [v.checkIndex, v.streamName, v.actualState]), [[1, a, 1n], [2, name("none"), NO_STREAM]]);
    return true;
  });
  assert.equal((await collect(client.readStream(a))).length, 2, "nothing was written");
});

step("what is too large, too late or to a stream that ended, each by its own error", async () => {
  const stream = name("refused");
  const large = (size) => binaryEvent({ type: "large", data: Buffer.alloc(size, 7) });
  const by = (kind, more = {}) => (error) => {
    assert.ok(error instanceof kind, String(error));
    for (const [key, value] of Object.entries(more)) assert.equal(error[key], value);
    return true;
  };
  const beyond = large((16 << 20) + 1);
  await assert.rejects(client.appendToStream(stream, beyond), by(MaxAppendSizeExceededError));
  const records = [{ streamName: stream, record: beyond }];
  await assert.rejects(client.appendRecords(records), by(AppendRecordSizeExceededError, { stream, maxSize: 16 << 20 }));
  await assert.rejects(client.appendToStream(stream, event(1), { deadline: -1_000 }), by(DeadlineExceededError));
  // A request that makes no sense: what is wrong with it is said.
  await assert.rejects(client.appendToStream("", event(1)), (error) => error instanceof UnknownError && /name/.test(error.message));
  await assert.rejects(collect(client.readStream(stream)), by(StreamNotFoundError, { streamName: stream }));
  await client.tombstoneStream(stream, { expectedRevision: NO_STREAM });
  await assert.rejects(client.appendRecords([{ streamName: stream, record: event(1) }]), by(StreamTombstonedError, { stream }));
});

step("a stream in both directions", async () => {
  const stream = name("read");
  await client.appendToStream(stream, events(1500));
  const revisions = async (options) => (await collect(client.readStream(stream, options))).map((e) => Number(e.revision));
  const all = Array.from({ length: 1500 }, (_, n) => n);
  assert.deepEqual(await revisions({ direction: FORWARDS, fromRevision: START }), all);
  assert.deepEqual(await revisions({ direction: BACKWARDS, fromRevision: END }), [...all].reverse());
  assert.deepEqual(await revisions({ fromRevision: 1498n }), [1498, 1499]);
  assert.deepEqual(await revisions({ direction: BACKWARDS, fromRevision: 1n }), [1, 0]);
  assert.deepEqual(await revisions({ maxCount: 2 }), [0, 1]);
  const [first] = await collect(client.readStream(stream, { maxCount: 1 }));
  assert.deepEqual([first.type, first.data, first.metadata, first.isJson], ["counted", { n: 0 }, { by: "node" }, true]);
});

step("everything, filtered, in both directions", async () => {
  await client.appendToStream(name("all-a"), [event(1, `${run}-a`), event(2, `${run}-b`)]);
  await client.appendToStream(name("all-b"), [event(3, `${run}-a`)]);
  const numbers = async (options) => (await collect(client.readAll(options))).map((e) => e.data.n);
  const type = eventTypeFilter({ prefixes: [`${run}-a`] });
  assert.deepEqual(await numbers({ filter: type }), [1, 3]);
  const stream = streamNameFilter({ regex: `^node_${run}-all-` });
  assert.deepEqual(await numbers({ filter: stream }), [1, 2, 3]);
  assert.deepEqual(await numbers({ filter: stream, direction: BACKWARDS, fromPosition: END, maxCount: 2 }), [3, 2]);
});

step("a subscription to a stream, caught up and live", async () => {
  const stream = name("followed");
  await client.appendToStream(stream, events(3));
  const subscription = client.subscribeToStream(stream, { fromRevision: 0n });
  const came = follow(subscription, (came) => came.includes(4n));
  subscription.once("caughtUp", () => client.appendToStream(stream, events(2)));
  assert.deepEqual(await came, [1n, 2n, "caughtUp", 3n, 4n]);
  await subscription.unsubscribe();
});

step("a filtered subscription to everything, with checkpoints", async () => {
  const stream = name("filtered");
  await client.appendToStream(stream, events(2));
  const checkpoints = [];
  const filter = streamNameFilter({
    prefixes: [stream],
    checkpointInterval: 1,
    checkpointReached: (_, position) => checkpoints.push(position),
  });
  const subscription = client.subscribeToAll({ fromPosition: START, filter });
  const came = await follow(subscription, (came) => came.includes("caughtUp"));
  assert.deepEqual(came, [0n, 1n, "caughtUp"]);
  assert.ok(checkpoints.length > 0);
  await subscription.unsubscribe();
});

step("subscriptions to everything by type, by pattern, and without the system's events", async () => {
  const [stream, mark] = [name("patterns"), `mark-${run}`];
  const here = (await client.appendToStream(name("before"), event(0))).position;
  await client.setStreamMetadata(stream, { colour: "blue" });
  await client.appendToStream(stream, [event(1, `${mark}-a`), event(2, `${mark}-b`), event(3, "other"), event(4, `${mark}-a`)]);
  for (const [filter, expected, systemless] of [
    [eventTypeFilter({ prefixes: [`${mark}-a`] }), [1, 4]],
    [eventTypeFilter({ prefixes: [`${mark}-b`, "oth"] }), [2, 3]],
    [eventTypeFilter({ regex: `^${mark}-(a|b)$` }), [1, 2, 4]],
    [streamNameFilter({ regex: "-patterns$" }), [1, 2, 3, 4]],
    [excludeSystemEvents(), [1, 2, 3, 4], true],
  ]) {
    const subscription = client.subscribeToAll({ fromPosition: here, filter });
    const came = [];
    for await (const { event } of subscription) {
      assert.ok(!(systemless && event.type.startsWith("$")), event.type);
      if (event.streamId === stream) came.push(event.data.n);
      if (came.length === expected.length) break;
    }
    assert.deepEqual(came, expected);
  }
});

step("a category and a type as streams of links, read and followed", async () => {
  const category = name("x").split("-")[0];
  const type = `linked-${run}`;
  const stream = name("links");
  await client.appendToStream(stream, [event(1, type), event(2, type)]);
  const links = async (of, options) => {
    const found = [];
    for await (const { event, link } of client.readStream(of, { direction: BACKWARDS, fromRevision: END, maxCount: 2, ...options })) {
      found.push([event.type, event.streamId, link?.streamId]);
    }
    return found;
  };
  for (const of of [`$ce-${category}`, `$et-${type}`]) {
    assert.deepEqual(await links(of, { resolveLinkTos: true }), [[type, stream, of], [type, stream, of]]);
    assert.deepEqual(await links(of, {}), [["$>", of, undefined], ["$>", of, undefined]]);
  }
  const subscription = client.subscribeToStream(`$et-${type}`, { fromRevision: START, resolveLinkTos: true });
  subscription.once("caughtUp", () => client.appendToStream(name("links-2"), event(3, type)));
  const came = [];
  for await (const { event, link } of subscription) {
    came.push([event.data.n, link.revision]);
    if (came.length === 3) break;
  }
  assert.deepEqual(came, [[1, 0n], [2, 1n], [3, 2n]]);
});

step("metadata", async () => {
  const stream = name("metadata");
  await client.appendToStream(stream, events(5));
  await client.setStreamMetadata(stream, { maxCount: 2, colour: "blue" });
  const { metadata } = await client.getStreamMetadata(stream);
  assert.deepEqual([metadata.maxCount, metadata.colour], [2, "blue"]);
  assert.deepEqual((await collect(client.readStream(stream))).map((e) => e.revision), [3n, 4n]);
});

step("delete, and what comes after", async () => {
  const stream = name("deleted");
  await client.appendToStream(stream, events(2));
  assert.ok((await client.deleteStream(stream)).position);
  await assert.rejects(collect(client.readStream(stream)), (error) => error instanceof StreamNotFoundError);
  const back = await client.appendToStream(stream, events(1), { streamState: NO_STREAM });
  assert.equal(back.nextExpectedRevision, 2n);
  await assert.rejects(client.deleteStream(stream, { expectedRevision: 9n }), (error) => {
    assert.ok(error instanceof WrongExpectedVersionError, String(error));
    assert.equal(error.actualState, 2n);
    return true;
  });
});

step("tombstone", async () => {
  const stream = name("tombstoned");
  await client.appendToStream(stream, events(2));
  await client.tombstoneStream(stream);
  const deleted = (error) => error instanceof StreamDeletedError && error.streamName === stream;
  await assert.rejects(collect(client.readStream(stream)), deleted);
  await assert.rejects(client.appendToStream(stream, events(1)), deleted);
});

step("a stream that is not there", async () => {
  await assert.rejects(collect(client.readStream(name("absent"))), (error) => error instanceof StreamNotFoundError);
});

step("a cluster of one is discovered", async () => {
  const discovering = KurrentDBClient.connectionString`${connection.replace("kurrentdb://", "kurrentdb+discover://")}`;
  await discovering.appendToStream(name("discovered"), events(1));
  await discovering.dispose();
});

// Takes what comes, one after the other; `answer` says what becomes of each, and ends it by saying nothing.
const consume = (subscription, answer) => new Promise((resolve, reject) => {
  const came = [];
  const timer = setTimeout(() => reject(new Error(`it never came; so far ${JSON.stringify(came)}`)), 30_000);
  subscription.on("error", (error) => { clearTimeout(timer); reject(error); });
  subscription.on("data", async (message) => {
    came.push([message.event.data.n, message.retryCount]);
    try {
      const [go, ...action] = answer(message, came);
      if (action.length) await subscription.nack(...action, message);
      else await subscription.ack(message);
      if (!go) {
        clearTimeout(timer);
        resolve(came);
      }
    } catch (error) { reject(error); }
  });
});
// Asks until it is so.
const eventually = async (ask) => {
  const until = Date.now() + 30_000;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    assert.ok(Date.now() < until, "it never came to be");
  }
};
const group = (changes) => persistentSubscriptionToStreamSettingsFromDefaults({
  startFrom: START, consumerStrategyName: ROUND_ROBIN, checkPointLowerBound: 1, ...changes,
});

step("a persistent subscription: retried, skipped, parked, replayed, acknowledged", async () => {
  const stream = name("worked");
  await client.appendToStream(stream, events(4));
  await client.createPersistentSubscriptionToStream(stream, "g", group());
  const subscription = client.subscribeToPersistentSubscriptionToStream(stream, "g", { bufferSize: 1 });
  const first = await consume(subscription, ({ event, retryCount }) => {
    if (event.data.n === 0 && retryCount === 0) return [true, RETRY, "again"];
    if (event.data.n === 1) return [true, SKIP, "not this one"];
    if (event.data.n === 2) return [true, PARK, "bad"];
    return [event.data.n < 3];
  });
  assert.deepEqual(first, [[0, 0], [0, 1], [1, 0], [2, 0], [3, 0]]);
  await eventually(async () => (await client.getPersistentSubscriptionToStreamInfo(stream, "g")).stats.parkedMessageCount === 1n);
  subscription.removeAllListeners();
  const replayed = consume(subscription, () => [false]);
  await client.replayParkedMessagesToStream(stream, "g");
  assert.deepEqual(await replayed, [[2, 0]]);
  const info = await eventually(async () => {
    const info = await client.getPersistentSubscriptionToStreamInfo(stream, "g");
    return info.stats.lastCheckpointedEventRevision === 3n && info;
  });
  assert.equal(info.settings.startFrom, START);
  assert.equal(info.stats.parkedMessageCount, 0n);
  await subscription.unsubscribe();
});

step("a persistent subscription to everything, filtered, pinned by correlation", async () => {
  const prefix = name("correlated");
  const settings = persistentSubscriptionToAllSettingsFromDefaults({
    startFrom: END, consumerStrategyName: PINNED_BY_CORRELATION,
  });
  await client.createPersistentSubscriptionToAll(run, settings, { filter: streamNameFilter({ prefixes: [prefix] }) });
  const subscriptions = [1, 2].map(() => client.subscribeToPersistentSubscriptionToAll(run, { bufferSize: 20 }));
  await Promise.all(subscriptions.map((s) => new Promise((resolve) => s.on("confirmation", resolve))));
  const owners = new Map();
  let left = 12;
  const done = new Promise((resolve, reject) => subscriptions.forEach((subscription, owner) => {
    subscription.on("error", reject);
    subscription.on("data", async (message) => {
      const id = message.event.metadata.$correlationId;
      if ((owners.get(id) ?? owner) !== owner) reject(new Error(`${id} went to two`));
      owners.set(id, owner);
      await subscription.ack(message);
      if (--left === 0) resolve();
    });
  }));
  for (let n = 0; n < 12; n += 1) {
    const correlated = jsonEvent({ type: "counted", data: { n }, metadata: { $correlationId: `id-${n % 4}` } });
    await client.appendToStream(`${prefix}-${n}`, correlated);
    await client.appendToStream(name(`other-${n}`), event(n));
  }
  await done;
  assert.equal(owners.size, 4);
  await Promise.all(subscriptions.map((s) => s.unsubscribe()));
  assert.deepEqual((await client.listPersistentSubscriptionsToAll()).map((i) => i.groupName), [run]);
  await client.deletePersistentSubscriptionToAll(run);
});

step("a persistent subscription: not acknowledged in time, it comes again and is parked in the end", async () => {
  const stream = name("timed");
  await client.appendToStream(stream, events(2));
  const settings = group({ messageTimeout: 1_000, maxRetryCount: 1, checkPointLowerBound: 1 });
  await client.createPersistentSubscriptionToStream(stream, "g", settings);
  const subscription = client.subscribeToPersistentSubscriptionToStream(stream, "g", { bufferSize: 1 });
  const came = [];
  for await (const message of subscription) {
    came.push([message.event.data.n, message.retryCount]);
    if (message.event.data.n === 0) continue;
    await subscription.ack(message);
    break;
  }
  assert.deepEqual(came, [[0, 0], [0, 1], [1, 0]]);
  await eventually(async () => (await client.getPersistentSubscriptionToStreamInfo(stream, "g")).stats.parkedMessageCount === 1n);
});

step("persistent subscriptions: changed, listed, limited, dropped, and errors by type", async () => {
  const stream = name("managed");
  const refused = (kind) => (error) => error instanceof kind && error.streamName === stream && error.groupName === "g";
  await assert.rejects(client.deletePersistentSubscriptionToStream(stream, "g"), refused(PersistentSubscriptionDoesNotExistError));
  await client.createPersistentSubscriptionToStream(stream, "g", group({ maxSubscriberCount: 1 }));
  await assert.rejects(client.createPersistentSubscriptionToStream(stream, "g", group()), refused(PersistentSubscriptionExistsError));
  await client.updatePersistentSubscriptionToStream(stream, "g", group({ maxSubscriberCount: 1, maxRetryCount: 3 }));
  const [listed] = await client.listPersistentSubscriptionsToStream(stream);
  assert.equal(listed.settings.maxRetryCount, 3);
  assert.ok((await client.listAllPersistentSubscriptions()).some((i) => i.eventSource === stream));
  const ended = (subscription) => new Promise((resolve) => subscription.on("error", resolve));
  const subscription = client.subscribeToPersistentSubscriptionToStream(stream, "g");
  subscription.resume();
  await new Promise((resolve) => subscription.on("confirmation", resolve));
  const second = client.subscribeToPersistentSubscriptionToStream(stream, "g");
  assert.ok(refused(PersistentSubscriptionMaximumSubscribersReachedError)(await ended(second)));
  const dropped = ended(subscription);
  await client.deletePersistentSubscriptionToStream(stream, "g");
  assert.ok(refused(PersistentSubscriptionDroppedError)(await dropped));
  const senseless = group({ readBatchSize: 500, historyBufferSize: 500 });
  await assert.rejects(client.createPersistentSubscriptionToStream(stream, "g", senseless), refused(PersistentSubscriptionFailedError));
  await client.restartPersistentSubscriptionSubsystem();
});

step("what is not served says so", async () => {
  await assert.rejects(client.listProjections());
  await assert.rejects(client.enableProjection("p"));
});

for (const [what, run] of steps) {
  await run();
  console.log(`ok   ${what}`);
}
console.log(`${steps.length} steps, all as they should be`);
await client.dispose();
