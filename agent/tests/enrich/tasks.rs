//! Tasks of event loops: a call belongs to the request that its task answers, and to no other.

use crate::steps::{client, server, World};
use spanlet::attach::Language;
use spanlet::capture::event::HostPid;

/// A process that serves requests 1 and 2 on one thread.
fn busy() -> World {
    let mut world = World::new().language(1, Language::Python);
    world.start(server(1, 0));
    world.start(server(2, 1));
    world
}

#[test]
fn a_call_is_of_the_request_that_its_task_answers() {
    let mut world = busy();
    world.start(client(3, 2).task(77));
    world.start(client(4, 3).task(66));
    world.finish(3, 5);
    world.start(client(5, 6).task(77));
    world.finish(5, 7);
    world.answer(1, 66, 9);
    world.answer(2, 77, 9);
    world.end(10);
    world.assert_parent(3, 2, "task");
    world.assert_parent(5, 2, "task");
    world.assert_parent(4, 1, "task");
    assert_eq!(world.counts().by_task, 3);
}

#[test]
fn a_span_waits_for_the_answer_that_tells_its_parent() {
    let mut world = busy();
    world.run(client(3, 2).task(77), 3);
    for time in [500, 2_500, 20_000] {
        world.wait(time);
        assert_eq!(world.spans.len(), 0, "at {time} ms");
    }
    world.answer(1, 77, 20_001);
    world.finish(1, 20_002);
    world.finish(2, 20_002);
    world.wait(20_200);
    world.assert_parent(3, 1, "task");
}

#[test]
fn what_hangs_below_a_call_waits_with_it() {
    let mut world = busy();
    world.start(client(3, 2).task(77).on_connection(500, 1));
    world.start(server(4, 3).process(2).on_connection(500, 1));
    world.finish(4, 4);
    world.finish(3, 5);
    world.wait(1_000);
    assert_eq!(world.spans.len(), 0);
    world.answer(2, 77, 1_001);
    world.end(1_002);
    world.assert_parent(4, 3, "connection");
    world.assert_parent(3, 2, "task");
    assert_eq!(world.span(4).trace_id, world.span(2).trace_id);
}

#[test]
fn a_span_waits_no_longer_than_a_task_can_tell() {
    let mut world = busy();
    world.run(client(3, 2).task(77), 3);
    // Nobody has asked for what began before it any more, and those that are open came later.
    world.answer(1, 66, 4);
    world.answer(2, 65, 4);
    world.start(server(6, 5));
    world.wait(2_200);
    world.assert_root(3);

    let mut world = busy();
    world.run(client(3, 2).task(77), 3);
    world.wait(30_100);
    world.assert_root(3);
}

#[test]
fn what_no_task_told_is_asked_for() {
    let mut world = busy();
    world.run(client(3, 2).task(77), 3);
    world.run(client(4, 2).task(66), 3);
    world.answer(1, 66, 4);
    world.finish(1, 4);
    world.wait(200);
    assert!(world.enricher.take_untold().is_empty());
    world.answer(2, 65, 201);
    world.finish(2, 201);
    world.wait(3_000);
    let untold: Vec<_> = world.enricher.take_untold().into_iter().collect();
    assert_eq!(untold, [HostPid(1)]);
    assert!(world.enricher.take_untold().is_empty());
}

#[test]
fn a_task_tells_better_than_the_process() {
    let mut world = World::new().language(1, Language::Python);
    world.start(server(1, 0));
    world.start(client(3, 1).task(77));
    world.finish(3, 2);
    world.answer(1, 77, 3);
    world.end(4);
    world.assert_parent(3, 1, "task");
    let counts = world.counts();
    assert_eq!(
        (counts.by_process, counts.by_task, counts.undone),
        (1, 1, 1)
    );
}

#[test]
fn a_call_before_the_request_or_of_another_process_is_not_its_own() {
    let mut world = World::new().language(1, Language::Python);
    world.start(server(1, 0));
    world.start(client(3, 1).task(77));
    world.start(server(2, 2));
    world.start(client(4, 3).process(2).task(77));
    world.answer(2, 77, 5);
    world.answer(1, 66, 5);
    world.end(10);
    assert_ne!(world.evidence(3), "task");
    world.assert_root(4);
}

#[test]
fn what_a_task_calls_after_the_start_of_its_answer_is_of_that_answer() {
    let mut world = busy();
    world.answer_born(1, (77, 1), 2);
    world.run(client(3, 3).task_of(77, 1), 4);
    world.finish(1, 5);
    world.run(client(4, 6).task_of(77, 1), 7);
    world.start(server(5, 8));
    world.end(10);
    world.assert_parent(3, 1, "task");
    assert_ne!(world.evidence(4), "task");
}

#[test]
fn while_an_answer_goes_on_another_task_may_have_its_tasks_address() {
    let mut world = busy();
    world.answer(1, 77, 2);
    world.start(server(3, 3));
    world.run(client(4, 4).task(77), 5);
    world.answer(3, 77, 6);
    world.end(10);
    world.assert_parent(4, 3, "task");

    let mut world = busy();
    world.answer_born(1, (77, 1), 2);
    world.run(client(3, 3).task_of(77, 2), 4);
    world.end(10);
    assert_ne!(world.evidence(3), "task");
}

