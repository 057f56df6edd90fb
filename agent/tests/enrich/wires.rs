//! Both ends of a connection on this node, in either order.

use std::sync::Arc;

use crate::steps::{client, server, tcp, Start, World};
use spanlet::attach::Language;

const CAME: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const OTHER: &str = "00-11111111111111111111111111111111-1111111111111111-01";

#[test]
fn either_end_may_be_seen_first() {
    for server_first in [false, true] {
        let mut world = World::new();
        let from = client(1, 0).process(1).on_connection(5, 77);
        let to = server(2, 1).process(2).on_connection(5, 77);
        let (first, second) = if server_first { (to, from) } else { (from, to) };
        world.start(first);
        world.start(second);
        world.end(10);
        world.assert_parent(2, 1, "connection");
        assert!(world.span(2).parent_is_remote);
    }
}

#[test]
fn what_a_late_parent_brings_reaches_all_below() {
    let mut world = World::new();
    world.start(server(2, 1).process(2).on_connection(5, 77));
    world.start(client(3, 2).process(2).on_connection(6, 88));
    world.start(server(4, 3).process(3).on_connection(6, 88));
    // The client's start is told last, and dated a little after the server's.
    world.start(client(1, 4).process(1).on_connection(5, 77));
    world.end(10);
    world.assert_parent(2, 1, "connection");
    world.assert_parent(3, 2, "thread");
    world.assert_parent(4, 3, "connection");
}

#[test]
fn addresses_may_be_translated_at_the_far_end() {
    let mut world = World::new();
    world.start(client(1, 0).process(1).on_connection(5, 77).to("10.96.0.1"));
    let mut to = server(2, 1).process(2).on_connection(5, 77);
    Arc::make_mut(&mut to.0.link).local = tcp("10.0.7.7", 8080);
    Arc::make_mut(&mut to.0.link).network_namespace = 2;
    world.start(to);
    world.end(10);
    world.assert_parent(2, 1, "connection");
}

#[test]
fn another_place_in_the_stream_is_another_request() {
    let mut world = World::new();
    world.start(client(1, 0).process(1).on_connection(5, 77));
    world.start(server(2, 1).process(2).on_connection(5, 78));
    world.end(10);
    world.assert_root(2);
}

#[test]
fn pipelined_requests_are_told_apart_by_their_place() {
    let mut world = World::new();
    for id in [1, 2] {
        world.start(client(id, id).process(1).on_connection(5, 70 + id as u32));
    }
    for id in [3, 4] {
        world.start(server(id, id).process(2).on_connection(5, 68 + id as u32));
    }
    world.end(10);
    world.assert_parent(3, 1, "connection");
    world.assert_parent(4, 2, "connection");
}

#[test]
fn the_same_context_at_both_ends_makes_the_client_the_parent() {
    let mut world = World::new();
    world.start(
        client(1, 0)
            .process(1)
            .on_connection(5, 77)
            .context("traceparent", CAME),
    );
    world.start(
        server(2, 1)
            .process(2)
            .on_connection(5, 77)
            .context("traceparent", CAME),
    );
    world.end(10);
    world.assert_parent(2, 1, "connection");
    assert_eq!(world.evidence(1), "traceparent");
    assert_eq!(world.span(2).trace_id.to_string(), CAME[3..35]);
}

/// nginx hands the fields of its request on to php-fpm, which thus comes with the context that nginx came with.
#[test]
fn a_context_that_a_web_server_hands_on_by_fastcgi_names_the_web_servers_parent() {
    let mut world = World::new().language(2, Language::Php);
    let came = |start: Start| start.context("traceparent", CAME);
    world.start(came(server(1, 0).process(1)));
    world.start(came(client(2, 1).process(1).on_unix(0xc, 0x5).fastcgi()));
    world.start(came(server(3, 2).process(2).on_unix(0x5, 0xc).fastcgi()));
    world.start(client(4, 3).process(2));
    world.end(10);
    assert_eq!(world.evidence(1), "traceparent");
    world.assert_parent(2, 1, "thread");
    world.assert_parent(3, 2, "connection");
    world.assert_parent(4, 3, "thread");
}

#[test]
fn a_context_that_was_not_sent_wins_over_the_connection() {
    for sent in [None, Some(OTHER)] {
        let mut world = World::new();
        let from = client(1, 0).process(1).on_connection(5, 77);
        world.start(sent.map_or(from.clone(), |sent| from.context("traceparent", sent)));
        world.start(
            server(2, 1)
                .process(2)
                .on_connection(5, 77)
                .context("traceparent", CAME),
        );
        world.end(10);
        assert_eq!(world.evidence(2), "traceparent");
        assert_eq!(world.counts().refused_context, 1);
    }
}

