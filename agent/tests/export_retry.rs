//! When a request is tried again, and what a collector may say about it.

use std::time::Duration;

use prost::Message;
use spanlet::export::otlp::status::{retry_after, retry_delay, status_message, RpcStatus};
use spanlet::export::retry::{Policy, Retry, Tries};

#[tokio::test(start_paused = true)]
async fn waits_double_with_jitter_up_to_their_bound() {
    let policy = Policy {
        tries_max: 9,
        time_max: Duration::from_secs(1000),
        back_off: Duration::from_secs(1),
        back_off_max: Duration::from_secs(30),
    };
    let mut tries = Tries::begin(policy);
    for whole in [1, 2, 4, 8, 16, 30, 30, 30] {
        let wait = tries.failed(Retry::BackOff).unwrap();
        let whole = Duration::from_secs(whole);
        assert!(whole / 2 <= wait && wait <= whole, "{wait:?} of {whole:?}");
    }
    assert_eq!(tries.failed(Retry::BackOff), None);
}

#[tokio::test(start_paused = true)]
async fn jitter_spreads() {
    let mut tries = Tries::begin(Policy {
        tries_max: 100,
        back_off_max: Duration::from_secs(1),
        ..Policy::default()
    });
    let waits: std::collections::HashSet<_> = (0..50)
        .filter_map(|_| tries.failed(Retry::BackOff))
        .collect();
    assert!(waits.len() > 40, "{}", waits.len());
}

#[tokio::test(start_paused = true)]
async fn time_runs_out() {
    let mut tries = Tries::begin(Policy::default());
    tokio::time::advance(Duration::from_secs(58)).await;
    assert!(tries.failed(Retry::BackOff).is_some());
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(tries.failed(Retry::BackOff), None);
}

#[tokio::test(start_paused = true)]
async fn the_server_decides_the_wait_within_the_time() {
    let mut tries = Tries::begin(Policy::default());
    let wait = Duration::from_secs(17);
    assert_eq!(tries.failed(Retry::After(wait)), Some(wait));
    assert_eq!(tries.failed(Retry::After(Duration::from_secs(61))), None);
    assert_eq!(
        Tries::begin(Policy::default()).failed(Retry::After(Duration::MAX)),
        None
    );
    assert_eq!(Tries::begin(Policy::default()).failed(Retry::Never), None);
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    // RFC 9110 §5.6.7's own date.
    let now = Duration::from_secs(784_111_777);
    let after = |value| retry_after(value, now).map(|wait| wait.as_secs());
    assert_eq!(after("120"), Some(120));
    assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(0));
    assert_eq!(after("Sun, 06 Nov 1994 08:50:40 GMT"), Some(63));
    assert_eq!(
        after("Thu, 29 Feb 1996 00:00:00 GMT"),
        Some(825_552_000 - 784_111_777)
    );
    assert_eq!(
        after("Sat, 01 Jan 2000 00:00:00 GMT"),
        Some(946_684_800 - 784_111_777)
    );
    assert_eq!(after("Wed, 01 Jan 1986 00:00:00 GMT"), Some(0));
    for bad in [
        "",
        "soon",
        "-1",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "Sun, 06 Nov 99999999999 08:49:37 GMT",
    ] {
        assert_eq!(after(bad), None, "{bad}");
    }
}

#[test]
fn foreign_details_are_read_with_care() {
    assert_eq!(retry_delay(b""), None);
    assert_eq!(retry_delay(b"\xff\xff\xff"), None);
    let said = RpcStatus {
        message: "no such tenant\x1b[2J\nsecond line".into(),
        ..Default::default()
    };
    assert_eq!(status_message(&said.encode_to_vec()), ": no such tenant[2J");
    assert_eq!(
        status_message(b"<html>not found</html>"),
        ": <html>not found</html>"
    );
    assert_eq!(status_message(b""), "");
    assert_eq!(status_message(&[b'x'; 10_000]).len(), 202);
}
