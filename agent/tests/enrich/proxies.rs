//! A proxy's event loop: a call belongs to the request that was read, or whose call was answered, directly before it, where no other can have
//! made it; or to the one that is answered with its answer; and to no other.

use crate::steps::{client, server, World};
use spanlet::decode::exchange::{ExchangeId, Moved};

/// A worker of nginx. What it does takes a millisecond each.
struct Nginx {
    world: World,
    now: u64,
}

impl Nginx {
    fn new() -> Self {
        Self {
            world: World::new().nginx(1),
            now: 0,
        }
    }

    fn moved(&mut self, what: Moved) {
        self.world.moved(what, self.now);
        self.now += 1;
    }

    /// A request, all of it.
    fn reads(&mut self, request: u64) {
        self.world.start(server(request, self.now));
        self.moved(Moved::Request(ExchangeId(request)));
    }

    /// A request, but not all of its body.
    fn begins(&mut self, request: u64) {
        self.world.start(server(request, self.now));
        self.moved(Moved::Other);
    }

    fn reads_on(&mut self, request: u64) {
        self.moved(Moved::Request(ExchangeId(request)));
    }

    /// A call over a kept connection.
    fn calls(&mut self, call: u64) {
        self.world.start(client(call, self.now));
        self.moved(Moved::Call);
    }

    /// The first call over a connection that began to connect then.
    fn calls_connected(&mut self, call: u64, since: u64) {
        self.world.start(client(call, self.now).connecting(since));
        self.moved(Moved::Call);
    }

    /// The answer to a call.
    fn gets(&mut self, call: u64) {
        self.world.finish(call, self.now);
        self.moved(Moved::Answer(ExchangeId(call)));
    }

    fn answers(&mut self, request: u64) {
        self.world.answer_on_thread(request, 1, self.now);
        self.world.finish(request, self.now);
        self.moved(Moved::Other);
    }

    /// A request is answered with the answer to a call.
    fn passes(&mut self, call: u64, request: u64) {
        self.gets(call);
        self.answers(request);
    }

    fn end(mut self) -> World {
        self.world.end(self.now);
        self.world
    }
}

#[test]
fn what_is_called_directly_after_a_request_is_its_own() {
    let mut nginx = Nginx::new();
    nginx.reads(1);
    nginx.calls(11);
    nginx.reads(2);
    nginx.calls(12);
    nginx.passes(11, 1);
    nginx.reads(3);
    nginx.calls(13);
    let world = nginx.end();
    for request in [1, 2, 3] {
        world.assert_parent(10 + request, request, "turn");
    }
}

#[test]
fn of_two_that_were_put_off_the_end_tells_and_the_start_does_not() {
    let mut nginx = Nginx::new();
    nginx.reads(1);
    nginx.reads(2);
    nginx.calls(11);
    nginx.moved(Moved::Other);
    nginx.calls(12);
    nginx.passes(12, 2);
    nginx.gets(11);
    nginx.moved(Moved::Other);
    let world = nginx.end();
    world.assert_parent(12, 2, "turn");
    world.assert_root(11);
}

#[test]
fn what_waits_and_is_called_for_meanwhile_costs_no_other_its_parent() {
    let mut nginx = Nginx::new();
    nginx.reads(1);
    nginx.reads(2);
    nginx.moved(Moved::Other);
    // One of both.
    nginx.calls(11);
    nginx.reads(3);
    nginx.calls(13);
    nginx.moved(Moved::Other);
    nginx.calls(12);
    nginx.reads(4);
    nginx.calls(14);
    nginx.reads(5);
    nginx.calls(15);
    nginx.passes(14, 4);
    let world = nginx.end();
    world.assert_root(11);
    world.assert_root(12);
    // The other might have called.
    world.assert_root(13);
    // None of them can; but only the end makes that sure.
    world.assert_parent(14, 4, "turn");
    world.assert_root(15);
}

#[test]
fn the_answer_to_a_call_goes_on_with_its_request() {
    let mut nginx = Nginx::new();
    nginx.reads(1);
    nginx.calls(11);
    nginx.reads(2);
    nginx.calls(12);
    nginx.gets(11);
    nginx.calls(21);
    nginx.passes(21, 1);
    let world = nginx.end();
    world.assert_parent(11, 1, "turn");
    world.assert_parent(21, 1, "turn");
}

#[test]
fn a_second_call_at_once_has_no_parent() {
    let mut nginx = Nginx::new();
    nginx.reads(1);
    nginx.calls(11);
    nginx.calls(21);
    nginx.gets(21);
    nginx.reads(2);
    nginx.answers(2);
    let world = nginx.end();
    world.assert_parent(11, 1, "turn");
    world.assert_root(21);
}

