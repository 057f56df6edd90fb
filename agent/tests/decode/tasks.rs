//! Which task asks and which answers: told where it is certain, and not elsewhere.

use crate::kernel::{run, Talk};
use spanlet::capture::event::Task;
use spanlet::decode::exchange::{Answerer, Answering, ExchangeId};
use spanlet::decode::Step;

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

fn task(id: u64) -> Option<Task> {
    Some(Task { id, born: None })
}

/// Which exchange is answered by which task.
fn answering(talk: &Talk) -> Vec<(ExchangeId, u64)> {
    let told = run(&talk.records);
    let steps = told.steps.iter().filter_map(|step| match step {
        Step::Answering(Answering {
            id,
            by: Answerer::Task(task),
            ..
        }) => Some((*id, task.id)),
        _ => None,
    });
    steps.collect()
}

fn ids(talk: &Talk) -> Vec<ExchangeId> {
    let told = run(&talk.records);
    told.started().map(|started| started.id).collect()
}

#[test]
fn a_request_comes_with_the_task_that_wrote_it() {
    let mut talk = Talk::client();
    talk.request(GET).last().task = task(7);
    talk.answer(OK);
    let told = run(&talk.records);
    let tasks: Vec<_> = told.started().map(|started| started.task).collect();
    assert_eq!(tasks, [task(7)]);
    assert_eq!(answering(&talk), []);
}

#[test]
fn an_answer_tells_its_task_once_when_it_begins() {
    let mut talk = Talk::server();
    talk.request(GET).answer(&OK[..20]).last().task = task(7);
    talk.answer(&OK[20..]);
    talk.request(GET).answer(OK).last().task = task(8);
    talk.request(GET).answer(OK);
    let ids = ids(&talk);
    assert_eq!(answering(&talk), [(ids[0], 7), (ids[1], 8)]);
}

#[test]
fn of_pipelined_answers_the_first_of_a_call_is_of_its_task() {
    let mut talk = Talk::server();
    talk.request([GET, GET].concat());
    talk.answer([OK, OK].concat()).last().task = task(7);
    let ids = ids(&talk);
    assert_eq!(answering(&talk), [(ids[0], 7)]);
}

#[test]
fn after_a_loss_it_is_not_certain_whose_answer_it_is() {
    let mut talk = Talk::server();
    talk.request(GET).answer(OK).lose();
    talk.request(GET).lose();
    talk.answer(OK).last().task = task(7);
    assert_eq!(answering(&talk), []);
}

#[test]
fn a_promise_of_an_answer_is_none() {
    let mut talk = Talk::server();
    talk.request("PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n");
    talk.answer("HTTP/1.1 100 Continue\r\n\r\n").last().task = task(7);
    talk.request("x").answer(OK).last().task = task(8);
    let ids = ids(&talk);
    assert_eq!(answering(&talk), [(ids[0], 8)]);
}
