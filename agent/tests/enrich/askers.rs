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
    assert_eq!(world.counts().refused_birth, 1);
    // What would help is asked for.
    let untold: Vec<_> = world.enricher.take_untold().into_iter().collect();
    assert_eq!(untold, [HostPid(1)]);
}

/// As [`serving`]; of the second request it is known that 210 and 211 were unborn, and all above 240.
fn serving_with_births() -> World {
    let mut world = World::new().language(1, Language::Go);
    world.start(server(1, 10).goroutine(100, 2));
    let second = server(2, 10).goroutine(200, 2).reused();
    world.unborn(&second, 200, 240, &[210..211, 211..212]);
    world.start(second);
    world
}

#[test]
fn a_child_that_was_not_born_when_the_request_came_asks_for_it() {
    let mut world = serving_with_births();
    world.start(asked(3, 20, 211, 200));
    world.start(asked(4, 20, 241, 200));
    world.end(30);
    world.assert_parent(3, 2, "goroutine");
    world.assert_parent(4, 2, "goroutine");
    assert!(world.enricher.take_untold().is_empty());
}

#[test]
fn what_is_left_over_and_what_may_be_does_not() {
    let mut world = serving_with_births();
    // Below what was left: born. In what another part of the scheduler may have held: not known.
    world.start(asked(3, 20, 209, 200));
    world.start(asked(4, 20, 240, 200));
    world.end(30);
    world.assert_root(3);
    world.assert_root(4);
    assert_eq!(world.counts().refused_birth, 2);
}

#[test]
fn a_descendant_asks_for_it_if_the_child_it_descends_from_was_not_born() {
    let mut world = serving_with_births();
    // Both children ask themselves, so that they are known.
    world.start(asked(3, 20, 210, 200));
    world.start(asked(4, 20, 205, 200));
    world.start(asked(5, 21, 241, 210));
    world.start(asked(6, 21, 242, 205));
    world.end(30);
    world.assert_parent(5, 2, "goroutine");
    world.assert_root(6);
}

/// net/http's reader ahead, a child of who serves, reads one byte while the request before may still be worked for.
#[test]
fn of_a_request_that_was_read_ahead_it_counts_from_when_its_server_read_on() {
    for (read_on, is_known) in [(None, false), (Some(240), true)] {
        let mut world = World::new().language(1, Language::Go);
        world.run(server(1, 1).goroutine(200, 2).on_connection(7, 0), 5);
        world.start(server(9, 6).goroutine(900, 2));
        let mut request = server(2, 10)
            .goroutine(220, 200)
            .on_connection(7, 50)
            .reused();
        world.unborn(&request, 220, 230, &[]);
        if let Some(given) = read_on {
            request.0.position += 1;
            world.unborn(&request, 200, given, &[]);
            request.0.position -= 1;
        }
        world.start(request);
        world.start(asked(3, 20, 235, 200));
        world.start(asked(4, 20, 245, 200));
        world.end(30);
        world.assert_root(3);
        match is_known {
            true => world.assert_parent(4, 2, "goroutine"),
            false => world.assert_root(4),
        }
    }
}

/// It is of the call that began with the request's first byte, or nobody knows what its server did meanwhile.
#[test]
fn what_was_read_within_another_request_tells_nothing_of_one() {
    let mut world = World::new().language(1, Language::Go);
    world.start(server(9, 6).goroutine(900, 2));
    let first = server(1, 10).goroutine(200, 2).on_connection(7, 0).reused();
    // Both came by one call: the second is served once the first is answered.
    let second = server(2, 10)
        .goroutine(200, 2)
        .on_connection(7, 50)
        .reused();
    world.unborn(&first, 200, 240, &[]);
    world.start(first);
    world.start(second);
    world.finish(1, 15);
    world.start(asked(3, 20, 241, 200));
    world.end(30);
    world.assert_root(3);
    assert_eq!(world.counts().refused_birth, 1);
}

/// A pool keeps what a request has it start: the worker may have another's task while that request is open.
#[test]
fn who_calls_once_its_request_is_over_is_of_a_pool_and_proves_nothing() {
    let mut world = serving_with_births();
    world.start(asked(3, 20, 211, 200));
    world.finish(2, 25);
    world.start(server(5, 26).goroutine(300, 2));
    world.start(asked(4, 27, 211, 200));
    world.start(asked(6, 28, 301, 300));
    // Who serves asks for its own, pools or not.
    world.start(asked(7, 28, 300, 2));
    world.end(30);
    world.assert_root(3);
    world.assert_root(4);
    world.assert_root(6);
    world.assert_parent(7, 5, "goroutine");
    assert_eq!(world.counts().undone, 1);
}

#[test]
fn a_child_that_may_be_of_an_earlier_request_is_left_to_what_the_process_tells() {
    let mut world = World::new().language(1, Language::Go);
    world.start(server(2, 10).goroutine(200, 2).reused());
    world.start(asked(4, 21, 201, 200));
    world.end(30);
    world.assert_parent(4, 2, "process");
    // That is not worth what it costs to know more.
    assert!(world.enricher.take_untold().is_empty());
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
