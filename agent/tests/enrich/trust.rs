//! What is known by the process alone: when it is believed, when it waits, when it is taken back.

use crate::steps::{client, server, World, OFFSET};
use spanlet::attach::Language;
use spanlet::clock::Monotonic;
use spanlet::decode::Step;
use spanlet::enrich::span::Kind;

/// Requests one after another, 10 ms each, with `gap` between them. `calls` says when calls start, from the request's
/// start; each takes 1 ms. Ids: requests 100, 200, …; their calls 101, 102, ….
fn serve(world: &mut World, requests: u64, gap: u64, calls: impl Fn(u64) -> Vec<u64>) -> u64 {
    let mut now = 0;
    for request in 1..=requests {
        now = (request - 1) * (10 + gap);
        world.start(server(request * 100, now));
        for (number, at) in (1..).zip(calls(request)) {
            world.run(client(request * 100 + number, now + at), now + at + 1);
        }
        world.finish(request * 100, now + 10);
        world.wait(now + 10);
    }
    now + 10
}

fn node() -> World {
    World::new().language(1, Language::Node)
}

#[test]
fn the_first_call_waits_and_is_believed_when_nothing_speaks_against_it() {
    let mut world = node();
    let now = serve(&mut world, 1, 0, |_| vec![5]);
    world.wait(now + 1900);
    assert_eq!(world.spans.len(), 1, "the request, not its call");
    world.wait(now + 2100);
    world.assert_parent(101, 100, "process");
}

#[test]
fn a_thread_that_called_for_nobody_is_not_believed_however_regularly_it_calls() {
    let mut world = World::new().language(1, Language::Python);
    for poll in 0..5 {
        world.run(client(1 + poll, poll * 20).thread(9), poll * 20 + 1);
    }
    for request in 1..=60 {
        let (id, at) = (request * 100, 1000 + request * 20);
        world.start(server(id, at));
        world.run(client(id + 1, at + 2), at + 4);
        world.run(client(id + 2, at + 5).thread(9), at + 6);
        world.finish(id, at + 19);
        world.wait(at + 19);
    }
    world.end(9000);
    for request in 1..=60 {
        world.assert_parent(request * 100 + 1, request * 100, "thread");
        world.assert_root(request * 100 + 2);
    }
}

#[test]
fn the_end_of_time_is_reached() {
    let mut world = node();
    let last = Monotonic(u64::MAX);
    for mut start in [server(1, 0), client(2, 0)] {
        start.0.origin.time = last;
        world.start(start);
    }
    for (id, start) in [(2, client(2, 0)), (1, server(1, 0))] {
        let mut exchange = start.exchange(0);
        (exchange.started, exchange.ended) = (last, last);
        assert_eq!(exchange.id.0, id);
        world.enricher.apply(Step::Finished(Box::new(exchange)));
    }
    world.enricher.spans(last, OFFSET, &mut world.spans);
    world.enricher.flush(OFFSET, &mut world.spans);
    assert_eq!(world.spans.len(), 2);
}

#[test]
fn what_each_request_does_is_soon_told_at_once() {
    let mut world = node();
    let now = serve(&mut world, 20, 0, |_| vec![3, 6]);
    world.wait(now + 150);
    assert_eq!(world.spans.len(), 60, "nothing waits any longer");
    for request in 1..=20 {
        world.assert_parent(request * 100 + 1, request * 100, "process");
        world.assert_parent(request * 100 + 2, request * 100, "process");
    }
}

#[test]
fn the_last_call_before_requests_that_overlap_is_believed_as_those_before() {
    let mut world = node();
    let now = serve(&mut world, 20, 0, |_| vec![5]);
    for round in 0..300 {
        let at = now + 1 + round * 10;
        world.start(server(100_000 + round * 2, at));
        world.run(server(100_001 + round * 2, at + 1), at + 8);
        world.finish(100_000 + round * 2, at + 9);
        world.wait(at + 9);
    }
    world.end(now + 4000);
    world.assert_parent(2001, 2000, "process");
}

#[test]
fn what_never_happens_while_nothing_is_served_is_told_at_once() {
    let mut world = node();
    let now = serve(&mut world, 90, 190, |request| {
        (0..request % 3).map(|number| 2 + number).collect()
    });
    world.wait(now + 150);
    assert_eq!(world.spans.len(), 90 + 90, "nothing waits any longer");
    for request in [1, 2, 4, 5, 11, 89] {
        world.assert_parent(request * 100 + 1, request * 100, "process");
    }
}

#[test]
fn a_poll_that_falls_into_requests_is_taken_back_when_one_falls_between() {
    let mut world = node();
    // Requests without a pause: every third has one, until one comes when nothing is served.
    let now = serve(&mut world, 150, 0, |request| {
        (0..u64::from(request % 3 == 0)).map(|_| 5).collect()
    });
    world.run(client(1, now + 20), now + 21);
    world.end(now + 30);
    let polls = || {
        world
            .spans
            .iter()
            .filter(|span| span.kind() == Kind::Client)
    };
    assert_eq!(polls().count(), 51);
    assert!(polls().all(|poll| poll.parent_span_id.is_none()));
}

#[test]
fn one_call_while_nothing_was_served_costs_parents_only_until_trust_is_earned_anew() {
    let mut world = node();
    world.run(client(1, 0), 1);
    let now = serve(&mut world, 60, 5, |_| vec![5]);
    world.end(now);
    world.assert_root(1);
    world.assert_parent(6001, 6000, "process");
}

#[test]
fn a_process_that_calls_by_itself_again_and_again_is_not_believed() {
    let mut world = node();
    for round in 0..4 {
        world.run(client(1 + round, round * 1500), round * 1500 + 1);
    }
    let start = 6000;
    world.start(server(50, start));
    world.run(client(51, start + 1), start + 2);
    world.end(start + 10);
    world.assert_root(51);
    assert_eq!(world.counts().refused_background, 1);
}
