//! One thread reads all requests and hands them to others, which answer (Puma's reactor): a call belongs to the request that its
//! thread answers next, and to no other.

use crate::steps::{client, server, World};
use spanlet::attach::Language;

const REACTOR: u32 = 10;

/// A process of which it was seen that threads 21 and 22 answer what the reactor reads.
fn seen(language: Language) -> World {
    let mut world = World::new().language(1, language);
    for (id, thread) in [(90, 21), (91, 22)] {
        world.start(server(id, 0).thread(REACTOR));
        world.answer_on_thread(id, thread, 1);
        world.finish(id, 2);
    }
    world
}

#[test]
fn a_call_is_of_the_request_that_its_thread_answers() {
    let mut world = seen(Language::Ruby);
    world.start(server(1, 3).thread(REACTOR));
    world.start(server(2, 4).thread(REACTOR));
    world.run(client(3, 5).thread(21), 7);
    world.run(client(4, 6).thread(22), 7);
    world.answer_on_thread(1, 22, 8);
    world.answer_on_thread(2, 21, 8);
    world.end(9);
    world.assert_parent(3, 2, "thread");
    world.assert_parent(4, 1, "thread");
    assert_eq!(world.counts().by_thread, 2);
}

#[test]
fn what_a_thread_calls_after_an_answer_is_of_the_next_request() {
    let mut world = seen(Language::Ruby);
    world.start(server(1, 3).thread(REACTOR));
    // It lies in a queue until the thread is free.
    world.start(server(2, 4).thread(REACTOR));
    world.run(client(3, 5).thread(21), 6);
    world.answer_on_thread(1, 21, 7);
    // The rest of the answer may be another thread's by now, and this call for the next request.
    world.run(client(5, 8).thread(21), 9);
    world.finish(1, 10);
    world.run(client(4, 11).thread(21), 12);
    world.answer_on_thread(2, 21, 13);
    world.end(14);
    world.assert_parent(3, 1, "thread");
    world.assert_parent(4, 2, "thread");
    world.assert_root(5);
}

#[test]
fn what_a_thread_calls_while_it_answers_is_of_that_request_if_no_other_waits() {
    let mut world = seen(Language::Ruby);
    world.start(server(1, 3).thread(REACTOR));
    world.start(server(2, 3).thread(REACTOR));
    world.answer_on_thread(1, 21, 7);
    world.answer_on_thread(2, 22, 7);
    world.run(client(5, 8).thread(21), 9);
    world.end(10);
    world.assert_parent(5, 1, "thread");
}

#[test]
fn a_request_that_its_own_thread_reads_has_its_calls() {
    let mut world = seen(Language::Ruby);
    world.start(server(1, 3).thread(REACTOR));
    world.start(server(2, 4).thread(21));
    world.run(client(3, 5).thread(21), 6);
    world.answer_on_thread(2, 21, 7);
    world.answer_on_thread(1, 22, 8);
    world.end(9);
    world.assert_parent(3, 2, "thread");
}

#[test]
fn what_other_threads_call_is_known_by_the_process_alone() {
    let mut world = seen(Language::Ruby);
    world.start(server(1, 3).thread(REACTOR));
    world.run(client(3, 4).thread(31), 5);
    assert_eq!(world.counts().by_process, 1);
    world.start(server(2, 6).thread(REACTOR));
    world.run(client(4, 7).thread(31), 8);
    world.answer_on_thread(1, 21, 9);
    world.answer_on_thread(2, 22, 9);
    world.end(10);
    world.assert_root(4);
}

#[test]
fn a_thread_that_answers_nothing_calls_for_nobody() {
    let mut world = seen(Language::Ruby);
    world.start(server(1, 3).thread(REACTOR));
    world.start(server(2, 4).thread(REACTOR));
    world.run(client(3, 5).thread(40), 6);
    world.answer_on_thread(1, 21, 7);
    world.answer_on_thread(2, 22, 7);
    world.end(9);
    world.assert_root(3);
}

#[test]
fn where_tasks_move_between_threads_they_tell_nothing() {
    for language in [
        Language::Rust,
        Language::DotNet,
        Language::Java,
        Language::Native,
    ] {
        let mut world = seen(language);
        world.start(server(1, 3).thread(REACTOR));
        world.start(server(2, 4).thread(REACTOR));
        world.run(client(3, 5).thread(21), 7);
        world.answer_on_thread(1, 21, 8);
        world.answer_on_thread(2, 22, 8);
        world.end(9);
        world.assert_root(3);
    }
}
