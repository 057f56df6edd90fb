//! Parents within a process: each kind of evidence where it holds.

use crate::steps::{client, server, World};
use spanlet::attach::Language;

const CAME: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const OTHER_PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-1111111111111111-01";
const OTHER_TRACE: &str = "00-11111111111111111111111111111111-1111111111111111-01";

#[test]
fn a_thread_that_serves_one_request_asks_for_it() {
    let mut world = World::new().language(1, Language::Python);
    world.start(server(1, 0).thread(11));
    world.start(server(2, 0).thread(12));
    world.start(client(3, 1).thread(12));
    world.end(10);
    world.assert_parent(3, 2, "thread");
    world.assert_root(1);
    assert!(!world.span(3).parent_is_remote);
    assert_eq!(world.counts().by_thread, 1);
}

#[test]
fn the_one_request_of_a_process_is_the_parent_whatever_the_thread() {
    let mut world = World::new();
    world.start(server(1, 0).thread(11));
    world.start(client(2, 1).thread(12));
    world.end(10);
    world.assert_parent(2, 1, "process");
}

#[test]
fn a_goroutine_that_serves_asks_for_its_request() {
    let mut world = World::new().language(1, Language::Go);
    world.start(server(1, 0).goroutine(100, 1));
    world.start(server(2, 0).goroutine(200, 1));
    world.start(client(3, 1).goroutine(200, 1));
    world.start(client(4, 1).goroutine(201, 200));
    world.end(10);
    world.assert_parent(3, 2, "goroutine");
    world.assert_parent(4, 2, "goroutine");
}

#[test]
fn the_first_request_on_a_dialled_connection_belongs_to_who_dialled() {
    let mut world = World::new().language(1, Language::Go);
    world.start(server(1, 0).goroutine(100, 1));
    world.start(server(2, 0).goroutine(200, 1));
    // 200 asks: 300 dials, its child 301 writes.
    world.start(client(3, 6).goroutine(301, 300).dialled(300, 200, 5));
    world.end(10);
    world.assert_parent(3, 2, "goroutine");
}

#[test]
fn a_context_that_is_passed_on_as_it_came_does_not_hide_the_parent() {
    let mut world = World::new();
    world.start(server(1, 0).context("traceparent", CAME));
    world.start(client(2, 1).context("traceparent", CAME));
    world.end(10);
    world.assert_parent(2, 1, "thread");
    assert_eq!(world.evidence(1), "traceparent");
    assert_eq!(world.span(1).trace_id.to_string(), CAME[3..35]);
}

#[test]
fn a_context_that_a_library_wrote_wins() {
    for sent in [OTHER_PARENT, OTHER_TRACE] {
        let mut world = World::new();
        world.start(server(1, 0).context("traceparent", CAME));
        world.start(client(2, 1).context("traceparent", sent));
        world.end(10);
        let span = world.span(2);
        assert_eq!(world.evidence(2), "traceparent");
        assert_eq!(span.trace_id.to_string(), sent[3..35]);
        assert_eq!(
            span.parent_span_id.map(|id| id.to_string()).as_deref(),
            Some(&sent[36..52])
        );
    }
}

#[test]
fn a_context_of_its_own_wins_over_a_server_without_one() {
    let mut world = World::new();
    world.start(server(1, 0));
    world.start(client(2, 1).context("traceparent", CAME));
    world.end(10);
    assert_eq!(world.evidence(2), "traceparent");
}

#[test]
fn chains_share_one_trace() {
    let mut world = World::new();
    world.start(client(1, 0).process(1).on_connection(5, 77));
    world.start(server(2, 1).process(2).on_connection(5, 77));
    world.start(client(3, 2).process(2).on_connection(6, 88));
    world.start(server(4, 3).process(3).on_connection(6, 88));
    world.end(10);
    world.assert_root(1);
    world.assert_parent(2, 1, "connection");
    world.assert_parent(3, 2, "thread");
    world.assert_parent(4, 3, "connection");
    assert!(world.span(4).parent_is_remote);
}
