//! Spans of processes whose pod is not known yet, or not all of it: they wait, and nobody has a parent that is never told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use spanlet::attach::{ProcessFacts, Resolution, Standing};
use spanlet::capture::event::HostPid;
use spanlet::enrich::{Config, Limits};
use spanlet::pods::{Place, PodUid, Workload};

use crate::steps::{client, ms, server, World};

/// Longer than a parent is waited for.
const LATE: u64 = 4000;

fn facts(process: u32, standing: Standing) -> ProcessFacts {
    ProcessFacts {
        pid: HostPid(process),
        start_ticks: u64::from(process),
        executable_path: "/app".to_owned(),
        place: Place {
            pod: Some(PodUid("uid".into())),
            ..Place::default()
        },
        standing,
        ..ProcessFacts::default()
    }
}

fn workload(container: &str) -> Option<Arc<Workload>> {
    Some(Arc::new(Workload {
        namespace: "shop".into(),
        pod: "web-1".into(),
        container: container.into(),
        attributes: vec![(
            "k8s.container.name".into(),
            spanlet::pods::model::Value::Text(container.into()),
        )],
        is_complete: !container.is_empty(),
    }))
}

fn traced(container: &str) -> Resolution {
    let standing = match container {
        "" => Standing::Incomplete,
        _ => Standing::Known,
    };
    Resolution::Traced(standing, workload(container))
}

/// Process 1 is outside pods, process 2 as said.
fn world(standing: Standing) -> World {
    with(standing, Limits::default())
}

fn with(standing: Standing, limits: Limits) -> World {
    let mut world = World::with(Config {
        limits,
        ..Config::default()
    });
    world.enricher.process(facts(1, Standing::Known));
    world.enricher.process(facts(2, standing));
    world.wait(0);
    world
}

fn container(world: &World, id: u64) -> Option<String> {
    let container = world.span(id).resource.text("k8s.container.name");
    container.map(str::to_owned)
}

#[test]
fn a_process_that_is_gone_when_its_pod_is_told_has_its_spans_with_their_names() {
    let mut world = world(Standing::Pending);
    world.run(server(1, 0).process(2), 10);
    world.enricher.gone(HostPid(2), ms(20));
    world.wait(LATE);
    assert!(world.spans.is_empty(), "nothing is known of it");
    assert_eq!(world.enricher.held_for_pods(), 1);
    world.enricher.resolve(|_| traced(""));
    world.wait(LATE + 200);
    assert!(world.spans.is_empty(), "its container is not known");
    world.enricher.resolve(|_| traced("web"));
    world.wait(LATE + 400);
    assert_eq!(container(&world, 1).as_deref(), Some("web"));
    assert_eq!(world.enricher.held_for_pods(), 0);
}

#[test]
fn a_process_that_is_not_meant_has_no_span_and_no_children() {
    let mut world = world(Standing::Pending);
    world.start(client(1, 0).process(2).on_connection(5, 9));
    world.start(server(2, 1).on_connection(5, 9));
    world.finish(2, 5);
    world.finish(1, 6);
    world.wait(LATE);
    assert!(world.spans.is_empty(), "the child waits for its parent");
    world.enricher.resolve(|_| Resolution::Refused);
    world.wait(LATE + 200);
    assert_eq!(world.spans.len(), 1);
    world.assert_root(2);
    assert_eq!(world.counts().dropped_refused, 1);
}

#[test]
fn a_child_whose_parent_turns_out_to_be_meant_keeps_it() {
    let mut world = world(Standing::Pending);
    world.start(client(1, 0).process(2).on_connection(5, 9));
    world.run(server(2, 1).on_connection(5, 9), 5);
    world.finish(1, 6);
    world.wait(LATE);
    assert!(world.spans.is_empty());
    world.enricher.resolve(|_| traced("web"));
    world.wait(LATE + 200);
    world.assert_parent(2, 1, "connection");
}

#[test]
fn an_open_request_of_a_process_that_is_not_meant_is_no_parent_either() {
    let mut world = world(Standing::Pending);
    world.start(client(1, 0).process(2).on_connection(5, 9));
    world.run(server(2, 1).on_connection(5, 9), 5);
    world.enricher.resolve(|_| Resolution::Refused);
    world.wait(200);
    world.assert_root(2);
}

