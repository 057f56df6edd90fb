//! Turns of an event loop: a call belongs to the request that its turn read, or that both its ends tell, and to no other.

use crate::steps::{client, server, World};
use spanlet::attach::Language;

/// A process that serves requests 1 and 2, read in turns of these numbers.
fn busy() -> World {
    let mut world = World::new().language(1, Language::Node);
    for id in [1, 2] {
        world.start(server(id, id));
        world.read_in_turn(id, id);
    }
    world
}

/// Its call 3, made for request 1 in its turn, while 2 waits.
fn called() -> World {
    let mut world = World::new().language(1, Language::Node);
    world.start(server(1, 1));
    world.read_in_turn(1, 1);
    world.start(client(3, 1).in_turn(1));
    world.start(server(2, 2));
    world.read_in_turn(2, 2);
    world
}

#[test]
fn what_is_called_in_the_turn_that_reads_a_request_is_its_own() {
    let mut world = called();
    world.start(client(4, 2).in_turn(2));
    world.end(10);
    world.assert_parent(3, 1, "turn");
    world.assert_parent(4, 2, "turn");
    assert_eq!(world.counts().by_turn, 2);
}

#[test]
fn a_body_that_is_read_later_is_as_good() {
    let mut world = busy();
    world.read_in_turn(1, 3);
    world.start(client(3, 3).in_turn(3));
    world.end(10);
    world.assert_parent(3, 1, "turn");
}

#[test]
fn a_turn_that_read_nothing_tells_nothing() {
    let mut world = busy();
    world.start(client(3, 3).in_turn(3));
    world.start(client(4, 4));
    world.end(10);
    world.assert_root(3);
    world.assert_root(4);
    assert_eq!(world.counts().refused_ambiguous, 2);
}

#[test]
fn a_turn_that_read_of_two_tells_nothing() {
    let mut world = busy();
    world.read_in_turn(1, 3);
    world.read_in_turn(2, 3);
    world.start(client(3, 3).in_turn(3));
    world.end(10);
    world.assert_root(3);
}

#[test]
fn a_connection_is_of_the_turn_that_made_it() {
    let mut world = busy();
    world.start(client(3, 5).made_in_turn(1, 5));
    world.start(client(4, 6).made_in_turn(4, 6));
    // It was made for one, and is used by another.
    world.start(server(5, 7));
    world.read_in_turn(5, 7);
    world.start(client(6, 7).made_in_turn(2, 7));
    world.end(10);
    world.assert_parent(3, 1, "turn");
    world.assert_root(4);
    world.assert_root(6);
}

#[test]
fn a_new_connection_of_which_nobody_knows_who_made_it_tells_nothing() {
    let mut world = busy();
    let mut start = client(3, 2).in_turn(2);
    start.0.first_on_connection = true;
    world.start(start);
    world.end(10);
    world.assert_root(3);
}

#[test]
fn who_was_answered_is_no_parent() {
    let mut world = busy();
    world.answer_in_turn(1, 1);
    world.finish(1, 3);
    world.start(client(3, 5).in_turn(1));
    world.end(10);
    world.assert_root(3);
    assert_eq!(world.counts().refused_closed, 1);
}

#[test]
fn the_next_call_is_of_the_request_that_is_answered_with_its_answer() {
    let mut world = called();
    world.read_in_turn(3, 4);
    world.finish(3, 4);
    world.start(client(4, 4).in_turn(4));
    world.read_in_turn(4, 6);
    world.finish(4, 6);
    world.answer_in_turn(1, 6);
    world.end(10);
    world.assert_parent(4, 1, "turn");
}

#[test]
fn a_connection_may_take_longer_than_the_span_of_the_call_before_it() {
    let mut world = called();
    world.read_in_turn(3, 4);
    world.finish(3, 4);
    world.wait(300);
    assert_eq!(world.spans.len(), 1);
    world.start(client(4, 400).made_in_turn(4, 400));
    world.read_in_turn(4, 406);
    world.answer_in_turn(1, 406);
    world.end(410);
    world.assert_parent(4, 1, "turn");
}

#[test]
fn a_call_that_waited_for_the_connection_of_another_has_no_wrong_parent() {
    // It is the call of 2, which it is answered with.
    let mut world = called();
    world.read_in_turn(3, 4);
    world.finish(3, 4);
    world.start(client(4, 4).in_turn(4));
    world.read_in_turn(4, 6);
    world.finish(4, 6);
    world.answer_in_turn(2, 6);
    world.end(10);
    world.assert_root(4);
    assert_eq!(world.counts().refused_ambiguous, 2);

    // Nothing tells whose it is.
    let mut world = called();
    world.read_in_turn(3, 4);
    world.start(client(4, 4).in_turn(4));
    world.read_in_turn(4, 6);
    world.answer_in_turn(2, 8);
    world.end(10);
    world.assert_root(4);
}

#[test]
fn two_requests_that_are_answered_at_once_prove_nothing() {
    let mut world = called();
    world.read_in_turn(3, 4);
    world.start(client(4, 4).in_turn(4));
    world.read_in_turn(4, 6);
    world.answer_in_turn(1, 6);
    world.answer_in_turn(2, 6);
    world.end(10);
    world.assert_root(4);
    assert_eq!(world.counts().undone, 1);
}

#[test]
fn an_end_that_tells_otherwise_takes_a_parent_back() {
    let mut world = called();
    world.read_in_turn(3, 4);
    world.answer_in_turn(2, 4);
    world.end(10);
    world.assert_root(3);
}

#[test]
fn where_records_were_lost_no_turn_proves_anything() {
    let mut world = busy();
    world.start(client(3, 1).in_turn(1).losses(1));
    world.end(10);
    world.assert_root(3);
    assert_eq!(world.counts().refused_loss, 1);
}

#[test]
fn while_one_request_is_open_the_process_tells_until_a_turn_does() {
    let mut world = World::new().language(1, Language::Node);
    world.start(server(1, 1));
    world.read_in_turn(1, 1);
    world.start(client(3, 1).in_turn(1));
    world.read_in_turn(3, 4);
    world.start(client(4, 4).in_turn(4));
    world.read_in_turn(4, 6);
    world.answer_in_turn(1, 6);
    world.end(7);
    world.assert_parent(3, 1, "turn");
    world.assert_parent(4, 1, "turn");
}