#[test]
fn a_connection_is_of_the_request_that_was_read_before_it_began_to_connect() {
    let mut nginx = Nginx::new();
    nginx.reads(1);
    nginx.reads(2);
    nginx.reads(3);
    nginx.calls_connected(12, 1);
    nginx.calls_connected(11, 0);
    nginx.calls_connected(13, 2);
    nginx.passes(13, 3);
    let world = nginx.end();
    // When it began to connect, the first may have been put off.
    world.assert_root(12);
    world.assert_parent(11, 1, "turn");
    world.assert_parent(13, 3, "turn");
}

#[test]
fn who_connects_already_is_not_free() {
    let mut nginx = Nginx::new();
    nginx.reads(1);
    nginx.reads(2);
    nginx.calls_connected(11, 0);
    nginx.calls_connected(12, 1);
    let world = nginx.end();
    world.assert_parent(11, 1, "turn");
    world.assert_parent(12, 2, "turn");
}

#[test]
fn a_request_that_is_not_whole_proves_nothing_until_it_is_answered() {
    let mut nginx = Nginx::new();
    nginx.reads(9);
    nginx.begins(1);
    nginx.calls(11);
    nginx.reads_on(1);
    nginx.gets(11);
    nginx.answers(1);
    nginx.begins(2);
    nginx.calls(12);
    nginx.reads_on(2);
    nginx.gets(12);
    nginx.moved(Moved::Other);
    nginx.answers(2);
    let world = nginx.end();
    world.assert_parent(11, 1, "turn");
    world.assert_root(12);
}

#[test]
fn an_end_that_tells_otherwise_takes_a_parent_back() {
    let mut nginx = Nginx::new();
    nginx.reads(1);
    nginx.calls(11);
    nginx.reads(2);
    nginx.passes(11, 2);
    let world = nginx.end();
    world.assert_root(11);
    assert_eq!(world.counts().undone, 1);
}

#[test]
fn who_is_answered_while_nothing_has_come_of_its_call_did_not_make_it() {
    let mut nginx = Nginx::new();
    nginx.reads(1);
    nginx.calls(11);
    nginx.reads(2);
    nginx.calls(12);
    nginx.answers(1);
    let world = nginx.end();
    world.assert_root(11);
    world.assert_parent(12, 2, "turn");
}

#[test]
fn an_answer_of_another_status_or_to_a_later_request_is_not_the_calls() {
    let mut nginx = Nginx::new();
    nginx.reads(8);
    nginx.reads(9);
    nginx.calls(11);
    nginx.reads(1);
    nginx.passes(11, 1);
    nginx.calls(12);
    nginx.world.cut(12, nginx.now);
    nginx.moved(Moved::Answer(ExchangeId(12)));
    nginx.answers(8);
    let world = nginx.end();
    world.assert_root(11);
    world.assert_root(12);
}

#[test]
fn what_comes_late_is_of_another_turn() {
    let mut nginx = Nginx::new();
    nginx.reads(9);
    nginx.calls(19);
    nginx.reads(1);
    nginx.now += 20;
    nginx.calls(11);
    nginx.end().assert_root(11);
}

#[test]
fn connections_that_may_carry_more_requests_hide_who_calls() {
    let mut nginx = Nginx::new();
    nginx.reads(9);
    nginx.world.opaque(1, 5, 0, true);
    nginx.reads(1);
    nginx.calls(11);
    nginx.world.opaque_ended(1, 5, nginx.now);
    nginx.answers(1);
    nginx.answers(9);
    nginx.reads(8);
    nginx.calls(18);
    nginx.reads(2);
    nginx.calls(12);
    let world = nginx.end();
    world.assert_root(11);
    world.assert_parent(12, 2, "turn");
}

/// nginx's processes tell each other of their start and end.
#[test]
fn what_a_proxy_says_to_its_own_hides_nobody() {
    let mut nginx = Nginx::new();
    nginx.world.opaque_pair(1, 5, 0);
    nginx.reads(9);
    nginx.calls(19);
    nginx.reads(1);
    nginx.calls(11);
    nginx.end().assert_parent(11, 1, "turn");
}

#[test]
fn what_was_upgraded_carries_no_more_requests() {
    let mut nginx = Nginx::new();
    let start = server(5, 0);
    nginx.world.start(start.clone());
    nginx.world.upgrade(5, 0);
    nginx.world.opaque_on(&start, 0);
    nginx.reads(9);
    nginx.calls(19);
    nginx.reads(1);
    nginx.calls(11);
    nginx.end().assert_parent(11, 1, "turn");
}

#[test]
fn where_records_were_lost_nothing_is_proven() {
    let mut nginx = Nginx::new();
    nginx.reads(9);
    nginx.calls(19);
    nginx.reads(1);
    nginx.world.start(client(11, nginx.now).losses(1));
    nginx.end().assert_root(11);
}

#[test]
fn other_programs_are_not_known_to_be_proxies() {
    let mut nginx = Nginx::new();
    nginx.world = World::new();
    nginx.reads(1);
    nginx.reads(2);
    nginx.calls(11);
    nginx.end().assert_root(11);
}
