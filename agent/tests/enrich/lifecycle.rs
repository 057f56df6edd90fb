//! Each finished exchange becomes one span, after its grace, within every bound.

use std::time::Duration;

use crate::steps::{client, ms, server, World, OFFSET};
use spanlet::attach::{Language, ProcessFacts};
use spanlet::capture::event::HostPid;
use spanlet::decode::exchange::Outcome;
use spanlet::decode::Step;
use spanlet::enrich::span::{Status, Value};
use spanlet::enrich::{Config, Limits};

fn limited(limits: Limits) -> World {
    World::with(Config {
        limits,
        ..Config::default()
    })
}

#[test]
fn a_span_is_held_for_its_grace() {
    let mut world = World::new();
    world.run(server(1, 0), 50);
    world.wait(149);
    assert!(world.spans.is_empty());
    world.wait(150);
    assert_eq!(world.spans.len(), 1);
    let span = world.span(1);
    assert_eq!(span.started(), OFFSET.wall(ms(0)));
    assert_eq!(span.ended(), OFFSET.wall(ms(50)));
}

#[test]
fn an_end_that_is_told_late_is_held_from_when_it_is_told() {
    let mut world = World::new();
    world.start(server(1, 0));
    world.start(server(2, 1000).thread(2));
    world.finish(1, 10);
    world.wait(1099);
    assert!(world.spans.is_empty());
    world.wait(1100);
    assert_eq!(world.spans.len(), 1);
}

#[test]
fn an_end_without_a_start_is_a_span_with_the_parent_of_its_headers() {
    let mut world = World::new();
    let start = server(1, 0).context("b3", "00000000000000aa-00000000000000bb");
    let exchange = start.exchange(5);
    world.enricher.apply(Step::Finished(Box::new(exchange)));
    world.end(10);
    assert_eq!(world.evidence(1), "b3");
    assert_eq!(world.counts().unannounced, 1);
}

#[test]
fn without_room_an_exchange_is_a_span_without_relations() {
    let mut world = limited(Limits {
        exchanges: 1,
        ..Limits::default()
    });
    world.start(server(1, 0));
    world.start(client(2, 1));
    world.end(10);
    world.assert_root(2);
    assert_eq!(world.counts().exchanges_full, 1);
    assert_eq!(world.spans.len(), 2);
}

#[test]
fn what_is_dropped_is_counted() {
    let mut world = limited(Limits {
        waiting: 3,
        ..Limits::default()
    });
    (1..=10).for_each(|id| world.run(server(id, id), id));
    world.end(20);
    let counts = world.counts();
    assert_eq!(world.spans.len(), 3);
    assert_eq!(counts.exchanges, counts.spans + counts.dropped_waiting_full);
}

#[test]
fn processes_are_bounded_and_forgotten_after_their_end() {
    let mut world = limited(Limits {
        processes: 1,
        ..Limits::default()
    });
    world.start(server(1, 0).process(1));
    world.start(server(2, 0).process(2));
    world.start(client(3, 1).process(2));
    world.enricher.gone(HostPid(1), ms(10));
    world.finish(2, 10);
    world.finish(3, 10);
    world.wait(1000);
    world.assert_root(3);
    assert_eq!(world.counts().processes_full, 2);
    world.wait(61_000);
    assert_eq!(world.counts().abandoned, 1);
    world.start(server(4, 61_001).process(2));
    world.start(client(5, 61_002).process(2));
    world.finish(5, 61_003);
    world.finish(4, 61_003);
    world.wait(62_000);
    world.assert_parent(5, 4, "thread");
}

#[test]
fn an_exchange_may_be_finished_after_its_process_ended() {
    let mut world = World::new().language(1, Language::Native);
    world.start(server(1, 0));
    world.enricher.gone(HostPid(1), ms(5));
    let mut exchange = server(1, 0).exchange(5);
    exchange.outcome = Outcome::ProcessExited;
    exchange.response.status = None;
    world.enricher.apply(Step::Finished(Box::new(exchange)));
    world.wait(200);
    let span = world.span(1);
    let expected = "the process ended before the answer was complete";
    assert_eq!(span.status(), Status::Error(Some(expected)));
    assert_eq!(span.resource.text("service.name"), Some("program1"));
}

#[test]
fn a_span_keeps_the_resource_its_process_had() {
    let mut world = World::new().language(1, Language::Native);
    world.run(server(1, 0), 5);
    world.enricher.process(ProcessFacts {
        pid: HostPid(1),
        executable_path: "/bin/next".to_owned(),
        ..ProcessFacts::default()
    });
    world.run(server(2, 10), 15);
    world.end(20);
    assert_eq!(
        world.span(1).resource.text("service.name"),
        Some("program1")
    );
    assert_eq!(world.span(2).resource.text("service.name"), Some("next"));
}

#[test]
fn a_child_process_is_the_same_program_until_its_own_facts_come() {
    let mut world = World::new().language(1, Language::Python);
    world.enricher.forked(HostPid(1), HostPid(2));
    world.run(server(1, 0).process(2), 5);
    world.end(10);
    let resource = &world.span(1).resource;
    assert_eq!(resource.text("service.name"), Some("program1"));
    let pid = resource
        .attributes
        .iter()
        .find(|attribute| attribute.key == "process.pid");
    assert_eq!(pid.map(|pid| &pid.value), Some(&Value::Integer(2)));
}

#[test]
fn the_same_seed_gives_the_same_ids() {
    let run = || {
        let mut world = World::with(Config {
            grace: Duration::ZERO,
            ..Config::default()
        });
        world.run(server(1, 0), 5);
        world.wait(5);
        world.spans
    };
    assert_eq!(run().len(), 1);
    assert_eq!(run(), run());
}

#[test]
fn names_of_a_process_are_bounded() {
    let mut world = World::new();
    for id in 0..300_u64 {
        let start = server(id, id);
        world.enricher.apply(Step::Started(start.0.clone()));
        let mut exchange = start.exchange(id);
        let letters: String = id
            .to_string()
            .bytes()
            .map(|byte| char::from(byte + 49))
            .collect();
        exchange.request.target = Some(format!("/{letters}").into());
        world.enricher.apply(Step::Finished(Box::new(exchange)));
    }
    world.end(1000);
    let mut names: Vec<&str> = world.spans.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 101);
    assert!(names.contains(&"GET"));
}
