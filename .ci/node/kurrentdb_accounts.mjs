// A node that asks who calls, and its official client for Node: `node kurrentdb_accounts.mjs host:port ca.crt`, with the
// accounts ada (an administrator) and bob, whose passwords are "correct-horse". Over TLS, because without it the client
// does not send credentials.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import {
  AccessDeniedError, END, FORWARDS, KurrentDBClient, PersistentSubscriptionDoesNotExistError, START, jsonEvent,
  persistentSubscriptionToStreamSettingsFromDefaults,
} from "@kurrent/kurrentdb-client";

const [, , target, authority] = process.argv;
if (!authority) throw new Error("usage: node kurrentdb_accounts.mjs <host:port> <CA certificate>");
const clients = [];
const as = (who) => {
  const client = KurrentDBClient.connectionString(`kurrentdb://${who}${target}?tls=true&tlsCAFile=${authority}`);
  clients.push(client);
  return client;
};
const [ada, bob, nobody] = [as("ada:correct-horse@"), as("bob:correct-horse@"), as("")];
const strangers = [nobody, as("bob:wrong-password@"), as("eve:correct-horse@")];
const run = randomUUID();
const name = (stream) => `accounts_${run}-${stream}`;
const event = (n) => jsonEvent({ type: "counted", data: { n } });
const collect = async (iterable) => {
  const found = [];
  for await (const { event } of iterable) found.push(event);
  return found;
};
const denied = (error) => {
  assert.ok(error instanceof AccessDeniedError, String(error));
  return true;
};
let steps = 0;
const step = async (what, run) => {
  await run();
  steps += 1;
  console.log(`ok   ${what}`);
};

await step("whoever has an account comes in, and nobody else", async () => {
  await ada.appendToStream(name("mine"), event(1));
  assert.equal((await collect(ada.readStream(name("mine")))).length, 1);
  for (const stranger of strangers) {
    await assert.rejects(stranger.appendToStream(name("mine"), event(2)), denied);
    await assert.rejects(stranger.deleteStream(name("mine")), denied);
    await assert.rejects(collect(stranger.readStream(name("mine"))));
  }
  assert.equal((await collect(ada.readStream(name("mine")))).length, 1, "nothing was written");
});

await step("a stream's list says who reads and who writes", async () => {
  const stream = name("shared");
  await ada.appendToStream(stream, event(1));
  await ada.setStreamMetadata(stream, {
    acl: { readRoles: ["bob"], writeRoles: ["$admins"], deleteRoles: ["$admins"], metaReadRoles: ["$admins"], metaWriteRoles: ["$admins"] },
  });
  assert.deepEqual((await collect(bob.readStream(stream))).map((e) => e.data.n), [1]);
  await assert.rejects(bob.appendToStream(stream, event(2)), denied);
  await assert.rejects(bob.deleteStream(stream), denied);
  await assert.rejects(bob.tombstoneStream(stream), denied);
  await assert.rejects(bob.setStreamMetadata(stream, {}), denied);
  // The same client with another's credentials for one call, which takes the older way of appending.
  const credentials = { username: "ada", password: "correct-horse" };
  await bob.appendToStream(stream, event(2), { credentials });
  await assert.rejects(ada.appendToStream(stream, event(3), { credentials: { username: "bob", password: "correct-horse" } }), denied);
  assert.deepEqual((await collect(bob.readStream(stream))).map((e) => e.data.n), [1, 2]);
});

await step("of everything each sees what they may read", async () => {
  const secret = name("secret");
  await ada.appendToStream(secret, event(1));
  await ada.setStreamMetadata(secret, { acl: { readRoles: ["$admins"] } });
  const streams = async (client) => new Set((await collect(client.readAll({ direction: FORWARDS, fromPosition: START }))).map((e) => e.streamId));
  assert.ok((await streams(ada)).has(secret));
  const seen = await streams(bob);
  assert.ok(!seen.has(secret) && seen.has(name("shared")));
});

await step("persistent subscriptions are an administrator's to make, and say who consumes", async () => {
  const [stream, settings] = [name("worked"), persistentSubscriptionToStreamSettingsFromDefaults({ startFrom: START })];
  await ada.appendToStream(stream, event(1));
  await assert.rejects(bob.createPersistentSubscriptionToStream(stream, "g", settings), denied);
  await assert.rejects(ada.deletePersistentSubscriptionToStream(stream, "g"), (error) => error instanceof PersistentSubscriptionDoesNotExistError);
  await ada.createPersistentSubscriptionToStream(stream, "g", settings);
  const subscription = ada.subscribeToPersistentSubscriptionToStream(stream, "g");
  for await (const message of subscription) {
    const { connections } = await ada.getPersistentSubscriptionToStreamInfo(stream, "g");
    assert.deepEqual(connections.map((c) => c.username), ["ada"]);
    await subscription.ack(message);
    break;
  }
  await ada.deletePersistentSubscriptionToStream(stream, "g");
});

await step("a subscription follows for whoever may", async () => {
  const stream = name("shared");
  const subscription = bob.subscribeToStream(stream, { fromRevision: END });
  await new Promise((resolve, reject) => {
    subscription.on("error", reject);
    subscription.on("data", resolve);
    subscription.once("caughtUp", () => ada.appendToStream(stream, event(3)).catch(reject));
  });
  await subscription.unsubscribe();
});

console.log(`${steps} steps, all as they should be`);
await Promise.all(clients.map((client) => client.dispose()));
