//! A recording of FastCGI: php-fpm behind nginx, over a Unix socket, and over TCP on connections that are kept.

use std::path::Path;

use anyhow::Result;
use spanlet_e2e::agent::Backend;
use spanlet_e2e::client::Connection;
use spanlet_e2e::function::{Function, Options};
use spanlet_e2e::language::Language;
use spanlet_e2e::load::Load;
use spanlet_e2e::message::{Framing, Request};
use spanlet_e2e::process::tree;
use spanlet_e2e::runtime;

use super::{get, keep_if_asked, list, recorded};
use crate::stage::named;

#[test]
fn over_a_unix_socket() -> Result<()> {
    record("unix-fastcgi", |options| {
        runtime::named("php-fpm")?.start(options)
    })
}

#[test]
fn over_tcp() -> Result<()> {
    record("tcp-fastcgi", |options| {
        Function::start_as("php-fpm", runtime::php_fpm_over_tcp()?, options)
    })
}

fn record(name: &str, start: impl FnOnce(&Options) -> Result<Function>) -> Result<()> {
    if let Some(why) = runtime::named("php-fpm")?.missing() {
        println!("skipped: php-fpm: {why}");
        return Ok(());
    }
    let next = Function::start(Language::C, &named("next", Options::default()))?;
    let calls_next = Options {
        next: Some(next.address.clone()),
        ..Options::default()
    };
    let main = start(&named("main", calls_next))?;
    let mut pids = tree(main.pid());
    pids.push(next.pid());
    let backend = Backend::SocketTracepoints;
    let files = recorded(name, backend, &pids, |agent, listing: &Path| {
        list(agent, listing)?;
        let mut kept = Connection::open(&main.address)?;
        for (index, route) in ["hello?secret=1", "error?status=404", "big?bytes=20000"]
            .iter()
            .enumerate()
        {
            kept.exchange(&get(index, route))?;
        }
        kept.upload("/t/3/upload", 2_000, Framing::ContentLength)?;
        kept.exchange(&Request::head("/t/4/hello"))?;
        kept.exchange(&get(5, "stream?n=2&ms=2"))?;
        let chain = |index: usize| get(index, &format!("chain?path=/t/{index}/delay%3Fms=5"));
        kept.exchange(&chain(6))?;
        kept.exchange(&get(7, "fan?n=2&path=/t/7/delay%3Fms=5"))?;
        let together = Load {
            in_flight: 2,
            requests: 2,
            keep_alive: true,
        };
        together.run(&main.address, |index| chain(8 + index))?;
        Ok(())
    })?;
    keep_if_asked(&files)
}
