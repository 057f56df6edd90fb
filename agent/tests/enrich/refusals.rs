//! A wrong parent is worse than none: what must be refused.

use std::sync::Arc;

use std::time::Duration;

use crate::steps::{client, ms, server, Start, World};
use spanlet::attach::Language;
use spanlet::capture::event::HostPid;
use spanlet::enrich::{Config, Limits};

#[test]
fn two_requests_on_one_thread_are_ambiguous() {
    let mut world = World::new().language(1, Language::Node);
    world.start(server(1, 0));
    world.start(server(2, 0));
    world.start(client(3, 1));
    world.end(10);
    world.assert_root(3);
    assert_eq!(world.counts().refused_ambiguous, 1);
}

#[test]
fn two_requests_in_the_process_and_a_thread_of_neither_are_ambiguous() {
    let mut world = World::new();
    world.start(server(1, 0).thread(11));
    world.start(server(2, 0).thread(12));
    world.start(client(3, 1).thread(13));
    world.end(10);
    world.assert_root(3);
    assert_eq!(world.counts().refused_ambiguous, 1);
}

#[test]
fn threads_prove_nothing_where_tasks_move_between_them() {
    for language in [Language::Rust, Language::DotNet, Language::Go] {
        let mut world = World::new().language(1, language);
        world.start(server(1, 0).thread(11));
        world.start(server(2, 0).thread(12));
        world.start(client(3, 1).thread(12));
        world.end(10);
        world.assert_root(3);
    }
}

#[test]
fn threads_prove_nothing_once_one_was_seen_to_serve_two_at_once() {
    let mut world = World::new().language(1, Language::Java);
    world.run(server(1, 0).thread(11), 9);
    world.start(server(2, 10).thread(11));
    world.start(server(3, 11).thread(11));
    world.finish(3, 12);
    world.start(server(4, 13).thread(12));
    world.start(client(5, 14).thread(12));
    world.end(20);
    world.assert_root(5);
}

#[test]
fn a_thread_that_reads_requests_ahead_on_one_connection_is_no_event_loop() {
    let mut world = World::new().language(1, Language::Java);
    world.start(server(1, 0).thread(11).on_connection(5, 70));
    world.start(server(2, 0).thread(11).on_connection(5, 90));
    world.finish(1, 5);
    world.start(server(3, 6).thread(12));
    world.start(client(4, 7).thread(11));
    world.end(20);
    world.assert_parent(4, 2, "thread");
}

#[test]
fn another_process_is_no_parent() {
    let mut world = World::new();
    world.start(server(1, 0).process(1));
    world.enricher.forked(HostPid(1), HostPid(2));
    world.start(client(2, 1).process(2));
    world.end(10);
    world.assert_root(2);
}

#[test]
fn hidden_work_makes_the_one_open_request_uncertain() {
    let mut world = World::new();
    world.start(server(1, 0).thread(11));
    world.opaque(1, 99, 1, false);
    world.run(client(2, 2).thread(12), 3);
    world.opaque(1, 98, 3, true);
    world.start(client(3, 4).thread(12));
    world.start(client(4, 4).thread(11));
    world.opaque_ended(1, 98, 5);
    world.start(client(5, 6).thread(12));
    world.end(10);
    world.assert_parent(2, 1, "process");
    world.assert_root(3);
    world.assert_parent(4, 1, "thread");
    world.assert_parent(5, 1, "process");
    assert_eq!(world.counts().refused_opaque, 1);
}

#[test]
fn a_loss_casts_a_shadow() {
    let mut world = World::new();
    world.start(server(1, 0));
    world.start(client(2, 1).losses(1));
    world.finish(2, 2);
    world.run(client(3, 40_000).losses(1), 40_000);
    world.finish(1, 40_001);
    world.start(server(4, 40_002).losses(1));
    world.start(client(5, 40_003).losses(1));
    world.end(40_010);
    world.assert_root(2);
    // After the shadow the exchange that was open in it stays uncertain; a new one is not.
    world.assert_root(3);
    world.assert_parent(5, 4, "thread");
    assert_eq!(world.counts().refused_loss, 2);
}

