//! The function in Go as it is shipped: stripped, static, position-independent, by each version of the compiler. The
//! versions come from the module proxy, as `go` itself fetches them; 1.19, which is older than that, from Debian 12; 1.20
//! from nowhere.

use std::process::Command;

use anyhow::Result;

use super::build::{once, run, source};
use super::Runtime;

pub const ROWS: &[Runtime] = &[
    here("go-stripped", || {
        build("go-stripped", HERE, &["-ldflags=-s -w"])
    }),
    here("go-static", || build("go-static", HERE, &[])),
    here("go-pie", || build("go-pie", HERE, &["-buildmode=pie"])),
    here("go-unoptimised", || {
        build("go-unoptimised", HERE, &["-gcflags=all=-N -l"])
    }),
    Runtime::new("go-1.19", &[DEBIAN_1_19], || {
        let go = Compiler {
            program: DEBIAN_1_19,
            toolchain: "local",
        };
        build("go-1.19", go, &[])
    }),
    fetched("go-1.21", || build("go-1.21", version("go1.21.13"), &[])),
    fetched("go-1.22", || build("go-1.22", version("go1.22.12"), &[])),
    fetched("go-1.23", || build("go-1.23", version("go1.23.12"), &[])),
    fetched("go-1.24", || build("go-1.24", version("go1.24.9"), &[])),
    fetched("go-1.25", || build("go-1.25", version("go1.25.3"), &[])),
];

/// HTTPS, by each release, as it is and stripped.
pub const TLS: &[Runtime] = &[
    here("go-tls", || tls("go-tls", HERE, &[])),
    here("go-tls-stripped", || {
        tls("go-tls-stripped", HERE, &["-trimpath", "-ldflags=-s -w"])
    }),
    here("go-tls-pie", || {
        tls("go-tls-pie", HERE, &["-buildmode=pie"])
    }),
    Runtime::new("go-tls-1.19", &[DEBIAN_1_19], || {
        let go = Compiler {
            program: DEBIAN_1_19,
            toolchain: "local",
        };
        tls("go-tls-1.19", go, STRIPPED)
    }),
    fetched("go-tls-1.21", || {
        tls("go-tls-1.21", version("go1.21.13"), STRIPPED)
    }),
    fetched("go-tls-1.22", || {
        tls("go-tls-1.22", version("go1.22.12"), STRIPPED)
    }),
    fetched("go-tls-1.23", || {
        tls("go-tls-1.23", version("go1.23.12"), STRIPPED)
    }),
    fetched("go-tls-1.24", || {
        tls("go-tls-1.24", version("go1.24.9"), STRIPPED)
    }),
    fetched("go-tls-1.25", || {
        tls("go-tls-1.25", version("go1.25.3"), STRIPPED)
    }),
];
const STRIPPED: &[&str] = &["-ldflags=-s -w"];

/// A program, and which toolchain it is to use.
#[derive(Debug)]
struct Compiler {
    program: &'static str,
    toolchain: &'static str,
}

/// What is on this machine.
const HERE: Compiler = version("local");
const DEBIAN_1_19: &str = "/usr/lib/go-1.19/bin/go";

const fn version(toolchain: &'static str) -> Compiler {
    Compiler {
        program: "go",
        toolchain,
    }
}

const fn here(name: &'static str, command: fn() -> Result<Command>) -> Runtime {
    Runtime::new(name, &["go"], command)
}

/// Go fetches other versions of itself from 1.21 on.
const fn fetched(name: &'static str, command: fn() -> Result<Command>) -> Runtime {
    Runtime::new(name, &["go >= 1.21"], command)
}

fn build(name: &str, compiler: Compiler, flags: &[&str]) -> Result<Command> {
    build_of("go/function.go", name, compiler, flags)
}

fn tls(name: &str, compiler: Compiler, flags: &[&str]) -> Result<Command> {
    build_of("tls/function.go", name, compiler, flags)
}

/// With cgo, as where there is a C compiler: net then links libc. Only the static one is without.
fn build_of(function: &str, name: &str, compiler: Compiler, flags: &[&str]) -> Result<Command> {
    let function = source(function);
    let how = format!("{compiler:?} {flags:?}");
    let folder = once(name, std::slice::from_ref(&function), &how, |folder| {
        let mut go = Command::new(compiler.program);
        go.arg("build").args(flags).arg("-o");
        go.arg(folder.join("function")).arg(&function);
        go.env("GOTOOLCHAIN", compiler.toolchain);
        go.env("CGO_ENABLED", if name == "go-static" { "0" } else { "1" });
        run(&mut go)
    })?;
    Ok(Command::new(folder.join("function")))
}
