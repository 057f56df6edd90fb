//! Go: who asked is told apart from who wrote, over connections that are used again.

use spanlet::attach::Language;
use spanlet::capture::event::HostPid;

use crate::steps::{client, ms, server, Start, World};

/// A request over a connection of the pool: dialled once by 300 for 90, written by 301, asked for by that goroutine.
fn asked(id: u64, at: u64, goroutine: u64, parent: u64) -> Start {
    let mut start = client(id, at).dialled(300, 90, 1).reused();
    start = start.goroutine(goroutine, parent);
    start.0.asked = true;
    start
}

/// A Go process that serves two requests, of which the second came over a connection that had served before.
fn serving() -> World {
    let mut world = World::new().language(1, Language::Go);
    world.start(server(1, 10).goroutine(100, 2));
    world.start(server(2, 10).goroutine(200, 2).reused());
    world
}

#[test]
fn who_serves_asks_for_its_own_request_whoever_writes() {
    let mut world = serving();
    world.start(asked(3, 20, 200, 2));
    world.start(asked(4, 21, 100, 2));
    // A fresh connection that somebody else had dialled for.
    let mut fresh = client(5, 22).dialled(300, 100, 21).goroutine(200, 2);
    fresh.0.asked = true;
    world.start(fresh);
    world.end(30);
    world.assert_parent(3, 2, "goroutine");
    world.assert_parent(4, 1, "goroutine");
    world.assert_parent(5, 2, "goroutine");
}

/// net/http reads ahead for the next request while it serves one, by a child of the goroutine that serves.
#[test]
fn a_request_that_was_read_ahead_is_served_by_who_serves_its_connection() {
    let mut world = World::new().language(1, Language::Go);
    for (round, reader) in [
        (0, (100, 2)),
        (1, (150, 100)),
        (2, (151, 100)),
        (3, (100, 2)),
    ] {
        let at = 10 + round * 10;
        let request = server(10 + round, at).on_connection(7, round as u32);
        world.start(request.goroutine(reader.0, reader.1));
        world.start(server(20 + round, at).goroutine(900 + round, 2));
        world.start(asked(30 + round, at + 1, 100, 2));
        world.start(asked(40 + round, at + 1, 900 + round, 2));
        for id in [40, 30, 20, 10] {
            world.finish(id + round, at + 5);
        }
    }
    world.end(100);
    for round in 0..4 {
        world.assert_parent(30 + round, 10 + round, "goroutine");
        world.assert_parent(40 + round, 20 + round, "goroutine");
    }
}

#[test]
fn the_writer_alone_proves_nothing() {
    let mut world = serving();
    let mut unasked = asked(3, 20, 301, 300);
    unasked.0.asked = false;
    world.start(unasked);
    world.end(30);
    world.assert_root(3);
}

#[test]
fn a_child_of_who_serves_asks_for_it_unless_an_earlier_request_may_have_started_it() {
    let mut world = serving();
    world.start(asked(3, 20, 101, 100));
    world.start(asked(4, 21, 201, 200));
    world.end(30);
    world.assert_parent(3, 1, "goroutine");
    world.assert_root(4);
    assert_eq!(world.counts().refused_lineage, 1);
}

#[test]
fn a_child_that_may_be_of_an_earlier_request_is_left_to_what_the_process_tells() {
    let mut world = World::new().language(1, Language::Go);
    world.start(server(2, 10).goroutine(200, 2).reused());
    world.start(asked(4, 21, 201, 200));
    world.end(30);
    world.assert_parent(4, 2, "process");
}

#[test]
fn who_asks_after_its_answer_asks_for_nobody() {
    let mut world = serving();
    world.finish(2, 15);
    // Request 1 is the only one that is open, and began before 200 was known to be idle.
    world.start(asked(3, 20, 200, 2));
    world.start(asked(4, 21, 202, 200));
    world.end(30);
    world.assert_root(3);
    world.assert_root(4);
    assert_eq!(world.counts().refused_lineage, 2);
}

#[test]
fn a_worker_known_from_before_asks_for_none_that_began_later() {
    let mut world = World::new().language(1, Language::Go);
    world.run(asked(1, 5, 50, 1), 6);
    world.start(server(2, 10).goroutine(100, 2));
    world.start(asked(3, 20, 50, 1));
    world.end(30);
    world.assert_root(3);
    assert_eq!(world.counts().refused_lineage, 1);
}

#[test]
fn nothing_is_certain_in_the_shadow_of_a_loss() {
    let mut world = serving();
    world.enricher.lost(HostPid(1), ms(15));
    world.start(asked(3, 20, 200, 2));
    world.end(30);
    world.assert_root(3);
}