#[test]
fn what_starts_in_the_shadow_of_a_loss_may_not_be_alone() {
    let mut world = World::new();
    world
        .enricher
        .apply(spanlet::decode::Step::Started(server(9, 0).0));
    world.start(server(1, 1).thread(11).losses(1));
    world.start(client(2, 2).thread(11).losses(1));
    world.end(10);
    world.assert_root(2);
}

/// Unix sockets, and TLS from before the agent.
#[test]
fn requests_without_a_place_prove_nothing_in_the_shadow_of_a_loss() {
    let ends = || {
        let tls = |start: Start| start.on_connection(5, 77).over_tls(Some(false));
        [
            (
                client(1, 0).on_unix(0xc, 0x5),
                server(2, 1).on_unix(0x5, 0xc),
            ),
            (tls(client(1, 0)), tls(server(2, 1))),
        ]
    };
    for (client_losses, server_losses) in [(1, 0), (0, 1)] {
        for (near, far) in ends() {
            let mut world = World::new();
            world.start(near.process(1).losses(client_losses));
            world.start(far.process(2).losses(server_losses));
            world.end(10);
            world.assert_root(2);
        }
    }
}

#[test]
fn a_request_that_began_after_a_call_did_not_cause_it() {
    let mut world = World::new();
    world.start(server(1, 5));
    // Told later, begun earlier.
    world.start(client(2, 3));
    world.end(10);
    world.assert_root(2);
    assert_eq!(world.counts().refused_closed, 1);
}

#[test]
fn a_loss_told_apart_from_exchanges_counts_too() {
    let mut world = World::new().language(1, Language::Go);
    world.start(server(1, 0).goroutine(100, 1));
    world.enricher.lost(HostPid(1), ms(1));
    world.start(client(2, 2).goroutine(100, 1));
    world.end(10);
    world.assert_root(2);
}

#[test]
fn a_loss_in_one_process_does_not_darken_others() {
    let mut world = World::new();
    world.start(server(1, 0).process(1));
    world.enricher.lost(HostPid(2), ms(1));
    world.start(client(2, 2).process(1));
    world.end(10);
    world.assert_parent(2, 1, "thread");
}

fn dial(id: u64, at: u64, established: u64) -> Start {
    client(id, at)
        .goroutine(301, 300)
        .dialled(300, 200, established)
}

/// Two requests are open in a Go process; what a client exchange of the second came to.
fn dialled(before: impl FnOnce(&mut World), exchange: Start) -> World {
    let mut world = World::new().language(1, Language::Go);
    world.start(server(1, 0).goroutine(100, 1));
    world.start(server(2, 0).goroutine(200, 1));
    before(&mut world);
    world.start(exchange);
    world.end(5000);
    world
}

#[test]
fn a_dialled_connection_that_may_have_changed_hands_proves_nothing() {
    let nothing = |_: &mut World| {};
    dialled(nothing, dial(9, 2006, 2005)).assert_parent(9, 2, "goroutine");
    // Used late, or not for the first time, or established at an unknown time.
    dialled(nothing, dial(9, 2016, 2005)).assert_root(9);
    let mut reused = dial(9, 2006, 2005);
    reused.0.first_on_connection = false;
    dialled(nothing, reused).assert_root(9);
    let mut unknown = dial(9, 2006, 2005);
    Arc::make_mut(&mut unknown.0.link).established = None;
    dialled(nothing, unknown).assert_root(9);
}

#[test]
fn a_dial_is_not_certain_while_others_ask_for_the_same_endpoint() {
    let reused =
        |at: u64| move |world: &mut World| world.run(client(8, at).goroutine(401, 400), at + 1);
    dialled(reused(2005), dial(9, 2006, 2005)).assert_root(9);
    // A connection that became free shortly before may have gone to the one who dialled.
    dialled(reused(1500), dial(9, 2006, 2005)).assert_root(9);
    // So may one that was dialled at the same time.
    let dialled_too = |world: &mut World| {
        world.run(
            client(8, 2005).goroutine(401, 400).dialled(400, 100, 2004),
            2006,
        );
    };
    dialled(dialled_too, dial(9, 2006, 2005)).assert_root(9);
    dialled(reused(500), dial(9, 2006, 2005)).assert_parent(9, 2, "goroutine");
    let elsewhere = |world: &mut World| {
        world.run(client(8, 2005).goroutine(401, 400).to("10.0.0.9"), 2006);
    };
    dialled(elsewhere, dial(9, 2006, 2005)).assert_parent(9, 2, "goroutine");
}