#[test]
fn unix_sockets_know_their_peers() {
    let mut world = World::new();
    for turn in 0..20 {
        let (at, id) = (turn * 10, turn * 2);
        world.start(client(id, at).process(1).on_unix(0xc, 0x5));
        world.start(server(id + 1, at + 1).process(2).on_unix(0x5, 0xc));
        world.finish(id + 1, at + 2);
        world.finish(id, at + 3);
    }
    world.end(1000);
    for turn in 0..20 {
        world.assert_parent(turn * 2 + 1, turn * 2, "connection");
    }
}

#[test]
fn pipelined_requests_on_a_unix_socket_are_not_told_apart() {
    let mut world = World::new();
    world.start(client(1, 0).process(1).on_unix(0xc, 0x5));
    world.start(client(2, 1).process(1).on_unix(0xc, 0x5));
    world.start(server(3, 2).process(2).on_unix(0x5, 0xc));
    world.end(10);
    world.assert_root(3);
    assert_eq!(world.counts().refused_ambiguous, 1);
}

#[test]
fn a_client_that_gave_up_before_the_server_read_is_no_parent() {
    let mut world = World::new();
    world.start(client(1, 0).process(1).on_connection(5, 77));
    world.finish(1, 20);
    world.start(server(2, 50).process(2).on_connection(5, 77));
    world.end(60);
    world.assert_root(2);
}

#[test]
fn a_trace_that_was_told_does_not_change() {
    let mut world = World::new();
    world.start(server(2, 1).process(2).on_connection(5, 77));
    world.run(client(3, 2).process(2), 3);
    world.wait(200);
    assert_eq!(world.spans.len(), 1, "the child's span is told");
    world.start(client(1, 4).process(1).on_connection(5, 77));
    world.end(300);
    world.assert_root(2);
    world.assert_parent(3, 2, "thread");
    assert_eq!(world.counts().refused_sealed, 1);
}

#[test]
fn tls_is_matched_if_both_saw_its_start_or_neither() {
    for (near, far, is_found) in [
        (Some(true), Some(true), true),
        (Some(true), Some(false), false),
        (Some(false), Some(false), true),
        (Some(true), None, false),
        (None, Some(true), false),
    ] {
        let mut world = World::new();
        world.start(client(1, 0).process(1).on_connection(5, 77).over_tls(near));
        world.start(server(2, 1).process(2).on_connection(5, 77).over_tls(far));
        world.end(10);
        match is_found {
            true => world.assert_parent(2, 1, "connection"),
            false => world.assert_root(2),
        }
    }
}

#[test]
fn sessions_from_before_over_loopback_are_of_one_network_namespace() {
    for (near, far, is_found) in [(7, 7, true), (7, 8, false), (0, 0, false), (7, 0, false)] {
        let mut world = World::new();
        let tls = Some(false);
        world.start(client(1, 0).process(1).on_loopback(5, near).over_tls(tls));
        world.start(server(2, 1).process(2).on_loopback(5, far).over_tls(tls));
        world.end(10);
        match is_found {
            true => world.assert_parent(2, 1, "connection"),
            false => world.assert_root(2),
        }
    }
}

/// Linux gives one port to connections to different servers at once.
#[test]
fn what_tls_carries_to_two_servers_from_one_port_is_told_apart() {
    for from_start in [true, false] {
        let tls = Some(from_start);
        let mut world = World::new();
        // An unseen client calls the one server from the port from which a seen one calls the other.
        let to_one = client(1, 0).process(1).on_loopback(5, 7);
        let by_other = server(2, 1).process(2).on_loopback(5, 7).at_port(443);
        world.start(to_one.over_tls(tls));
        world.start(by_other.over_tls(tls));
        world.end(10);
        world.assert_root(2);
    }
}

#[test]
fn sessions_from_before_are_told_apart_by_time() {
    let mut world = World::new();
    let tls = Some(false);
    // How much each end has counted differs.
    for turn in 0..20 {
        let (at, id) = (turn * 10, turn * 2);
        let [near, far] = [7 * id as u32, 900 + id as u32];
        world.start(
            client(id, at)
                .process(1)
                .on_connection(5, near)
                .over_tls(tls),
        );
        world.start(
            server(id + 1, at + 1)
                .process(2)
                .on_connection(5, far)
                .over_tls(tls),
        );
        world.finish(id + 1, at + 2);
        world.finish(id, at + 3);
    }
    world.end(1000);
    for turn in 0..20 {
        world.assert_parent(turn * 2 + 1, turn * 2, "connection");
    }
}
