"""A node that asks who calls, and its client for Python: `python kurrentdb_accounts.py host:port ca.crt`.

With the accounts ada (an administrator) and bob, whose passwords are "correct-horse". Over TLS, because without it the
client does not send credentials.
"""

import sys
import uuid

from kurrentdbclient import KurrentDBClient, NewEvent, StreamState
from kurrentdbclient.exceptions import AccessDeniedError, KurrentDBClientError

if len(sys.argv) != 3:
    sys.exit("usage: python kurrentdb_accounts.py <host:port> <CA certificate>")
target, authority = sys.argv[1], open(sys.argv[2]).read()
run = uuid.uuid4().hex


def client(login, password="correct-horse"):
    return KurrentDBClient(f"kurrentdb://{login}:{password}@{target}?tls=true", root_certificates=authority)


def name(stream):
    return f"accounts_{run}-{stream}"


def events(count=1):
    return [NewEvent(type="counted", data=b"{}") for _ in range(count)]


def refused(kind, call, *arguments, **keywords):
    try:
        call(*arguments, **keywords)
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


ada, bob = client("ada"), client("bob")

stream = name("shared")
ada.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=events())
for stranger in (("ada", "wrong-password"), ("eve", "correct-horse")):
    with client(*stranger) as other:
        refused(KurrentDBClientError, other.append_to_stream, stream, current_version=StreamState.ANY, events=events())
        refused(KurrentDBClientError, other.get_stream, stream)
print("ok   whoever has an account comes in, and nobody else")

acl = {"$r": ["bob"], "$w": "$admins", "$d": "$admins", "$mr": "$admins", "$mw": "$admins"}
ada.set_stream_metadata(stream, metadata={"$acl": acl}, current_version=StreamState.ANY)
assert len(bob.get_stream(stream)) == 1
refused(AccessDeniedError, bob.append_to_stream, stream, current_version=StreamState.ANY, events=events())
refused(AccessDeniedError, bob.append_event, stream, current_version=StreamState.ANY, event=events()[0])
refused(AccessDeniedError, bob.delete_stream, stream, current_version=StreamState.ANY)
refused(AccessDeniedError, bob.set_stream_metadata, stream, metadata={}, current_version=StreamState.ANY)
as_ada = bob.construct_call_credentials("ada", "correct-horse")
bob.append_to_stream(stream, current_version=0, events=events(), credentials=as_ada)
assert len(bob.get_stream(stream)) == 2
print("ok   a stream's list says who reads and who writes, for each call by its own credentials")

secret = name("secret")
ada.append_to_stream(secret, current_version=StreamState.NO_STREAM, events=events())
ada.set_stream_metadata(secret, metadata={"$acl": {"$r": "$admins"}}, current_version=StreamState.ANY)
assert secret in {e.stream_name for e in ada.read_all()}
seen = {e.stream_name for e in bob.read_all()}
assert secret not in seen and stream in seen, seen
print("ok   of everything each sees what they may read")

refused(AccessDeniedError, bob.create_subscription_to_stream, "g", stream)
ada.create_subscription_to_stream("g", stream)
with ada.read_subscription_to_stream("g", stream) as subscription:
    for e in subscription:
        subscription.ack(e)
        break
ada.delete_subscription("g", stream)
print("ok   persistent subscriptions are an administrator's to make")

ada.close()
bob.close()
print("4 steps, all as they should be")
