//! What a pod's object says. In: JSON. Out: its name, its address.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde_json::Value as Json;

use crate::api::text;
use crate::namespace::PORT;

pub fn name(pod: &Json) -> &str {
    text(pod, "/metadata/name")
}

/// Where its function listens.
pub fn address(pod: &Json) -> Result<SocketAddr> {
    at(text(pod, "/status/podIP"), PORT)
}

/// An address and a port.
pub fn at(address: &str, port: u16) -> Result<SocketAddr> {
    let address = address
        .parse()
        .with_context(|| format!("no address: {address:?}"))?;
    Ok(SocketAddr::new(address, port))
}
