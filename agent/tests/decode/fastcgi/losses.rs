//! Records of the kernel that are lost: what is certain goes on, the rest says so.

use super::records::*;
use crate::kernel::{check, Talk};

#[test]
fn an_answer_of_which_a_record_is_lost_has_no_certain_end() {
    let mut talk = Talk::server();
    talk.request(get(1, false, "/"));
    talk.answer(record(STDOUT, 1, HELLO)).lose();
    talk.answer(end(1)).close();
    check(&talk, &["GET / ? 0/? EndUnseen Close"]);
    let mut talk = Talk::client();
    talk.request(get(1, false, "/"))
        .answer(record(STDOUT, 1, HELLO));
    talk.answer(end(1)).lose().close();
    check(&talk, &["GET / 200 0/5 EndUnseen None"]);
}

#[test]
fn bytes_lost_within_a_record_are_counted() {
    let mut talk = Talk::server();
    let body = record(STDIN, 1, [b'x'; 64]);
    let asked = get(1, false, "/");
    talk.request(&asked[..asked.len() - 8]).request(&body[..30]);
    talk.request(&body[30..50]).lose();
    talk.request(&body[50..]).request(record(STDIN, 1, ""));
    talk.answer(answer(1, HELLO)).close();
    let told = check(&talk, &["GET / 200 64/5 Complete Counted"]);
    assert_eq!((told.counts.gaps, told.counts.lost_bytes), (1, 20));
}

#[test]
fn parameters_of_which_a_record_is_lost_are_those_before_it() {
    let asked = get(1, false, "/");
    let mut talk = Talk::server();
    talk.request(&asked[..45]).request(&asked[45..60]).lose();
    talk.request(&asked[60..]).answer(answer(1, HELLO)).close();
    let told = check(&talk, &["GET ? 200 0/5 Complete Counted"]);
    assert_eq!(told.counts.incomplete_heads, 1);
}

/// The next request on the connection is seen, and the answer to the lost one is not taken for another's.
#[test]
fn a_request_of_which_the_start_is_lost() {
    let mut talk = Talk::server();
    talk.request(get(1, true, "/one")).answer(answer(1, HELLO));
    talk.request(begin(1, true)).lose();
    talk.request(&get(1, true, "/two")[16..])
        .answer(answer(1, "Status: 500\r\n\r\n"));
    talk.request(get(1, true, "/three"))
        .answer(answer(1, HELLO))
        .close();
    let told = check(
        &talk,
        &[
            "GET /one 200 0/5 Complete Counted",
            "GET /three 200 0/5 Complete Counted",
        ],
    );
    assert_eq!(told.counts.answers_without_request, 1);
}

#[test]
fn an_answer_that_is_lost_is_not_the_next_ones() {
    for lost in [0, 1] {
        let mut talk = Talk::client();
        talk.request(get(1, true, "/zero")).answer(answer(1, HELLO));
        talk.request(get(1, true, "/one"));
        talk.answer(record(STDOUT, 1, "Status: 500\r\n\r\n"));
        if lost == 0 {
            talk.lose();
        }
        talk.answer(end(1));
        if lost == 1 {
            talk.lose();
        }
        talk.request(get(1, true, "/two"))
            .answer(answer(1, HELLO))
            .close();
        let one = [
            "GET /one ? 0/? EndUnseen None",
            "GET /one 500 0/0 EndUnseen None",
        ][lost];
        check(
            &talk,
            &[
                "GET /zero 200 0/5 Complete Counted",
                one,
                "GET /two 200 0/5 Complete Counted",
            ],
        );
    }
}

/// Its end is lost but for the header, after which the number is another's.
#[test]
fn the_rest_of_an_earlier_answer_is_not_the_next_ones() {
    let mut talk = Talk::client();
    let counted = "Content-Length: 5\r\n\r\nhello";
    talk.request(get(1, true, "/one"));
    talk.answer([&record(STDOUT, 1, counted)[..], &end(1)[..8]].concat());
    talk.answer(&end(1)[8..]).lose();
    talk.request(get(1, true, "/two")).answer(answer(1, HELLO));
    check(
        &talk,
        &[
            "GET /one 200 0/5 Complete Counted",
            "GET /two 200 0/5 Complete Counted",
        ],
    );
}

/// What is lost of other connections is no gap in this one.
#[test]
fn a_loss_elsewhere_changes_nothing() {
    let mut talk = Talk::server();
    talk.request(get(1, true, "/"));
    let answer = answer(1, HELLO);
    talk.answer(&answer[..20]).last().process_losses = 1;
    talk.answer(&answer[20..]).last().process_losses = 1;
    check(&talk, &["GET / 200 0/5 Complete Counted"]);
}

#[test]
fn a_request_that_breaks_off_is_counted_as_unread() {
    let mut talk = Talk::server();
    talk.request(&get(1, false, "/")[..30]).close();
    let told = check(&talk, &[]);
    assert_eq!(told.counts.unread_requests, 1);
}
