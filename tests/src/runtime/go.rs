//! The function in Go as it is shipped: stripped, static, position-independent, by each version of the compiler. The
//! versions come from the module proxy, as `go` itself fetches them.

use std::process::Command;

use anyhow::Result;

use super::build::{once, run, source};
use super::{Lack, Runtime};

pub const ROWS: &[Runtime] = &[
    go("go-stripped", || {
        build("go-stripped", INSTALLED, &["-ldflags=-s -w"])
    }),
    go("go-static", || {
        build("go-static", INSTALLED, &["-tags=netgo,osusergo"])
    }),
    go("go-pie", || build("go-pie", INSTALLED, &["-buildmode=pie"])),
    go("go-unoptimised", || {
        build("go-unoptimised", INSTALLED, &["-gcflags=all=-N -l"])
    }),
    go("go-1.21", || build("go-1.21", "go1.21.13", &[])),
    go("go-1.22", || build("go-1.22", "go1.22.12", &[])),
    go("go-1.23", || build("go-1.23", "go1.23.12", &[])),
    go("go-1.24", || build("go-1.24", "go1.24.9", &[])),
    go("go-1.25", || build("go-1.25", "go1.25.3", &[])),
];

/// The toolchain that is on this machine.
const INSTALLED: &str = "local";

const NOTHING: &[Lack] = &[];

const fn go(name: &'static str, command: fn() -> Result<Command>) -> Runtime {
    Runtime {
        name,
        needs: &["go"],
        command,
        lacks: NOTHING,
        is_proxy: false,
    }
}

/// Without cgo only where the row says so: net/http links libc where there is a C compiler.
fn build(name: &str, toolchain: &str, flags: &[&str]) -> Result<Command> {
    let function = source("go/function.go");
    let how = format!("{toolchain} {flags:?}");
    let folder = once(name, &[function.clone()], &how, |folder| {
        let mut go = Command::new("go");
        go.arg("build")
            .args(flags)
            .arg("-o")
            .arg(folder.join("function"));
        go.arg(&function).env("GOTOOLCHAIN", toolchain);
        go.env("CGO_ENABLED", if name == "go-static" { "0" } else { "1" });
        run(&mut go)
    })?;
    Ok(Command::new(folder.join("function")))
}
