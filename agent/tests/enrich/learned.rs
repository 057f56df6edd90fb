//! What a process shows of its ways, and what is refused from then on: event loops, work after the answer, calls of
//! its own, goroutines that are left over.

use crate::steps::{client, server, World};
use spanlet::attach::{Language, ProcessFacts};
use spanlet::capture::event::HostPid;

#[test]
fn a_call_that_outlives_its_request_was_not_made_for_it() {
    for language in [Language::Node, Language::Python] {
        let mut world = World::new().language(1, language);
        world.start(server(1, 0).thread(11));
        world.start(client(2, 2).thread(12));
        world.finish(1, 5);
        world.finish(2, 9);
        world.start(server(3, 10).thread(11));
        world.start(client(4, 11).thread(12));
        world.end(20);
        world.assert_root(2);
        world.assert_root(4);
        assert_eq!(world.counts().undone, 2);
    }
}

#[test]
fn a_call_whose_end_is_told_first_may_outlive_its_request_too() {
    let mut world = World::new().language(1, Language::Python);
    world.start(server(1, 0).thread(11));
    world.start(client(2, 2).thread(12));
    world.start(client(3, 2).thread(13));
    world.finish(2, 9);
    world.finish(3, 5);
    world.finish(1, 5);
    world.end(20);
    world.assert_root(2);
    // To the same endpoint.
    world.assert_root(3);
}

#[test]
fn a_call_that_outlives_its_request_keeps_what_was_told() {
    let mut world = World::new().language(1, Language::Python);
    world.start(server(1, 0));
    world.start(client(2, 1).on_connection(5, 77));
    world.run(server(3, 2).process(2).on_connection(5, 77), 3);
    world.wait(200);
    world.finish(1, 300);
    world.end(400);
    world.assert_parent(2, 1, "thread");
    world.assert_parent(3, 2, "connection");
}

/// A process one of whose threads did not wait for its call; exchanges 1 to 3.
fn works_on() -> World {
    let mut world = World::new().language(1, Language::Python);
    world.start(server(1, 0).thread(11));
    world.start(server(2, 0).thread(12));
    world.start(client(3, 1).thread(11));
    world.finish(1, 4);
    world.finish(3, 6);
    world
}

#[test]
fn a_thread_whose_call_outlives_its_request_is_an_event_loop() {
    let mut world = works_on();
    world.start(server(4, 7).thread(11));
    world.start(client(5, 8).thread(11));
    world.end(20);
    world.assert_root(3);
    world.assert_root(5);
    assert_eq!(world.counts().refused_ambiguous, 1);
}

#[test]
fn an_event_loop_stays_one_unless_another_program_runs() {
    for (path, is_same) in [("/bin/program1", true), ("/bin/other", false)] {
        let mut world = works_on();
        world.finish(2, 6);
        world.enricher.process(ProcessFacts {
            pid: HostPid(1),
            executable_path: path.to_owned(),
            command_args: vec!["other".to_owned()],
            ..ProcessFacts::default()
        });
        world.start(server(4, 7).thread(11));
        world.start(server(5, 7).thread(12));
        world.start(client(6, 8).thread(11));
        world.end(20);
        match is_same {
            true => world.assert_root(6),
            false => world.assert_parent(6, 4, "thread"),
        }
    }
}

#[test]
fn a_thread_with_two_calls_open_is_an_event_loop() {
    let mut world = World::new().language(1, Language::Java);
    world.start(server(1, 0).thread(11));
    world.start(server(2, 0).thread(12));
    world.start(client(3, 1).thread(11).on_connection(71, 1));
    world.start(client(4, 2).thread(11).on_connection(72, 1));
    world.end(10);
    world.assert_root(4);
}

/// A script of php-fpm's waits for all that it calls at once; another process in PHP may be an event loop.
#[test]
fn a_thread_that_serves_fastcgi_in_php_is_none() {
    for (language, is_fastcgi, is_known) in [
        (Language::Php, true, true),
        (Language::Php, false, false),
        (Language::Python, true, false),
    ] {
        let mut world = World::new().language(1, language);
        let serve = |id, thread| {
            let start = server(id, 0).thread(thread);
            if is_fastcgi {
                start.fastcgi()
            } else {
                start
            }
        };
        world.start(serve(1, 11));
        world.start(serve(2, 12));
        world.start(client(3, 1).thread(11).on_connection(71, 1));
        world.start(client(4, 2).thread(11).on_connection(72, 1));
        world.end(10);
        match is_known {
            true => world.assert_parent(4, 1, "thread"),
            false => world.assert_root(4),
        }
    }
}

