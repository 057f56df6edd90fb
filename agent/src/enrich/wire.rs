//! Both ends of a connection on this node.
//!
//! In: exchanges as they start (either end first) and leave. Out: the exchange at the other end that may be the
//! same request. TCP: the client's address and port and the sequence number of the request's first byte are the
//! same at both ends, through destination NAT and network namespaces; of what TLS carries, the count of bytes before it. Unix sockets:
//! one's peer is the other's own. Where an end does not know how much went before, as on Unix sockets and in TLS sessions from before the
//! agent, the requests of a connection have one name, and time tells them apart: there is one at once. Counts are often equal, and a port
//! may be that of connections to several servers at once: in TLS sessions from before, and all on loopback, the server's end counts too,
//! which destination NAT changes.

use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::net::{IpAddr, Ipv6Addr};

use crate::capture::event::Endpoint;
use crate::decode::exchange::{ExchangeId, Link, Side};
use crate::few::Few;
use crate::hash::WordMap;

/// Exchanges of one side that are kept for one name. Full: the first is forgotten, and has no other end.
const SAME_NAME_MAX: usize = 8;

/// What a request is called at both ends. TCP: the client's address, its port and where the request starts, if that is known.
/// Unix: both sockets, the client's first. Requests that follow each other have the same name where it has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name(u64, u64, u64);

/// Not a port and a position.
const UNIX: u64 = u64::MAX;
/// The position is one of what TLS carries.
const TLS: u64 = 1 << 48;
/// There is no position: what TLS carried before was not seen.
const TLS_FROM_BEFORE: u64 = 1 << 49;

/// The exchanges of one name.
#[derive(Debug, Default)]
pub struct Ends {
    clients: Few<ExchangeId>,
    servers: Few<ExchangeId>,
}

/// The exchanges by what they are called.
#[derive(Debug, Default)]
pub struct Wire {
    ends: WordMap<Name, Ends>,
}

impl Wire {
    /// Adds an exchange and returns all of its name.
    pub fn insert(&mut self, id: ExchangeId, side: Side, name: Name) -> &Ends {
        let ends = self.ends.entry(name).or_default();
        let own = match side {
            Side::Client => &mut ends.clients,
            Side::Server => &mut ends.servers,
        };
        if let [first, _, ..] = *own.as_slice() {
            if own.as_slice().len() >= SAME_NAME_MAX {
                own.remove(first);
            }
        }
        own.push(id);
        ends
    }

    /// Takes an exchange out: its other end is found, or its span is emitted.
    pub fn remove(&mut self, id: ExchangeId, name: Name) {
        if let Entry::Occupied(mut entry) = self.ends.entry(name) {
            let ends = entry.get_mut();
            ends.clients.remove(id);
            ends.servers.remove(id);
            if ends.clients.is_empty() && ends.servers.is_empty() {
                entry.remove();
            }
        }
    }
}

impl Ends {
    pub fn clients(&self) -> &[ExchangeId] {
        self.clients.as_slice()
    }

    pub fn servers(&self) -> &[ExchangeId] {
        self.servers.as_slice()
    }
}

impl Name {
    /// None where an end is not known, or where in its stream a request starts.
    pub fn of(side: Side, link: &Link, position: u32) -> Option<Self> {
        let (client_end, own, peer) = match side {
            Side::Client => (&link.local, Some(link.id.socket), link.peer_socket),
            Side::Server => (&link.remote, link.peer_socket, Some(link.id.socket)),
        };
        match client_end {
            Endpoint::Tcp { address, port } => {
                let address = bits(address);
                let is_on_loopback = Ipv6Addr::from_bits(address).to_canonical().is_loopback();
                let namespace = match is_on_loopback {
                    true => link.network_namespace,
                    false => 0,
                };
                let server = || server_of(side, link, namespace);
                let (place, server) = match link.tls {
                    None => (u64::from(position), 0),
                    Some(tls) if tls.from_start && is_on_loopback => {
                        (TLS | u64::from(position), server()?)
                    }
                    Some(tls) if tls.from_start => (TLS | u64::from(position), 0),
                    Some(_) if is_on_loopback && namespace == 0 => return None,
                    Some(_) => (TLS_FROM_BEFORE, server()?),
                };
                let place = place | u64::from(*port) << 32;
                Some(Self((address >> 64) as u64 ^ server, address as u64, place))
            }
            Endpoint::Unix => Some(Self(own?, peer?, UNIX)),
            Endpoint::Unknown => None,
        }
    }

    /// Whether the requests of a connection have names of their own. Where not, and one was missed, the ends of another would be
    /// taken for it.
    pub fn has_place(&self) -> bool {
        // Unix sockets' has all bits.
        self.2 & TLS_FROM_BEFORE == 0
    }
}

/// The server's end, for those whose place does not tell two connections from one port to two servers from each other: as a number in
/// which all of it counts, and the network namespace, where that is given. `None`: it is not known.
fn server_of(side: Side, link: &Link, namespace: u32) -> Option<u64> {
    let end = match side {
        Side::Client => &link.remote,
        Side::Server => &link.local,
    };
    let Endpoint::Tcp { address, port } = end else {
        return None;
    };
    let numbers = BuildHasherDefault::<DefaultHasher>::default();
    Some(numbers.hash_one((bits(address), *port, namespace)))
}

fn bits(address: &IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}
