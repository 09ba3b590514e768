"""Drives the KurrentDB protocol with its client for Python: `python kurrentdb_face.py kurrentdb://host:port?tls=false`.

Every line says what was seen; the first thing that is not so ends it with a failure.
"""

import asyncio
import json
import sys
import time
import uuid

from kurrentdbclient import (
    AsyncKurrentDBClient,
    KurrentDBClient,
    NewEvent,
    NewEvents,
    NewRecord,
    StreamState,
    StreamStateCheck,
)
from kurrentdbclient.exceptions import (
    AlreadyExistsError,
    BadRequestError,
    ConsistencyChecksFailedError,
    DeadlineExceededError,
    KurrentDBClientError,
    MaximumAppendSizeExceededError,
    MaximumSubscriptionsReachedError,
    NotFoundError,
    RecordMaxSizeExceededError,
    StreamIsDeletedError,
    StreamTombstonedError,
    WrongCurrentVersionError,
)

if len(sys.argv) != 2:
    sys.exit("usage: python kurrentdb_face.py <connection string>")
connection = sys.argv[1]
client = KurrentDBClient(connection)
run = uuid.uuid4().hex
steps = 0


def name(stream):
    return f"python_{run}-{stream}"


def event(n=0, type="counted"):
    return NewEvent(type=type, data=json.dumps({"n": n}).encode(), metadata=b'{"by":"python"}')


def events(count):
    return [event(n) for n in range(count)]


def refused(kind, call, *arguments, **keywords):
    try:
        call(*arguments, **keywords)
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


def step(what):
    def decorate(function):
        global steps
        function()
        steps += 1
        print(f"ok   {what}", flush=True)

    return decorate


@step("each expected state")
def _():
    stream = name("states")
    first = client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=[event()])
    second = client.append_to_stream(stream, current_version=0, events=events(3))
    assert second > first, (first, second)
    client.append_to_stream(stream, current_version=StreamState.EXISTS, events=[event()])
    client.append_to_stream(stream, current_version=StreamState.ANY, events=[event()])
    for wrong in (StreamState.NO_STREAM, 1, 99):
        refused(WrongCurrentVersionError, client.append_to_stream, stream, current_version=wrong, events=[event()])
    assert client.get_current_version(stream) == 5
    assert client.get_current_version(name("absent")) == StreamState.NO_STREAM


@step("the same ids twice are written once")
def _():
    stream, twice = name("again"), events(2)
    first = client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=twice)
    again = client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=twice)
    assert first == again
    assert len(client.get_stream(stream)) == 2


@step("one event by the older call")
def _():
    stream = name("older")
    client.append_event(stream, current_version=StreamState.NO_STREAM, event=event(7))
    (read,) = client.get_stream(stream)
    assert (read.type, json.loads(read.data), read.metadata) == ("counted", {"n": 7}, b'{"by":"python"}')
    assert read.content_type == "application/json" and read.recorded_at is not None


@step("several streams at once")
def _():
    a, b = name("multi-a"), name("multi-b")
    client.multi_append_to_stream(
        [
            NewEvents(a, events=events(2), current_version=StreamState.NO_STREAM),
            NewEvents(b, events=events(1), current_version=StreamState.ANY),
        ]
    )
    assert (len(client.get_stream(a)), len(client.get_stream(b))) == (2, 1)
    mixed = [
        NewEvents(a, events=events(1), current_version=StreamState.ANY),
        NewEvents(b, events=events(1), current_version=7),
    ]
    error = refused(WrongCurrentVersionError, client.multi_append_to_stream, mixed)
    assert error.stream_name == b and error.expected_version == 7 and error.actual_version == 0
    assert len(client.get_stream(a)) == 2, "nothing was written"


@step("records of several streams under conditions, and which of them do not hold")
def _():
    a, b = name("records-a"), name("records-b")

    def record(stream):
        return NewRecord(stream_name=stream, type="counted", data=b"{}")

    def check(stream, state):
        return StreamStateCheck(stream_name=stream, expected_state=state)

    client.append_records([record(a), record(b), record(a)], [check(a, StreamState.NO_STREAM)])
    assert (len(client.get_stream(a)), len(client.get_stream(b))) == (2, 1)
    checks = [check(b, 0), check(a, 0), check(name("none"), StreamState.EXISTS)]
    error = refused(ConsistencyChecksFailedError, client.append_records, [record(a)], checks)
    told = [(f.check_index, f.stream_state_failure.stream_name, f.stream_state_failure.actual_state) for f in error.failures]
    assert told == [(1, a, 1), (2, name("none"), -1)], told
    assert len(client.get_stream(a)) == 2, "nothing was written"


