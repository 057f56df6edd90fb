//! What a static binary needs. In: a machine. Out: musl's C compiler and, where the standard library is built from
//! source, a static unwinder.

use anyhow::{bail, Result};

use super::apt::Apt;
use crate::build::StaticRoute;
use crate::machine::Machine;
use crate::step::Outcome;

/// musl-gcc (ring has C in it) and what the route to a static standard library lacks.
pub fn musl<M: Machine>(machine: &M, apt: &Apt<M>) -> Result<Outcome> {
    if let Some(route) = StaticRoute::find(machine) {
        return Ok(Outcome::AlreadyThere(route.describe()));
    }
    if machine.find("musl-gcc").is_none() {
        apt.install(&["musl-tools".into()])?;
    }
    if StaticRoute::find(machine).is_none() {
        install_unwinder(apt)?;
    }
    match StaticRoute::find(machine) {
        Some(route) => Ok(Outcome::Done(route.describe())),
        None => {
            bail!("no route to a static binary: add the musl target to rustup's stable toolchain")
        }
    }
}

fn install_unwinder<M: Machine>(apt: &Apt<M>) -> Result<()> {
    match apt.newest("^libunwind-[0-9]+-dev$")? {
        Some((package, _)) => apt.install(&[package]),
        None => bail!("no libunwind-N-dev in the distribution: add the musl target to rustup's stable toolchain"),
    }
}
