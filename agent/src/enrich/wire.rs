//! Both ends of a connection on this node.
//!
//! In: exchanges as they start (either end first) and leave. Out: the exchange at the other end that may be the
//! same request. TCP: the client's address and port and the sequence number of the request's first byte are the
//! same at both ends, through destination NAT and network namespaces. Unix sockets: one's peer is the other's own.

use std::net::IpAddr;

use crate::capture::event::Endpoint;
use crate::decode::exchange::{ExchangeId, Link, Side};
use crate::hash::WordMap;

/// Exchanges of one side that are kept for one name. Full: the first is forgotten, and has no other end.
const SAME_NAME_MAX: usize = 8;

/// What a request is called at both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Name {
    /// The client's address and port, and where the request starts.
    Tcp(IpAddr, u16, u32),
    /// Both sockets, the client's first. Requests that follow each other have the same name.
    Unix(u64, u64),
}

#[derive(Debug, Default)]
struct Ends {
    clients: Vec<ExchangeId>,
    servers: Vec<ExchangeId>,
}

/// The exchanges by what they are called.
#[derive(Debug, Default)]
pub struct Wire {
    ends: WordMap<Name, Ends>,
    names: WordMap<ExchangeId, Name>,
}

impl Wire {
    /// Adds an exchange and returns those at the other end.
    pub fn insert(
        &mut self,
        id: ExchangeId,
        side: Side,
        link: &Link,
        position: u32,
    ) -> Vec<ExchangeId> {
        let Some(name) = name(side, link, position) else {
            return Vec::new();
        };
        let ends = self.ends.entry(name).or_default();
        let (own, other) = match side {
            Side::Client => (&mut ends.clients, &ends.servers),
            Side::Server => (&mut ends.servers, &ends.clients),
        };
        let other = other.clone();
        if own.len() >= SAME_NAME_MAX {
            self.names.remove(&own.remove(0));
        }
        own.push(id);
        self.names.insert(id, name);
        other
    }

    /// The client exchanges that are called the same as a server exchange.
    pub fn clients_of(&self, server: ExchangeId) -> &[ExchangeId] {
        let ends = self.names.get(&server).and_then(|name| self.ends.get(name));
        ends.map_or(&[], |ends| &ends.clients)
    }

    /// Takes an exchange out: its other end is found, or its span is emitted.
    pub fn remove(&mut self, id: ExchangeId) {
        let Some(name) = self.names.remove(&id) else {
            return;
        };
        if let Some(ends) = self.ends.get_mut(&name) {
            ends.clients.retain(|client| *client != id);
            ends.servers.retain(|server| *server != id);
            if ends.clients.is_empty() && ends.servers.is_empty() {
                self.ends.remove(&name);
            }
        }
    }
}

fn name(side: Side, link: &Link, position: u32) -> Option<Name> {
    let (client_end, own, peer) = match side {
        Side::Client => (&link.local, Some(link.id.socket), link.peer_socket),
        Side::Server => (&link.remote, link.peer_socket, Some(link.id.socket)),
    };
    match client_end {
        Endpoint::Tcp { address, port } => Some(Name::Tcp(*address, *port, position)),
        Endpoint::Unix => Some(Name::Unix(own?, peer?)),
        Endpoint::Unknown => None,
    }
}