#[test]
fn a_goroutine_that_an_earlier_request_started_does_not_work_for_a_later_one() {
    let mut world = World::new().language(1, Language::Go);
    world.start(server(1, 0).goroutine(100, 1));
    world.start(client(2, 1).goroutine(101, 100));
    world.finish(1, 5);
    world.start(server(3, 10).goroutine(100, 1).reused());
    world.start(server(4, 10).goroutine(200, 1));
    world.start(client(5, 11).goroutine(101, 100));
    world.end(20);
    world.assert_parent(2, 1, "goroutine");
    world.assert_root(5);
}

#[test]
fn a_finished_request_is_no_parent() {
    let mut world = World::new();
    world.run(server(1, 0), 5);
    world.start(client(2, 6));
    world.end(10);
    world.assert_root(2);
}

#[test]
fn a_parent_that_turns_out_to_have_ended_first_is_taken_back() {
    let mut world = World::new();
    world.start(server(1, 0));
    world.start(client(2, 6).on_connection(5, 77));
    world.start(server(3, 7).process(2).on_connection(5, 77));
    // Its end is told late: the last byte was written before the client exchange began.
    world.finish(1, 5);
    world.end(10);
    world.assert_root(2);
    world.assert_parent(3, 2, "connection");
    assert_ne!(world.span(1).trace_id, world.span(2).trace_id);
    assert_eq!(world.counts().undone, 1);
}

#[test]
fn another_program_in_the_same_process_does_not_work_for_what_the_first_served() {
    let mut world = World::new().language(1, Language::Native);
    world.start(server(1, 0));
    let mut facts = spanlet::attach::ProcessFacts {
        pid: HostPid(1),
        executable_path: "/bin/other".to_owned(),
        ..Default::default()
    };
    facts.command_args = vec!["other".to_owned()];
    world.enricher.process(facts);
    world.start(client(2, 1));
    world.end(10);
    world.assert_root(2);
}

fn limited(limits: Limits) -> World {
    World::with(Config {
        limits,
        ..Config::default()
    })
}

#[test]
fn trees_are_bounded_in_age() {
    let mut world = limited(Limits {
        parent_age: Duration::from_secs(1),
        ..Limits::default()
    });
    world.start(server(1, 0));
    world.start(client(2, 1000));
    world.start(client(3, 1001));
    world.end(2000);
    world.assert_parent(2, 1, "thread");
    world.assert_root(3);
    assert_eq!(world.counts().refused_age, 1);
}

#[test]
fn trees_are_bounded_in_depth() {
    let mut world = limited(Limits {
        depth: 3,
        ..Limits::default()
    });
    world.start(server(1, 0).process(1));
    world.start(client(2, 1).process(1).on_connection(5, 77));
    // The lower two are joined first, so that the upper two would make four.
    world.start(server(3, 2).process(2).on_connection(5, 78));
    world.start(client(4, 3).process(2));
    world.start(client(6, 3).process(3).on_connection(5, 78));
    world.end(10);
    world.assert_parent(4, 3, "thread");
    world.assert_parent(3, 6, "connection");
    assert_eq!(world.counts().refused_depth, 0);

    let mut world = limited(Limits {
        depth: 3,
        ..Limits::default()
    });
    world.start(server(3, 2).process(2).on_connection(5, 77));
    world.start(client(4, 3).process(2));
    world.start(server(1, 0).process(1));
    world.start(client(2, 1).process(1).on_connection(5, 77));
    world.end(10);
    world.assert_root(3);
    assert_eq!(world.counts().refused_depth, 1);
}

#[test]
fn trees_are_bounded_in_children() {
    let mut world = limited(Limits {
        children: 2,
        ..Limits::default()
    });
    world.start(server(1, 0));
    (2..=4).for_each(|id| world.run(client(id, id), id));
    world.end(10);
    world.assert_parent(3, 1, "thread");
    world.assert_root(4);
    assert_eq!(world.counts().refused_children, 1);
}
