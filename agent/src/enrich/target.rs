//! Where a request went.
//!
//! In: its target and `host` as sent, and the connection's far end. Out: scheme, host, port, path and query.

use std::io::{Cursor, Write};
use std::net::IpAddr;

use super::redact;
use crate::capture::event::Endpoint;
use crate::decode::exchange::{Exchange, Request};

/// The ports of `http` and `https` where none is named.
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;
/// `ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255`
const ADDRESS_BYTES_MAX: usize = 45;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server<'a> {
    pub address: &'a str,
    pub port: Option<u16>,
}

/// A text on the stack.
pub struct ShortText<const BYTES_MAX: usize> {
    bytes: [u8; BYTES_MAX],
    length: usize,
}

impl<'a> Target<'a> {
    pub fn of(request: &'a Request) -> Self {
        let Some(target) = request.target.as_deref() else {
            return Self::default();
        };
        if target.starts_with('/') {
            return Self::default().with_path(target);
        }
        let is_connect = request.method.as_deref() == Some("CONNECT");
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
        let mut bytes = text.bytes();
        let end = bytes.position(|byte| matches!(byte, b'?' | b'#'));
        let (path, rest) = text.split_at(end.unwrap_or(text.len()));
        let query = rest
            .strip_prefix('?')
            .and_then(|rest| rest.split('#').next());
        Self {
            path: Some(if path.is_empty() { "/" } else { path }),
            query,
            ..self
        }
    }
}

/// The scheme of a request whose target does not say it: by what its connection carries, or as the web server says that hands it on.
pub fn scheme(exchange: &Exchange) -> Option<&'static str> {
    let is_https = match &exchange.request.gateway {
        Some(gateway) => gateway.is_https?,
        None => exchange.link.tls.is_some(),
    };
    Some(if is_https { "https" } else { "http" })
}

fn default_port(scheme: &str) -> u16 {
    match scheme.eq_ignore_ascii_case("https") {
        true => HTTPS_PORT,
        false => HTTP_PORT,
    }
}

/// The server as the client named it, or as the web server is called that hands the request on. Many of these hand on the name
/// without its port, and say their own.
pub fn named_server<'a>(
    target: &Target<'a>,
    request: &'a Request,
    scheme: Option<&str>,
) -> Option<Server<'a>> {
    let gateway = request.gateway.as_deref();
    let own_port = gateway.and_then(|gateway| gateway.server_port);
    match target.authority.or(request.host.as_deref()) {
        Some(authority) => {
            let (_, host) = redact::authority(authority);
            host_and_port(host, own_port.or(scheme.map(default_port)))
        }
        None => Some(Server {
            address: gateway?.server_name.as_deref()?,
            port: own_port,
        }),
    }
}

/// The address and port of an end of a TCP connection.
pub fn end(endpoint: &Endpoint) -> Option<(ShortText<ADDRESS_BYTES_MAX>, u16)> {
    let Endpoint::Tcp { address, port } = endpoint else {
        return None;
    };
    let text = match address {
        IpAddr::V4(address) => ShortText::dotted(address.octets()),
        IpAddr::V6(address) => ShortText::write(|text| write!(text, "{address}")),
    };
    Some((text, *port))
}

/// Gives the pieces of the URL that a client asked for, without secrets; nothing where there is none.
pub fn full_url(
    target: &Target<'_>,
    scheme: &str,
    server: &Server<'_>,
    query: Option<&str>,
    give: impl FnOnce(&[&str]),
) {
    let Some(path) = target.path else {
        return;
    };
    let (mark, query) = query.map_or(("", ""), |query| ("?", query));
    if let Some(authority) = target.authority {
        let (credentials, host) = redact::authority(authority);
        return give(&[scheme, "://", credentials, host, path, mark, query]);
    }
    let (open, close) = match server.address.contains(':') {
        true => ("[", "]"),
        false => ("", ""),
    };
    let port = server.port.filter(|port| *port != default_port(scheme));
    let text = ShortText::<5>::write(|text| match port {
        Some(port) => write!(text, "{port}"),
        None => Ok(()),
    });
    let (colon, port) = (if port.is_some() { ":" } else { "" }, text.as_str());
    give(&[
        scheme,
        "://",
        open,
        server.address,
        close,
        colon,
        port,
        path,
        mark,
        query,
    ]);
}

impl<const BYTES_MAX: usize> ShortText<BYTES_MAX> {
    /// What is longer than there is room is cut.
    fn write(write: impl FnOnce(&mut Cursor<&mut [u8]>) -> std::io::Result<()>) -> Self {
        let mut bytes = [0; BYTES_MAX];
        let mut cursor = Cursor::new(&mut bytes[..]);
        // Nothing that is written here is longer.
        let _ = write(&mut cursor);
        let length = cursor.position() as usize;
        Self { bytes, length }
    }

    /// An IPv4 address. Spans are full of them, and the standard formatting takes ten times as long.
    fn dotted(octets: [u8; 4]) -> Self {
        let (mut bytes, mut length) = ([b'.'; BYTES_MAX], 0);
        for octet in octets {
            for divisor in [100, 10, 1] {
                if octet >= divisor || divisor == 1 {
                    bytes[length] = b'0' + octet / divisor % 10;
                    length += 1;
                }
            }
            length += 1;
        }
        Self {
            bytes,
            length: length - 1,
        }
    }

    pub fn as_str(&self) -> &str {
        let text = self.bytes.get(..self.length).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }
}

/// `host[:port]`, where an IPv6 address stands in brackets (RFC 3986 §3.2.2).
fn host_and_port(authority: &str, default_port: Option<u16>) -> Option<Server<'_>> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']')?;
            (host, rest.strip_prefix(':'))
        }
        None => {
            let mut bytes = authority.bytes();
            let end = bytes.position(|byte| byte == b':');
            let (host, port) = authority.split_at(end.unwrap_or(authority.len()));
            (host, port.strip_prefix(':'))
        }
    };
    if host.is_empty() {
        return None;
    }
    Some(Server {
        address: host,
        port: match port {
            None | Some("") => default_port,
            Some(port) => port.parse().ok(),
        },
    })
}
