//! TLS whose session is seen: from something opaque to the exchanges that it carries.

use crate::kernel::{check, Talk};
use spanlet::capture::event::TlsVersion;
use spanlet::decode::exchange::{Side, Tls};
use spanlet::decode::Step;

const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
const ENCRYPTED: &[u8] = b"\x17\x03\x03\x00\x20GET /no HTTP/1.1\r\n\r\n";
const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const LINE: &str = "GET /a 200 0/5 Complete Counted";

#[test]
fn what_was_opaque_is_read() {
    for side in [Side::Server, Side::Client] {
        let mut talk = Talk::new(side);
        talk.request(HELLO).answer(HELLO).decrypted(true);
        talk.request(GET).answer(OK).request(GET).answer(OK).close();
        let told = check(&talk, &[LINE, LINE]);
        assert_eq!(told.opaque(), (1, 1));
        assert!(matches!(told.steps[0], Step::Opaque { tls: true, .. }));
        let tls = Some(Tls {
            from_start: true,
            version: TlsVersion::V1_3,
        });
        assert!(told.started().all(|started| started.link.tls == tls));
        assert!(told.finished().all(|exchange| exchange.link.tls == tls));
        let first: Vec<_> = told
            .started()
            .map(|s| (s.first_on_connection, s.position))
            .collect();
        assert_eq!(first, [(true, 0), (false, GET.len() as u32)]);
    }
}

#[test]
fn a_session_that_is_seen_from_its_first_byte_was_never_opaque() {
    let mut talk = Talk::server();
    talk.decrypted(true)
        .request(&GET[..9])
        .request(&GET[9..])
        .answer(OK)
        .close();
    assert_eq!(check(&talk, &[LINE]).opaque(), (0, 0));
}

#[test]
fn encrypted_bytes_that_come_late_are_not_read() {
    let mut talk = Talk::server();
    talk.request(HELLO).decrypted(true).request(GET);
    talk.encrypted(ENCRYPTED).encrypted(ENCRYPTED);
    talk.answer(OK).request(GET).answer(OK).close();
    let told = check(&talk, &[LINE, LINE]);
    assert_eq!((told.counts.gaps, told.counts.malformed), (0, 0));
}

#[test]
fn a_session_seen_from_its_middle_is_read_from_the_next_request_on() {
    for side in [Side::Server, Side::Client] {
        let mut talk = Talk::new(side);
        talk.request(HELLO).answer(HELLO).decrypted(false);
        talk.answer("rest of an answer")
            .request(GET)
            .answer(OK)
            .close();
        let told = check(&talk, &[LINE]);
        let tls = Some(Tls {
            from_start: false,
            version: TlsVersion::V1_3,
        });
        assert!(told.started().all(|started| started.link.tls == tls));
    }
}

#[test]
fn a_lost_record_loses_its_own_request() {
    let mut talk = Talk::server();
    talk.request(HELLO).decrypted(true);
    talk.request(GET).answer(OK).request(GET).lose().answer(OK);
    talk.request(GET).answer(OK).close();
    let told = check(&talk, &[LINE, LINE]);
    assert_eq!(
        (told.counts.gaps, told.counts.lost_bytes),
        (1, GET.len() as u64)
    );
}

#[test]
fn other_protocols_within_tls_stay_opaque() {
    let mut talk = Talk::server();
    talk.request(HELLO).decrypted(true);
    talk.request("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .request(GET)
        .close();
    let told = check(&talk, &[]);
    assert_eq!(told.opaque(), (2, 2));
    let told_tls = |step: &Step| matches!(step, Step::Opaque { tls: true, .. });
    assert_eq!(told.steps.iter().filter(|step| told_tls(step)).count(), 1);
}

/// What is sent in pieces may have anything at the start of one.
#[test]
fn bytes_within_a_turn_do_not_make_it_something_else() {
    for bytes in [HELLO, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut talk = Talk::already_open(Side::Server);
        talk.request("rest of a request").request(bytes);
        talk.answer(OK).request(GET).answer(OK).close();
        check(&talk, &[LINE]);
    }
}

/// What is written before the handshake that it makes has no version yet.
#[test]
fn a_version_that_is_known_later_is_taken() {
    let mut talk = Talk::client();
    talk.decrypted(true).request(GET);
    talk.last().tls = Some(TlsVersion::Unknown);
    talk.answer(OK).request(GET);
    // Known once, it stays.
    talk.last().tls = Some(TlsVersion::Unknown);
    talk.answer(OK).close();
    let told = check(&talk, &[LINE, LINE]);
    let tls = Some(Tls {
        from_start: true,
        version: TlsVersion::V1_3,
    });
    assert!(told.finished().all(|exchange| exchange.link.tls == tls));
    assert_eq!(told.opaque(), (0, 0));
}

#[test]
fn a_tunnel_through_a_proxy_is_read_on_its_inside() {
    let mut talk = Talk::client();
    talk.request("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n");
    talk.answer("HTTP/1.1 200 OK\r\n\r\n")
        .request(HELLO)
        .answer(HELLO);
    talk.decrypted(true).request(GET).answer(OK).close();
    let told = check(
        &talk,
        &["CONNECT h:443 200 0/? Complete Counted upgraded", LINE],
    );
    let tls: Vec<bool> = told
        .finished()
        .map(|exchange| exchange.link.tls.is_some())
        .collect();
    assert_eq!(tls, [false, true]);
}
