//! Threads that requests start: what they call belongs to the request, and what it does not.

use crate::steps::{client, server, World};
use spanlet::attach::Language;

/// A process that serves request 1 on thread 11 and request 2 on thread 12.
fn busy() -> World {
    let mut world = World::new().language(1, Language::Python);
    world.start(server(1, 0).thread(11));
    world.start(server(2, 0).thread(12));
    world
}

#[test]
fn a_thread_works_for_the_request_that_started_it() {
    let mut world = busy();
    world.thread_born(1, 11, 21);
    world.thread_born(1, 12, 22);
    world.thread_born(1, 22, 23);
    for (id, thread) in [(3, 21), (4, 22), (5, 23)] {
        world.run(client(id, 1).thread(thread), 2);
        world.thread_ended(1, thread);
    }
    world.end(10);
    world.assert_parent(3, 1, "thread");
    world.assert_parent(4, 2, "thread");
    world.assert_parent(5, 2, "thread");
}

#[test]
fn a_thread_that_none_or_an_earlier_one_of_its_number_was_started_for_works_for_none() {
    let mut world = busy();
    world.thread_born(1, 11, 21);
    world.thread_ended(1, 21);
    world.run(client(3, 1).thread(21), 2);
    world.thread_born(1, 12, 22);
    world.thread_born(1, 10, 22);
    world.run(client(4, 3).thread(22), 4);
    world.end(10);
    world.assert_root(3);
    world.assert_root(4);
}

#[test]
fn a_thread_that_outlives_its_request_was_perhaps_not_its_own() {
    let mut world = busy();
    world.thread_born(1, 11, 21);
    world.run(client(3, 1).thread(21), 2);
    world.finish(1, 5);
    world.wait(200);
    world.end(210);
    world.assert_root(3);
    assert_eq!(world.counts().undone, 1);
}

#[test]
fn a_thread_that_outlives_the_only_request_is_known_by_the_process() {
    let mut world = World::new().language(1, Language::Java);
    world.start(server(1, 0).thread(11));
    world.thread_born(1, 11, 21);
    world.run(client(2, 1).thread(21), 2);
    world.end(5);
    world.assert_parent(2, 1, "process");
}

#[test]
fn a_thread_that_first_calls_when_its_request_is_over_works_for_no_other() {
    let mut world = World::new().language(1, Language::Python);
    world.start(server(1, 0).thread(11));
    world.thread_born(1, 11, 21);
    world.finish(1, 5);
    world.start(server(2, 10).thread(12));
    world.run(client(3, 12).thread(21), 13);
    world.end(300);
    world.assert_root(3);
}

#[test]
fn a_thread_of_a_pool_works_for_later_requests_too() {
    for language in [Language::Java, Language::Ruby] {
        let mut world = World::new().language(1, language);
        world.start(server(1, 0).thread(11));
        world.thread_born(1, 11, 21);
        world.thread_born(1, 11, 22);
        world.run(client(2, 1).thread(22), 2);
        world.finish(1, 5);
        world.start(server(3, 10).thread(12));
        world.run(client(4, 12).thread(21), 13);
        world.run(client(5, 14).thread(22), 15);
        world.end(20);
        world.assert_parent(2, 1, "process");
        world.assert_parent(4, 3, "process");
        world.assert_parent(5, 3, "process");
    }
}

#[test]
fn a_span_that_may_lose_its_parent_is_held_with_all_below_but_not_for_ever() {
    for has_ended in [false, true] {
        let mut world = busy();
        world.thread_born(1, 11, 21);
        world.start(client(3, 1).thread(21).on_connection(5, 77));
        world.run(server(4, 2).process(2).on_connection(5, 77), 3);
        world.finish(3, 4);
        world.wait(1900);
        assert!(world.spans.is_empty());
        if has_ended {
            world.thread_ended(1, 21);
        }
        world.wait(2100);
        assert_eq!(world.spans.len(), 2);
        world.end(3000);
        match has_ended {
            true => world.assert_parent(3, 1, "thread"),
            // It may be one of a pool, and have worked for another request.
            false => world.assert_root(3),
        }
        world.assert_parent(4, 3, "connection");
    }
}

#[test]
fn a_client_that_is_an_event_loop_says_nothing_of_the_threads_that_serve() {
    let mut world = busy();
    world.start(client(3, 1).thread(21));
    world.start(client(4, 1).thread(21));
    world.start(client(5, 2).thread(11));
    world.end(10);
    world.assert_parent(5, 1, "thread");
    world.assert_root(4);
}