#[test]
fn nobody_waits_for_ever() {
    let mut world = world(Standing::Pending);
    world.run(server(1, 0).process(2), 10);
    let limits = Limits::default();
    world.wait(limits.pending.as_millis() as u64 - 1);
    assert_eq!(world.counts().dropped_unknown, 0);
    world.wait(limits.pending.as_millis() as u64 + 200);
    assert_eq!(world.counts().dropped_unknown, 1);
    assert_eq!(world.enricher.held_for_pods(), 0);
}

#[test]
fn a_container_without_a_name_is_told_in_the_end() {
    let mut world = world(Standing::Incomplete);
    world.run(server(1, 0).process(2), 10);
    let patience = Limits::default().incomplete.as_millis() as u64;
    world.wait(patience - 1);
    assert!(world.spans.is_empty());
    assert_eq!(world.counts().unnamed_late, 0);
    world.wait(patience + 200);
    assert_eq!(container(&world, 1), None);
    assert_eq!(world.counts().unnamed_late, 1);
}

#[test]
fn without_room_what_may_not_be_meant_is_dropped_and_the_rest_is_told_as_it_is() {
    let held = Limits {
        held: 2,
        ..Limits::default()
    };
    let mut pending = with(Standing::Pending, held.clone());
    (1..=5).for_each(|id| pending.run(server(id, id).process(2), id));
    pending.start(client(6, 10).process(2).on_connection(5, 9));
    pending.run(server(7, 11).on_connection(5, 9), 12);
    pending.wait(300);
    assert_eq!(pending.counts().dropped_held_full, 3);
    assert_eq!(pending.spans.len(), 1);
    pending.assert_root(7);
    let mut incomplete = with(Standing::Incomplete, held);
    (1..=5).for_each(|id| incomplete.run(server(id, id).process(2), id));
    incomplete.wait(300);
    assert_eq!(incomplete.spans.len(), 3);
    assert_eq!(incomplete.counts().unnamed_held_full, 3);
    assert_eq!(incomplete.counts().unnamed_late, 0);
}

#[test]
fn a_process_that_is_left_is_silent_at_once() {
    let mut world = world(Standing::Known);
    world.run(server(1, 0).process(2), 10);
    world.start(server(2, 20).process(2));
    world.start(client(3, 21).process(2).on_connection(5, 9));
    world.run(server(4, 22).on_connection(5, 9), 23);
    world.enricher.left(&[HostPid(2)].into(), ms(30));
    world.wait(31);
    assert_eq!(world.spans.len(), 1, "what ended before is told");
    world.span(1);
    world.end(40);
    assert_eq!(world.spans.len(), 2);
    world.assert_root(4);
    assert_eq!(world.counts().dropped_refused, 2, "what was open is not");
}

#[test]
fn what_was_told_keeps_a_parent_that_was_open_when_its_process_was_left() {
    let mut world = world(Standing::Known);
    world.start(server(1, 0).process(2));
    world.run(client(2, 1).process(2), 2);
    world.wait(LATE);
    assert_eq!(
        world.spans.len(),
        1,
        "the call is told before its request ends"
    );
    // The decoder finishes what is open before the process is left.
    world.finish(1, LATE + 1);
    world.enricher.left(&[HostPid(2)].into(), ms(LATE + 1));
    world.wait(LATE + 2);
    let parent = world.span(2).parent_span_id;
    assert_eq!(parent, Some(world.span(1).span_id));
}

#[test]
fn a_process_that_was_left_is_traced_again() {
    let mut world = world(Standing::Known);
    world.enricher.left(&[HostPid(2)].into(), ms(0));
    world.enricher.process(facts(2, Standing::Known));
    world.run(server(1, 10).process(2), 20);
    world.end(30);
    world.span(1);
}

#[test]
fn what_was_done_by_an_earlier_program_says_so() {
    let mut world = world(Standing::Pending);
    world.run(server(1, 0).process(2), 10);
    world.enricher.process(ProcessFacts {
        executable_path: "/other".to_owned(),
        ..facts(2, Standing::Pending)
    });
    world.run(server(2, 20).process(2), 30);
    world.enricher.resolve(|_| traced("web"));
    world.wait(LATE);
    let path = |id| world.span(id).resource.text("process.executable.path");
    assert_eq!((path(1), path(2)), (Some("/app"), Some("/other")));
}