@step("what is too large, too late or to a stream that ended, each by its own error")
def _():
    stream = name("refused")
    beyond = NewEvent(type="large", data=bytes((16 << 20) + 1), content_type="application/octet-stream")

    def append(events, stream=stream, **options):
        client.append_to_stream(stream, current_version=StreamState.ANY, events=events, **options)

    refused(MaximumAppendSizeExceededError, append, [beyond])
    refused(RecordMaxSizeExceededError, client.multi_append_to_stream, [NewEvents(stream, events=[beyond], current_version=StreamState.ANY)])
    # Of what was too late nobody knows whether it was written.
    refused(DeadlineExceededError, append, event(), stream=name("late"), timeout=0)
    refused(DeadlineExceededError, append, events(1), stream=name("late"), timeout=0)
    assert "name" in str(refused(BadRequestError, append, events(1), stream=""))
    refused(NotFoundError, client.get_stream, stream)
    client.tombstone_stream(stream, current_version=StreamState.NO_STREAM)
    refused(StreamTombstonedError, client.multi_append_to_stream, [NewEvents(stream, events=events(1), current_version=StreamState.ANY)])


@step("a stream in both directions")
def _():
    stream = name("read")
    client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=events(1500))

    def positions(**options):
        return [e.stream_position for e in client.get_stream(stream, **options)]

    assert positions() == list(range(1500))
    assert positions(backwards=True) == list(reversed(range(1500)))
    assert positions(stream_position=1498) == [1498, 1499]
    assert positions(stream_position=1, backwards=True) == [1, 0]
    assert positions(limit=2) == [0, 1]


@step("everything, filtered, in both directions")
def _():
    start = client.get_commit_position()
    client.append_to_stream(name("all-a"), current_version=StreamState.ANY, events=[event(1, f"{run}A"), event(2, f"{run}B")])
    client.append_to_stream(name("all-b"), current_version=StreamState.ANY, events=[event(3, f"{run}A")])

    def numbers(**options):
        return [json.loads(e.data)["n"] for e in client.read_all(**options)]

    assert numbers(commit_position=start, filter_include=(f"{run}A",)) == [1, 3]
    assert numbers(commit_position=start, filter_include=(rf".*{run}-all-.*",), filter_by_stream_name=True) == [1, 2, 3]
    newest = numbers(backwards=True, filter_include=(rf".*{run}-all-.*",), filter_by_stream_name=True, limit=2)
    assert newest == [3, 2]
    # Without a filter of the caller's, the client excludes the system's events by a look-ahead.
    assert all(not e.type.startswith("$") for e in client.read_all(limit=100))


@step("a subscription to a stream, caught up and live")
def _():
    stream = name("followed")
    client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=events(3))
    with client.subscribe_to_stream(stream, stream_position=0, include_caught_up=True) as subscription:
        came = []
        for e in subscription:
            if getattr(e, "is_caught_up", False):
                came.append("caught up")
                client.append_to_stream(stream, current_version=2, events=events(2))
                continue
            came.append(e.stream_position)
            if e.stream_position == 4:
                break
    assert came == [1, 2, "caught up", 3, 4], came


@step("a filtered subscription to everything, with checkpoints")
def _():
    stream = name("filtered")
    last = client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=events(2))
    with client.subscribe_to_all(
        filter_include=(rf"{stream}",),
        filter_by_stream_name=True,
        include_checkpoints=True,
        window_size=4,
        checkpoint_interval_multiplier=1,
    ) as subscription:
        checkpoints, found = [], []
        for e in subscription:
            if getattr(e, "is_checkpoint", False):
                checkpoints.append(e.commit_position)
                if e.commit_position >= last:
                    break
            else:
                found.append(e.stream_position)
    assert found == [0, 1], found
    assert checkpoints == sorted(set(checkpoints)), checkpoints


@step("a category and a type as streams of links, read and followed")
def _():
    stream, type = name("links"), f"linked-{run}"
    client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=[event(1, type), event(2, type)])
    for of in (f"$ce-{name('x').split('-')[0]}", f"$et-{type}"):
        found = client.get_stream(of, backwards=True, limit=2, resolve_links=True)
        assert [(e.type, e.stream_name, e.link.stream_name) for e in found] == [(type, stream, of)] * 2, found
        assert [e.type for e in client.get_stream(of, backwards=True, limit=2)] == ["$>"] * 2
    with client.subscribe_to_stream(f"$et-{type}", resolve_links=True, include_caught_up=True) as subscription:
        came = []
        for e in subscription:
            if getattr(e, "is_caught_up", False):
                client.append_to_stream(name("links-2"), current_version=StreamState.ANY, events=[event(3, type)])
                continue
            came.append((json.loads(e.data)["n"], e.link.stream_position))
            if len(came) == 3:
                break
    assert came == [(1, 0), (2, 1), (3, 2)], came


@step("the same by the asynchronous client: appended, read, followed, worked off")
def _():
    async def all_of_it():
        asynchronous = AsyncKurrentDBClient(connection)
        await asynchronous.connect()
        try:
            stream = name("asynchronous")
            await asynchronous.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=events(3))
            assert [e.stream_position for e in await asynchronous.get_stream(stream)] == [0, 1, 2]
            try:
                await asynchronous.append_to_stream(stream, current_version=7, events=events(1))
                raise AssertionError("it was written")
            except WrongCurrentVersionError:
                pass
            followed = []
            async with await asynchronous.subscribe_to_stream(stream) as subscription:
                async for e in subscription:
                    followed.append(e.stream_position)
                    if len(followed) == 3:
                        await asynchronous.append_to_stream(stream, current_version=2, events=events(1))
                    if len(followed) == 4:
                        break
            assert followed == [0, 1, 2, 3], followed
            await asynchronous.create_subscription_to_stream("g", stream)
            worked = []
            async with await asynchronous.read_subscription_to_stream("g", stream) as consumer:
                async for e in consumer:
                    worked.append(e.stream_position)
                    await consumer.ack(e)
                    if len(worked) == 4:
                        break
            assert worked == [0, 1, 2, 3], worked
            await asynchronous.delete_subscription("g", stream)
        finally:
            await asynchronous.close()

    asyncio.run(asyncio.wait_for(all_of_it(), 60))


