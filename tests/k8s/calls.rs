//! Who called whom, across pods. In: requests that one pod passes on to another. Out: trees of spans, each edge checked.

use anyhow::{ensure, Context, Result};
use spanlet_e2e::otlp::{Kind, Span};

use crate::agent;
use crate::driver::{reachable, Plan, Sent};
use crate::namespace::{Function, Namespace, PORT};
use crate::pods::{address, at, name};
use crate::spans::{self, resource, Arrivals};

const REQUESTS: usize = 40;

/// What a request does that a pod passes on: its own id, and `x` behind it for the one that is passed on.
const PASSED_ON: &str = "/chain?path=%2Ft%2FIDx%2Fhello";

#[test]
fn callers_are_parents_across_pods() -> Result<()> {
    agent::ensure_default()?;
    core()
}

/// From pod to pod: straight to its address, through a Service, and through a Service to itself.
pub fn core() -> Result<()> {
    let namespace = Namespace::traced("calls")?;
    namespace.run(&[Function::new("back", "python")])?;
    let back = namespace.pod("back")?;
    let virtual_address = namespace.service("back")?;
    // Its own Service has to be there before the function that calls it.
    let own = namespace.service("itself")?;
    let calling = |name, next: String| Function {
        next,
        ..Function::new(name, "go")
    };
    namespace.run(&[
        calling("straight", format!("http://{}", address(&back)?)),
        calling("service", format!("http://{virtual_address}")),
        calling("itself", format!("http://{own}")),
    ])?;
    reachable(at(&virtual_address, 80)?)?;
    reachable(at(&own, 80)?)?;
    let mut arrivals = Arrivals::from_now()?;
    for (front, service) in [
        ("straight", None),
        ("service", Some("back")),
        ("itself", Some("itself")),
    ] {
        let pod = namespace.pod(front)?;
        let callee = if front == "itself" { &pod } else { &back };
        let ids = format!("{}-{front}", namespace.name);
        let sent = Plan::new(address(&pod)?, &ids, PASSED_ON).send(REQUESTS)?;
        // Of each request: both of its own, and that of who was called.
        arrivals.wait_for(Kind::Client, &ids, sent.len())?;
        let servers = arrivals.wait_for(Kind::Server, &ids, sent.len() * 2)?;
        let clients = arrivals.wait_for(Kind::Client, &ids, sent.len())?;
        for one in &sent {
            edges(one, &servers, &clients, [name(&pod), name(callee)])
                .with_context(|| format!("{front}, request {}", one.id))?;
        }
        for client in &clients {
            let said = client.text("service.peer.name");
            let expected = service.unwrap_or("back");
            ensure!(
                said == Some(expected),
                "{front}: called {said:?}, not {expected}"
            );
        }
    }
    Ok(())
}

/// Server of the caller, its client, server of the callee: in one trace, each the next one's parent.
fn edges(sent: &Sent, servers: &[Span], clients: &[Span], pods: [&str; 2]) -> Result<()> {
    let one = |spans: &[Span], id: &str| -> Result<Span> {
        let found: Vec<_> = spans
            .iter()
            .filter(|span| spans::id(span) == Some(id))
            .collect();
        ensure!(found.len() == 1, "{} spans of {id}", found.len());
        Ok(found[0].clone())
    };
    let passed_on = format!("{}x", sent.id);
    let (first, call, second) = (
        one(servers, &sent.id)?,
        one(clients, &passed_on)?,
        one(servers, &passed_on)?,
    );
    ensure!(
        first.parent_span_id.is_none(),
        "the driver is not traced: {first:?}"
    );
    ensure!(
        call.parent_span_id.as_ref() == Some(&first.span_id),
        "the call's parent: {call:?}"
    );
    ensure!(call.trace_id == first.trace_id, "more than one trace");
    match &second.parent_span_id {
        Some(parent) => {
            ensure!(parent == &call.span_id, "the callee's parent: {second:?}");
            ensure!(second.trace_id == first.trace_id, "more than one trace");
        }
        // Who calls itself through its Service comes from the node's address and another port: nothing says who it was.
        None => ensure!(pods[0] == pods[1], "the callee has no parent: {second:?}"),
    }
    let names = [&first, &call, &second].map(|span| resource(span, "k8s.pod.name"));
    ensure!(
        names == [Some(pods[0]), Some(pods[0]), Some(pods[1])],
        "pods {names:?}"
    );
    Ok(())
}

#[test]
fn a_port_of_the_node_is_nobodys_name() -> Result<()> {
    agent::ensure_default()?;
    let namespace = Namespace::traced("node")?;
    // The API server's own address is the node's: what is called there is no pod and no Service.
    namespace.run(&[Function {
        next: format!("http://{}:{PORT}", "10.77.0.1"),
        ..Function::new("front", "go")
    }])?;
    let pod = namespace.pod("front")?;
    let mut arrivals = Arrivals::from_now()?;
    let plan = Plan::new(address(&pod)?, &namespace.name, PASSED_ON);
    let listener = std::net::TcpListener::bind(("10.77.0.1", PORT))?;
    let answers = std::thread::spawn(move || -> Result<()> {
        use std::io::{Read, Write};
        let (mut socket, _) = listener.accept()?;
        let mut head = [0; 4096];
        ensure!(socket.read(&mut head)? > 0, "closed at once");
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")?;
        Ok(())
    });
    plan.send(1)?;
    answers
        .join()
        .map_err(|_| anyhow::anyhow!("the listener panicked"))??;
    let calls = arrivals.wait_for(Kind::Client, &namespace.name, 1)?;
    let said = calls[0].text("service.peer.name");
    ensure!(said.is_none(), "the node is called {said:?}");
    Ok(())
}