#[test]
fn what_may_not_be_meant_is_not_told_when_the_agent_stops() {
    let mut world = world(Standing::Pending);
    world.start(client(1, 0).process(2).on_connection(5, 9));
    world.run(server(2, 1).on_connection(5, 9), 5);
    world.end(10);
    assert_eq!(world.spans.len(), 1);
    world.assert_root(2);
    assert_eq!(world.counts().dropped_unknown, 1);
}

#[test]
fn news_of_a_live_process_reaches_what_waits() {
    let mut world = world(Standing::Pending);
    world.run(server(1, 0).process(2), 10);
    world.enricher.process(ProcessFacts {
        workload: workload("web"),
        ..facts(2, Standing::Known)
    });
    world.wait(LATE);
    assert_eq!(container(&world, 1).as_deref(), Some("web"));
}

#[test]
fn who_was_known_to_be_meant_is_not_in_doubt_again() {
    let mut world = world(Standing::Known);
    world.start(client(1, 0).process(2).on_connection(5, 9));
    world.run(server(2, 1).on_connection(5, 9), 5);
    world.wait(200);
    world.enricher.process(facts(2, Standing::Pending));
    world.finish(1, 201);
    world.end(202);
    world.assert_parent(2, 1, "connection");
}

/// What may happen to the two processes; each call goes from one to the other.
#[derive(Clone, Copy, Debug)]
enum Happening {
    /// The first calls the second, or the second the first.
    Call(bool),
    /// The oldest call that is open ends: the server's half, then the client's.
    End,
    Wait(u64),
    Resolve,
    Left,
    Facts(Standing),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => any::<bool>().prop_map(Happening::Call),
        4 => Just(Happening::End),
        3 => (1..3000_u64).prop_map(Happening::Wait),
        1 => Just(Happening::Resolve),
        1 => Just(Happening::Left),
        1 => Just(Happening::Facts(Standing::Known)),
        1 => Just(Happening::Facts(Standing::Pending)),
    ]
}

/// Plays it all; gives the world and how many exchanges finished.
fn played(happenings: &[Happening], held: usize) -> (World, u64) {
    let limits = Limits {
        held,
        pending: Duration::from_secs(3600),
        ..Limits::default()
    };
    let mut world = with(Standing::Pending, limits);
    // Whether the second is traced: of one that was left no more exchanges come.
    let mut is_traced = true;
    let (mut now, mut next, mut open, mut finished) = (0, 1, Vec::new(), 0);
    for happening in happenings {
        now += 1;
        match *happening {
            Happening::Call(from_first) if is_traced => {
                let (from, to) = if from_first { (1, 2) } else { (2, 1) };
                world.start(client(next, now).process(from).on_connection(next, 9));
                world.start(server(next + 1, now).process(to).on_connection(next, 9));
                open.push(next);
                next += 2;
            }
            Happening::End if !open.is_empty() => {
                let id = open.remove(0);
                world.finish(id + 1, now);
                world.finish(id, now + 1);
                finished += 2;
            }
            Happening::End | Happening::Call(_) => {}
            Happening::Wait(time) => {
                now += time;
                world.wait(now);
            }
            Happening::Resolve => world.enricher.resolve(|_| traced("web")),
            Happening::Left => {
                world.enricher.left(&[HostPid(2)].into(), ms(now));
                world.enricher.resolve(|_| Resolution::Refused);
                is_traced = false;
            }
            Happening::Facts(standing) => {
                world.enricher.process(facts(2, standing));
                is_traced = true;
            }
        }
    }
    finished += 2 * open.len() as u64;
    world.end(now + 10);
    (world, finished)
}

proptest! {
    #[test]
    fn every_parent_is_told_and_every_exchange_is_accounted_for(
        happenings in prop::collection::vec(happening(), 1..60),
        held in 0..6_usize,
    ) {
        let (world, finished) = played(&happenings, held);
        let told: BTreeSet<_> = world.spans.iter().map(|span| span.span_id).collect();
        for span in &world.spans {
            if let Some(parent) = span.parent_span_id {
                prop_assert!(told.contains(&parent), "the parent of {} was not told", span.name);
            }
        }
        let counts = world.counts();
        let dropped = counts.dropped_refused + counts.dropped_unknown + counts.dropped_held_full;
        prop_assert_eq!(counts.exchanges, finished);
        prop_assert_eq!(counts.exchanges, counts.spans + dropped);
        prop_assert_eq!(world.enricher.held_for_pods(), 0);
    }
}
