//! Traces that grow without end are the worst known fault of tracers like this one. These must not.

use std::collections::HashMap;

use crate::steps::{client, server, Start, World};
use spanlet::attach::Language;
use spanlet::enrich::span::TraceId;

const SECOND: u64 = 1000;
const HOUR: u64 = 3600 * SECOND;

/// Spans of the largest trace.
fn largest_trace(world: &World) -> usize {
    let mut sizes: HashMap<TraceId, usize> = HashMap::new();
    for span in &world.spans {
        *sizes.entry(span.trace_id).or_default() += 1;
    }
    sizes.values().copied().max().unwrap_or_default()
}

fn poll(id: u64, at: u64) -> Start {
    client(id, at).thread(99).to("10.9.9.9")
}

#[test]
fn a_background_loop_is_no_part_of_the_requests_served_meanwhile() {
    let mut world = World::new();
    let mut polls = Vec::new();
    let mut calls = Vec::new();
    for round in 0..500 {
        let (at, id) = (round * 100, round * 100 + 1);
        world.run(poll(id, at), at + 5);
        polls.push(id);
        if round < 2 {
            continue;
        }
        world.start(server(id + 1, at + 10).thread(11));
        world.run(poll(id + 2, at + 20), at + 25);
        polls.push(id + 2);
        world.run(client(id + 3, at + 30).thread(12), at + 35);
        calls.push((id + 3, id + 1));
        world.finish(id + 1, at + 50);
        world.wait(at + 60);
    }
    world.end(HOUR);
    polls.into_iter().for_each(|id| world.assert_root(id));
    for (call, request) in calls {
        world.assert_parent(call, request, "process");
    }
    assert_eq!(largest_trace(&world), 2);
}

#[test]
fn an_event_loop_that_polls_by_itself_does_not_poll_for_its_requests() {
    let mut world = World::new();
    for round in 0..100 {
        let (at, id) = (round * 100, round * 10 + 1);
        world.run(client(id, at).to("10.9.9.9"), at + 5);
        if round >= 2 {
            world.start(server(id + 1, at + 10));
            world.run(client(id + 2, at + 20).to("10.9.9.9"), at + 25);
            world.run(client(id + 3, at + 30), at + 35);
            world.finish(id + 1, at + 40);
        }
    }
    world.end(HOUR);
    world.assert_root(53);
    world.assert_parent(54, 52, "thread");
    assert_eq!(largest_trace(&world), 2);
}

#[test]
fn a_loop_that_a_request_starts_is_no_part_of_it() {
    let mut world = World::new();
    world.start(server(1, 0).thread(11));
    world.run(poll(2, 10), 12);
    world.finish(1, 20);
    for round in 0..1000 {
        let (at, id) = (SECOND + round * 100, 100 + round * 10);
        world.run(poll(id, at), at + 5);
    }
    world.end(HOUR);
    world.assert_root(2);
    assert_eq!(largest_trace(&world), 1);
}

#[test]
fn a_request_that_never_ends_stops_gathering_calls() {
    let mut world = World::new();
    world.start(server(1, 0));
    for round in 0..3600 {
        let at = SECOND * (1 + round);
        world.run(client(10 + round, at), at + 100);
        world.wait(at + 300);
    }
    world.end(HOUR + SECOND);
    let in_time = 600;
    assert_eq!(largest_trace(&world), 1 + in_time);
    world.assert_parent(10 + 599, 1, "thread");
    world.assert_root(10 + 600);
    assert_eq!(world.counts().refused_age, 3600 - in_time as u64);
}

#[test]
fn an_event_stream_of_an_hour_with_thousands_of_calls_is_bounded() {
    let mut world = World::new();
    world.start(server(1, 0));
    for round in 0..36_000 {
        let at = 100 * (1 + round);
        world.run(client(10 + round, at), at + 50);
        world.wait(at + 60);
    }
    world.end(HOUR + SECOND);
    assert_eq!(largest_trace(&world), 1 + 1000);
    assert_eq!(
        world.counts().refused_children + world.counts().refused_age,
        35_000
    );
    assert_eq!(world.spans.len(), 36_001);
}

#[test]
fn each_poll_over_one_connection_is_a_trace_of_its_own() {
    let mut world = World::new();
    for round in 0..3600 {
        let (at, id, position) = (round * SECOND, round * 10, round as u32 * 200);
        world.start(client(id, at).process(1).on_connection(5, position));
        world.start(server(id + 1, at + 1).process(2).on_connection(5, position));
        world.finish(id + 1, at + 2);
        world.finish(id, at + 3);
        world.wait(at + 500);
    }
    world.end(HOUR);
    assert_eq!(largest_trace(&world), 2);
    assert_eq!(world.counts().by_connection, 3600);
}

#[test]
fn processes_that_call_each_other_in_a_circle_are_bounded_in_depth() {
    let mut world = World::new();
    world.start(server(1, 0).process(1));
    for hop in 0..500 {
        let (at, id) = (1 + hop * 2, 10 + hop * 10);
        let (from, to) = (1 + hop as u32 % 2, 2 - hop as u32 % 2);
        let thread = hop as u32;
        world.start(
            client(id, at)
                .process(from)
                .thread(thread)
                .on_connection(hop, 7),
        );
        world.start(
            server(id + 1, at + 1)
                .process(to)
                .thread(thread + 1)
                .on_connection(hop, 7),
        );
    }
    world.end(HOUR);
    assert!(largest_trace(&world) <= 64);
    assert!(world.counts().refused_depth > 0);
}

#[test]
fn a_pool_of_workers_does_not_tie_the_requests_together_that_it_works_for() {
    let mut world = World::new().language(1, Language::Java);
    world.start(server(1, 0).thread(11));
    (21..25).for_each(|worker| world.thread_born(1, 11, worker));
    for round in 1..3600 {
        let (at, id) = (round * SECOND, round * 10);
        world.start(server(id, at).thread(11));
        world.start(server(id + 1, at + 1).thread(12));
        for call in 0..4 {
            let worker = 21 + call as u32;
            world.run(client(id + 2 + call, at + 2).thread(worker), at + 5);
        }
        world.finish(id, at + 10);
        world.finish(id + 1, at + 11);
        world.wait(at + 500);
    }
    world.end(HOUR);
    let of_the_first = 4 * 600;
    assert!(largest_trace(&world) <= 1 + of_the_first);
    assert!(world.span(35_992).parent_span_id.is_none());
}

#[test]
fn an_hour_leaves_nothing_behind() {
    let mut world = World::new().language(1, Language::Python);
    for round in 0..36_000 {
        let (at, id) = (round * 100, round * 10 + 1);
        world.start(server(id, at).thread(11));
        // Its end is never told.
        world.thread_born(1, 11, 1000 + round as u32);
        world.run(client(id + 1, at + 1).thread(1000 + round as u32), at + 2);
        world.finish(id, at + 10);
        world.wait(at + 60);
        let (exchanges, threads) = world.enricher.held();
        assert!(
            exchanges <= 2 * 25 && threads <= 4096,
            "{exchanges}, {threads}"
        );
    }
    world.wait(HOUR + 5 * SECOND);
    assert_eq!(world.enricher.held().0, 0);
    assert_eq!(largest_trace(&world), 2);
}
