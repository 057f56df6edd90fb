//! By which route a request was served: told where it is certain of which answer it is, and not elsewhere.

use crate::kernel::{run, Talk};
use spanlet::capture::event::RouteName;

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

fn route(address: u64) -> Option<RouteName> {
    Some(RouteName { address, length: 2 })
}

fn routes(talk: &Talk) -> Vec<Option<RouteName>> {
    let told = run(&talk.records);
    told.finished().map(|exchange| exchange.route).collect()
}

#[test]
fn an_answer_tells_its_route_as_it_begins() {
    let mut talk = Talk::server();
    talk.request(GET).answer(&OK[..20]).last().route = route(7);
    talk.answer(&OK[20..]).last().route = route(9);
    talk.request(GET).answer(OK);
    talk.request(GET).answer(OK).last().route = route(8);
    assert_eq!(routes(&talk), [route(7), None, route(8)]);
}

#[test]
fn of_pipelined_answers_the_first_of_a_call_is_of_its_route() {
    let mut talk = Talk::server();
    talk.request([GET, GET].concat());
    talk.answer([OK, OK].concat()).last().route = route(7);
    assert_eq!(routes(&talk), [route(7), None]);
}

#[test]
fn after_a_loss_it_is_not_certain_whose_answer_it_is() {
    let mut talk = Talk::server();
    talk.request(GET).answer(OK).lose();
    talk.request(GET).lose();
    talk.answer(OK).last().route = route(7);
    assert!(!routes(&talk).contains(&route(7)));
}