@step("metadata")
def _():
    stream = name("metadata")
    client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=events(5))
    metadata, version = client.get_stream_metadata(stream)
    assert (metadata, version) == ({}, StreamState.NO_STREAM)
    client.set_stream_metadata(stream, metadata={"$maxCount": 2, "colour": "blue"}, current_version=StreamState.NO_STREAM)
    metadata, version = client.get_stream_metadata(stream)
    assert (metadata, version) == ({"$maxCount": 2, "colour": "blue"}, 0)
    assert [e.stream_position for e in client.get_stream(stream)] == [3, 4]


@step("delete, and what comes after")
def _():
    stream = name("deleted")
    client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=events(2))
    client.delete_stream(stream, current_version=1)
    refused(NotFoundError, client.get_stream, stream)
    client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=events(1))
    assert [e.stream_position for e in client.get_stream(stream)] == [2]
    refused(WrongCurrentVersionError, client.delete_stream, stream, current_version=9)
    refused(NotFoundError, client.delete_stream, name("never"), current_version=StreamState.ANY)


@step("tombstone")
def _():
    stream = name("tombstoned")
    client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=events(2))
    client.tombstone_stream(stream, current_version=1)
    refused(StreamIsDeletedError, client.get_stream, stream)
    refused(StreamIsDeletedError, client.append_to_stream, stream, current_version=StreamState.ANY, events=events(1))


@step("a stream that is not there")
def _():
    refused(NotFoundError, client.get_stream, name("absent"))


def eventually(ask):
    until = time.monotonic() + 30
    while not (answer := ask()):
        assert time.monotonic() < until, "it never came to be"
    return answer


@step("a persistent subscription to a stream: retried, skipped, parked, replayed, acknowledged")
def _():
    stream = name("worked")
    client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=events(4))
    client.create_subscription_to_stream("g", stream, min_checkpoint_count=1, max_checkpoint_count=1)
    came = []
    with client.read_subscription_to_stream("g", stream, event_buffer_size=1, timeout=60) as subscription:
        for e in subscription:
            came.append((e.stream_position, e.retry_count))
            if came[-1] == (0, 0):
                subscription.nack(e, "retry")
            elif e.stream_position == 1:
                subscription.nack(e, "skip")
            elif e.stream_position == 2:
                subscription.nack(e, "park")
            else:
                subscription.ack(e)
            if e.stream_position == 3:
                break
        assert came == [(0, 0), (0, 1), (1, 0), (2, 0), (3, 0)], came
        eventually(lambda: client.get_subscription_info("g", stream).parked_message_count == 1)
        client.replay_parked_events("g", stream)
        for e in subscription:
            assert e.stream_position == 2, e
            subscription.ack(e)
            break
        eventually(lambda: client.get_subscription_info("g", stream).last_checkpointed_event_position == "3")
    assert [i.group_name for i in client.list_subscriptions_to_stream(stream)] == ["g"]
    client.update_subscription_to_stream("g", stream, max_retry_count=3)
    assert client.get_subscription_info("g", stream).max_retry_count == 3
    client.delete_subscription("g", stream)
    assert client.list_subscriptions_to_stream(stream) == []
    refused(NotFoundError, client.get_subscription_info, "g", stream)


@step("a persistent subscription to everything, from its end, filtered, limited")
def _():
    group, stream = f"python-{run}", name("of-all")
    client.append_to_stream(name("before"), current_version=StreamState.NO_STREAM, events=events(1))
    client.create_subscription_to_all(group, from_end=True, filter_include=(rf"{stream}",), filter_by_stream_name=True, max_subscriber_count=1)
    refused(AlreadyExistsError, client.create_subscription_to_all, group)
    client.append_to_stream(name("other"), current_version=StreamState.NO_STREAM, events=events(1))
    client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=events(3))
    with client.read_subscription_to_all(group, timeout=60) as subscription:
        refused(MaximumSubscriptionsReachedError, client.read_subscription_to_all, group)
        came = []
        for e in subscription:
            came.append((e.stream_name, e.stream_position))
            subscription.ack(e)
            if len(came) == 3:
                break
    assert came == [(stream, n) for n in range(3)], came
    client.delete_subscription(group)
    refused(NotFoundError, client.read_subscription_to_all, group)


@step("projections say that they are not served")
def _():
    refused(KurrentDBClientError, client.enable_projection, "p")


client.close()
print(f"{steps} steps, all as they should be")
