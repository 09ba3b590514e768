//! How long an answer takes does not tell whether a user's stream is there.

use crate::world::{Who, World};
use event_store::{Clock as _, ReadStream, StreamName, SystemClock};
use penguin_pool::security::{Caller, Gate};
use std::{sync::Arc, time::Duration};

/// The middle one.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn ratio(one: Duration, other: Duration) -> f64 {
    let (short, long) = (one.min(other), one.max(other));
    long.as_secs_f64() / short.as_secs_f64().max(1e-9)
}

/// How many events there are that must not be read to find out that they may not be.
const EVENTS: usize = 500;

/// A world with a user's stream of many events: it, and one that is not there.
async fn start() -> (World, String, String) {
    let world = World::start().await;
    let kept = world.keep().await;
    let [there, missing] = ["1", "2"].map(|loan| format!("user-{}-loans-{loan}", kept.owner));
    for _ in 0..EVENTS {
        world.say(&there, "Changed").await;
    }
    (world, there, missing)
}

/// What is asked at the gate, in turn, so that whatever else the machine does slows both alike.
#[tokio::test]
async fn a_users_stream_that_may_not_be_read_takes_as_long_as_one_that_is_not_there() {
    const CALLS: usize = 2000;
    let (world, there, missing) = start().await;
    let [there, missing] = [there, missing].map(|name| StreamName::new(name).unwrap());
    let bound = Gate::new(Arc::clone(&world.store)).bind(&Caller::user("oscar", &[]));
    let mut times = [Vec::with_capacity(CALLS), Vec::with_capacity(CALLS)];
    for _ in 0..CALLS {
        for (stream, times) in [&there, &missing].into_iter().zip(&mut times) {
            let began = SystemClock.monotonic();
            assert!(bound.read_stream(stream, ReadStream::forwards(EVENTS)).await.is_err());
            times.push(SystemClock.monotonic() - began);
        }
    }
    let [there, missing] = times.map(median);
    println!("at the gate: there {there:?}, missing {missing:?}");
    // Both look up one stream's metadata: of one it is found, of the other that there is none. Reading the events would
    // take a hundred times as long.
    assert!(ratio(there, missing) < 20.0, "there {there:?}, missing {missing:?}");
}

/// The same through the whole of HTTP.
#[tokio::test]
async fn over_http_it_takes_as_long_too() {
    const CALLS: usize = 300;
    let (world, there, missing) = start().await;
    let mut times = [Vec::with_capacity(CALLS), Vec::with_capacity(CALLS)];
    for _ in 0..CALLS {
        for (stream, times) in [&there, &missing].into_iter().zip(&mut times) {
            let path = format!("/api/streams/{stream}/events?limit=1000");
            let request = world.request(Who::Other, "", "GET", &path);
            let began = SystemClock.monotonic();
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 404);
            answer.bytes().await.unwrap();
            times.push(SystemClock.monotonic() - began);
        }
    }
    let [there, missing] = times.map(median);
    println!("over HTTP: there {there:?}, missing {missing:?}");
    assert!(ratio(there, missing) < 3.0, "there {there:?}, missing {missing:?}");
}