#[test]
fn a_task_that_serves_a_connection_answers_one_request_after_the_other() {
    let mut world = World::new().language(1, Language::Python);
    world.start(server(1, 0).on_connection(900, 1));
    world.start(server(9, 0));
    world.start(client(3, 1).task(77));
    world.answer(1, 77, 2);
    // The next request was sent before the answer to the first.
    world.start(server(2, 1).on_connection(900, 2));
    world.finish(3, 2);
    world.finish(1, 3);
    world.run(client(4, 4).task(77), 5);
    world.answer(2, 77, 6);
    world.end(10);
    world.assert_parent(3, 1, "task");
    world.assert_parent(4, 2, "task");
}

#[test]
fn a_task_that_works_for_several_requests_at_once_proves_nothing() {
    let mut world = busy();
    world.run(client(3, 2).task(77), 3);
    world.answer(1, 77, 4);
    world.answer(2, 77, 5);
    world.finish(1, 6);
    world.finish(2, 6);
    world.start(server(5, 7));
    world.start(server(6, 7));
    world.run(client(7, 8).task(77), 9);
    world.answer(5, 77, 10);
    world.end(11);
    world.assert_root(3);
    world.assert_root(7);
    assert_eq!(world.counts().refused_ambiguous, 3);
}

#[test]
fn what_says_itself_whose_child_it_is_waits_for_no_task() {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut world = busy();
    world.run(client(3, 2).task(77).context("traceparent", parent), 3);
    world.wait(200);
    assert_eq!(world.spans.len(), 1);
}

#[test]
fn a_loss_makes_tasks_prove_nothing() {
    let mut world = busy();
    world.run(client(3, 2).task(77).losses(1), 3);
    world.answer(2, 77, 4);
    world.end(5);
    world.assert_root(3);
    assert!(world.counts().refused_loss >= 1);
}

#[test]
fn the_requests_own_context_is_above_its_task() {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut world = busy();
    world.run(client(3, 2).task(77).context("traceparent", parent), 3);
    world.answer(1, 77, 4);
    world.end(5);
    assert_eq!(world.evidence(3), "traceparent");
}

#[test]
fn what_a_task_gives_to_others_is_of_its_request() {
    let mut world = busy();
    world.task_born(661, 2, &[(66, 1)]);
    world.task_born(7711, 3, &[(771, 2), (77, 1)]);
    world.run(client(3, 4).task_of(661, 2), 5);
    world.run(client(4, 4).task_of(7711, 3), 5);
    world.answer_born(1, (66, 1), 6);
    world.start(client(5, 7).task_of(661, 2));
    world.finish(5, 8);
    world.answer_born(2, (77, 1), 9);
    world.end(10);
    world.assert_parent(3, 1, "task");
    world.assert_parent(4, 2, "task");
    world.assert_parent(5, 1, "task");
}

#[test]
fn a_request_may_be_answered_by_a_task_that_another_of_it_started() {
    let mut world = busy();
    world.task_born(661, 3, &[(66, 0), (9, 0)]);
    world.run(client(3, 4).task_of(66, 0), 5);
    world.answer_born(1, (661, 3), 6);
    world.end(10);
    world.assert_parent(3, 1, "task");
}

#[test]
fn a_task_from_before_the_request_is_not_its_own() {
    let mut world = World::new().language(1, Language::Python);
    // A task for each connection, which started a loop while it served an earlier request.
    world.task_born(661, 1, &[(66, 0), (5, 0)]);
    world.start(server(1, 10));
    world.start(server(2, 10));
    world.run(client(3, 12).task_of(661, 1), 13);
    world.answer_born(1, (66, 0), 14);
    world.finish(1, 15);
    world.finish(2, 15);
    // Nor is it because the process serves nothing else.
    world.start(server(4, 20));
    world.run(client(5, 21).task_of(661, 1), 22);
    world.end(30);
    world.assert_root(3);
    world.assert_root(5);
}

#[test]
fn a_task_that_has_the_address_of_another_is_not_that_one() {
    let mut world = busy();
    world.run(client(3, 2).task(77), 3);
    world.answer_born(2, (77, 4), 6);
    world.end(10);
    world.assert_root(3);
}

#[test]
fn those_that_a_shared_task_started_are_told_apart() {
    let mut world = World::new().language(1, Language::Python);
    world.start(server(1, 0));
    world.start(server(2, 0));
    // What reads a connection runs in one task for all of its requests.
    world.task_born(66, 1, &[(5, 0)]);
    world.task_born(77, 1, &[(5, 0)]);
    world.run(client(3, 2).task_of(77, 1), 3);
    world.run(client(4, 2).task_of(66, 1), 3);
    world.answer_born(1, (66, 1), 4);
    world.answer_born(2, (77, 1), 4);
    world.end(10);
    world.assert_parent(3, 2, "task");
    world.assert_parent(4, 1, "task");
}

#[test]
fn one_task_for_several_requests_is_no_ones_own() {
    let mut world = busy();
    // It hands each request on to a task of its own, and calls for itself.
    world.task_born(66, 5, &[(9, 3)]);
    world.task_born(77, 5, &[(9, 3)]);
    world.run(client(3, 6).task_of(9, 3), 7);
    world.answer_born(1, (66, 5), 8);
    world.end(10);
    world.assert_root(3);

    // The same when the other request was answered before.
    let mut world = busy();
    world.task_born(66, 5, &[(9, 3)]);
    world.run(client(3, 6).task_of(9, 3), 7);
    world.finish(2, 7);
    world.answer_born(1, (66, 5), 8);
    world.end(10);
    world.assert_root(3);
}
