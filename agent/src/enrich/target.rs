//! Where a request went.
//!
//! In: its target and `host` as sent, and the connection's far end. Out: scheme, host, port, path and query.

use std::net::IpAddr;

use smol_str::{format_smolstr, SmolStr};

use super::redact;
use crate::capture::event::Endpoint;
use crate::decode::exchange::Request;

/// The port of `http` where none is named.
const HTTP_PORT: u16 = 80;

/// A request's target, taken apart (RFC 9112 §3.2). Parts that the form does not have are `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target<'a> {
    pub scheme: Option<&'a str>,
    /// As sent: may hold credentials.
    pub authority: Option<&'a str>,
    pub path: Option<&'a str>,
    pub query: Option<&'a str>,
}

/// A host and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub address: SmolStr,
    pub port: Option<u16>,
}

impl<'a> Target<'a> {
    pub fn of(request: &'a Request) -> Self {
        let Some(target) = request.target.as_deref() else {
            return Self::default();
        };
        let is_connect = request.method.as_deref() == Some("CONNECT");
        if target.starts_with('/') {
            return Self::default().with_path(target);
        }
        if let (false, Some((scheme, rest))) = (is_connect, target.split_once("://")) {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            let absolute = Self {
                scheme: Some(scheme),
                authority: Some(authority),
                ..Self::default()
            };
            return absolute.with_path(path);
        }
        Self {
            authority: is_connect.then_some(target),
            ..Self::default()
        }
    }

    fn with_path(self, text: &'a str) -> Self {
        let text = text.split('#').next().unwrap_or_default();
        let (path, query) = match text.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (text, None),
        };
        Self {
            path: Some(if path.is_empty() { "/" } else { path }),
            query,
            ..self
        }
    }
}

/// The server as the client named it, else its end of the connection.
pub fn server(target: &Target, request: &Request, server_end: &Endpoint) -> Option<Server> {
    let named = target
        .authority
        .or(request.host.as_deref())
        .map(redact::host)
        .and_then(host_and_port);
    named.or_else(|| match server_end {
        Endpoint::Tcp { address, port } => Some(Server {
            address: self::address(*address),
            port: Some(*port),
        }),
        Endpoint::Unix | Endpoint::Unknown => None,
    })
}

/// The URL a client asked for, without secrets.
pub fn full_url(target: &Target, server: &Server, query: Option<&str>) -> Option<String> {
    let path = target.path?;
    let scheme = target.scheme.unwrap_or("http");
    let authority = match target.authority {
        Some(authority) => redact::authority(authority),
        None => authority_of(server),
    };
    let query = query.map_or(String::new(), |query| format!("?{query}"));
    Some(format!("{scheme}://{authority}{path}{query}"))
}

fn authority_of(server: &Server) -> String {
    let host = match server.address.contains(':') {
        true => format!("[{}]", server.address),
        false => server.address.to_string(),
    };
    match server.port {
        Some(port) if port != HTTP_PORT => format!("{host}:{port}"),
        _ => host,
    }
}

/// An address as text. Spans are full of IPv4 addresses, for which the standard formatting takes ten times as long.
pub fn address(address: IpAddr) -> SmolStr {
    let IpAddr::V4(address) = address else {
        return format_smolstr!("{address}");
    };
    let (mut text, mut length) = ([b'.'; 16], 0);
    for octet in address.octets() {
        for divisor in [100, 10, 1] {
            if octet >= divisor || divisor == 1 {
                text[length] = b'0' + octet / divisor % 10;
                length += 1;
            }
        }
        length += 1;
    }
    String::from_utf8_lossy(&text[..length - 1]).into()
}

/// `host[:port]`, where an IPv6 address stands in brackets (RFC 3986 §3.2.2).
fn host_and_port(authority: &str) -> Option<Server> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']')?;
            (host, rest.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return None;
    }
    Some(Server {
        address: host.into(),
        port: match port {
            None | Some("") => Some(HTTP_PORT),
            Some(port) => port.parse().ok(),
        },
    })
}