/// Nothing tells when a Unix socket ends, and with it what was served over it.
#[test]
fn a_thread_that_serves_fastcgi_in_php_is_done_with_what_it_served_before() {
    let mut world = World::new().language(1, Language::Php);
    world.start(server(1, 0).thread(11).fastcgi());
    world.start(server(2, 0).thread(12).fastcgi());
    world.start(server(3, 5).thread(11).fastcgi());
    world.start(client(4, 6).thread(11));
    world.end(10);
    world.assert_parent(4, 3, "thread");
}

#[test]
fn a_thread_that_sends_ahead_on_one_connection_is_no_event_loop() {
    let mut world = World::new().language(1, Language::Java);
    world.start(server(1, 0).thread(11));
    world.start(server(2, 0).thread(12));
    world.start(client(3, 1).thread(11).on_connection(71, 1));
    world.start(client(4, 2).thread(11).on_connection(71, 50));
    world.finish(3, 5);
    world.finish(4, 5);
    world.end(10);
    world.assert_parent(4, 1, "thread");
}

#[test]
fn a_node_process_is_an_event_loop_from_the_start() {
    let mut world = World::new().language(1, Language::Node);
    world.run(client(1, 0).to("10.0.0.9"), 1);
    world.start(server(2, 10));
    world.run(client(3, 11).to("10.0.0.9"), 12);
    world.run(client(4, 12), 13);
    world.opaque(1, 98, 14, true);
    world.run(client(5, 15), 16);
    world.end(20);
    world.assert_root(3);
    world.assert_parent(4, 2, "process");
    world.assert_root(5);
}

#[test]
fn one_call_in_an_idle_process_is_enough_to_doubt_the_process() {
    const MEMORY: u64 = 600_000;
    for (at, is_doubted) in [(100_000, true), (MEMORY - 10, true), (MEMORY + 1, false)] {
        let mut world = World::new().language(1, Language::Python);
        world.run(client(1, 0).thread(12).to("10.0.0.9"), 1);
        world.start(server(2, at).thread(11));
        world.run(client(3, at).thread(12).to("10.0.0.9"), at + 1);
        world.run(client(4, at + 1).thread(12), at + 2);
        world.end(at + 10);
        world.assert_parent(4, 2, "process");
        match is_doubted {
            true => world.assert_root(3),
            false => world.assert_parent(3, 2, "process"),
        }
    }
}

#[test]
fn a_thread_that_waits_for_its_calls_is_doubted_after_two() {
    for (idle_calls, is_doubted) in [(1, false), (2, true)] {
        let mut world = World::new().language(1, Language::Java);
        for id in 0..idle_calls {
            world.run(client(id, id * 100).to("10.0.0.9"), id * 100 + 1);
        }
        world.start(server(8, 1000));
        world.run(client(9, 1001).to("10.0.0.9"), 1002);
        world.end(1010);
        match is_doubted {
            true => world.assert_root(9),
            false => world.assert_parent(9, 8, "thread"),
        }
    }
}

#[test]
fn a_goroutine_left_over_from_an_earlier_request_does_not_work_for_a_later_one() {
    for is_alone in [false, true] {
        let mut world = World::new().language(1, Language::Go);
        world.run(server(1, 0).goroutine(100, 1), 5);
        world.start(server(2, 6).goroutine(100, 1).reused());
        if !is_alone {
            world.start(server(9, 6).goroutine(900, 1));
        }
        // It was born by then, but is seen for the first time.
        world.start(client(3, 8).goroutine(150, 100));
        world.end(10);
        world.assert_root(3);
        assert_eq!(world.counts().refused_birth, 1);
    }
}

#[test]
fn a_goroutine_that_the_first_request_of_a_connection_started_works_for_it() {
    let mut world = World::new().language(1, Language::Go);
    world.start(server(1, 0).goroutine(100, 1));
    world.start(server(2, 0).goroutine(200, 1));
    world.start(client(3, 8).goroutine(150, 100));
    world.end(10);
    world.assert_parent(3, 1, "goroutine");
}

#[test]
fn a_goroutine_that_is_known_to_come_from_elsewhere_does_not_work_for_the_one_request() {
    let mut world = World::new().language(1, Language::Go);
    world.run(server(1, 0).goroutine(100, 1), 5);
    world.run(client(2, 6).goroutine(150, 2).dialled(150, 2, 6), 7);
    world.start(server(3, 10).goroutine(300, 1));
    let far = |id, at| client(id, at).to("10.0.0.9");
    // A worker seen before; one that an answered request started; and one that is not known.
    world.start(far(4, 11).goroutine(150, 2).dialled(150, 2, 11));
    world.start(far(5, 12).goroutine(160, 100).dialled(160, 100, 12));
    world.start(far(6, 13).goroutine(170, 3).dialled(170, 3, 13));
    world.end(20);
    world.assert_root(4);
    world.assert_root(5);
    world.assert_parent(6, 3, "process");
    assert_eq!(world.counts().refused_lineage, 2);
}
