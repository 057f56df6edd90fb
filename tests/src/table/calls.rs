//! The cases of functions that call another one. In: a function. Out: what was sent, and what it requests for that.

use anyhow::{ensure, Result};

use super::cases::{least, sent_all, Scene};
use super::sent::{Calls, Sent};
use crate::load::Load;
use crate::message::Request;

const WORK_MS: u64 = 3;

pub fn chain(scene: &Scene, in_flight: usize) -> Result<Vec<Sent>> {
    let load = Load {
        in_flight,
        requests: 24,
        keep_alive: false,
    };
    let request = |index| {
        let path = called(scene, index);
        Request::get(scene.target(index, &format!("chain?path={path}%3Fms={WORK_MS}")))
    };
    let answers = load.run(scene.address, request)?;
    for answer in &answers {
        ensure!(
            answer.text() == format!("delayed {WORK_MS}\n"),
            "{answer:?}"
        );
    }
    let requests: Vec<_> = (0..load.requests).map(request).collect();
    let sent = sent_all(&requests, &answers).into_iter();
    let sent = sent.map(|sent| sent.among(in_flight)).collect();
    Ok(calling(scene, sent, 1))
}

pub fn fan(scene: &Scene) -> Result<Vec<Sent>> {
    let request = |index| {
        let path = called(scene, index);
        Request::get(scene.target(index, &format!("fan?n=4&path={path}%3Fms={WORK_MS}")))
    };
    let requests: Vec<_> = (0..6).map(request).collect();
    let answers = scene.exchange(&requests)?;
    for answer in &answers {
        ensure!(answer.text() == "fan 200,200,200,200\n", "{answer:?}");
    }
    Ok(calling(scene, sent_all(&requests, &answers), 4))
}

pub fn hop(scene: &Scene) -> Result<Vec<Sent>> {
    let port = scene.next.port().unwrap_or_default();
    let request = |index| {
        let child = format!("{port};{}?ms={WORK_MS};0;0;s;", called(scene, index));
        Request::get(format!("/hop/{}:{index}/caller", scene.case))
            .header("X-Plan", format!("0;/;1;1;s;1,2|{child}|{child}"))
            .header("X-Node", "0")
    };
    let requests: Vec<_> = (0..6).map(request).collect();
    let answers = scene.exchange(&requests)?;
    for answer in &answers {
        ensure!(
            answer.status == 200 && answer.text() == "ok\n",
            "{answer:?}"
        );
    }
    Ok(calling(scene, sent_all(&requests, &answers), 2))
}

fn calling(scene: &Scene, sent: Vec<Sent>, count: usize) -> Vec<Sent> {
    let calls = |(index, sent): (usize, Sent)| {
        let path = called(scene, index);
        let calls = Calls { path, count };
        sent.taking(least(WORK_MS)).calling(calls)
    };
    sent.into_iter().enumerate().map(calls).collect()
}

/// The path that the function requests of the next one.
fn called(scene: &Scene, index: usize) -> String {
    scene.target(index, "delay")
}
