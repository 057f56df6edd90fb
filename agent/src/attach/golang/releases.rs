//! Go: what differs from release to release. In: a version. Out: offsets of fields, from the table beside this file.

use std::str::FromStr;

use spanlet_abi::golang::{ClientOffsets, RouteOffsets, TlsOffsets, TLS_CONNECTION};
use spanlet_abi::limit::NETWORK_WORDS;

use super::births::BirthOffsets;
use super::tls::Sessions;
use super::GoroutineOffsets;

/// The releases that were looked at.
static TABLE: &str = include_str!("offsets.txt");

/// What is known of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    pub goroutine: GoroutineOffsets,
    pub client: ClientOffsets,
    /// `None`: it keeps them in another way.
    pub sessions: Option<Sessions>,
    /// `None`: it does not keep a goroutine's parent, or keeps numbers of goroutines in another way.
    pub births: Option<BirthOffsets>,
    /// `None`: it does not keep by which pattern a request was routed (before Go 1.22).
    pub routes: Option<RouteOffsets>,
}

/// The release of a version (`1.26.8`). `None` for one that was not looked at: a wrong goroutine would make a wrong parent.
pub fn of(version: &str) -> Option<Release> {
    let minor = version
        .strip_prefix("1.")?
        .split(['.', 'r', 'b', '-', ' '])
        .next()?;
    releases().find_map(|(name, release)| (name.strip_prefix("1.")? == minor).then_some(release))
}

/// All of them, by name (`1.26`).
pub fn releases() -> impl Iterator<Item = (&'static str, Release)> {
    let mut lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    let columns: Vec<_> = lines.next().unwrap_or_default().split(' ').collect();
    lines.filter_map(move |line| Row::new(&columns, line).release())
}

/// A line of the table.
struct Row<'a> {
    columns: &'a [&'a str],
    words: Vec<&'static str>,
}

impl<'a> Row<'a> {
    fn new(columns: &'a [&'a str], line: &'static str) -> Self {
        let words = line.split(' ').collect();
        Self { columns, words }
    }

    fn word(&self, column: &str) -> Option<&'static str> {
        let place = self.columns.iter().position(|name| *name == column)?;
        self.words.get(place).copied()
    }

    /// `None`: the release has no such field.
    fn offset<T: FromStr>(&self, column: &str) -> Option<T> {
        self.word(column)?.parse().ok()
    }

    fn release(&self) -> Option<(&'static str, Release)> {
        let release = Release {
            goroutine: GoroutineOffsets {
                id: self.offset("runtime.g.goid")?,
                parent: self.offset("runtime.g.parentGoid"),
            },
            client: self.client()?,
            sessions: self.sessions(),
            births: self.births(),
            routes: self.routes(),
        };
        Some((self.word("release")?, release))
    }

    fn sessions(&self) -> Option<Sessions> {
        let offsets = TlsOffsets {
            descriptor: self.offset("net.netFD.pfd.Sysfd")?,
            family: self.offset("net.netFD.family")?,
            socket_type: self.offset("net.netFD.sotype")?,
            version: self.offset("crypto/tls.Conn.vers")?,
            index: self.offset("crypto/tls.Conn.input.i")?,
            records_in: self.offset("crypto/tls.Conn.in.seq")?,
            records_out: self.offset("crypto/tls.Conn.out.seq")?,
        };
        let connection: u64 = self.offset("crypto/tls.Conn.conn")?;
        let mark = self.offset("crypto/tls.Conn.input.prevRune")?;
        let is_known = connection == TLS_CONNECTION && offsets.fits();
        is_known.then_some(Sessions { offsets, mark })
    }

    fn births(&self) -> Option<BirthOffsets> {
        let _parent: u32 = self.offset("runtime.g.parentGoid")?;
        let numbers = self.offset("runtime.p.goidcache")?;
        let end: u32 = self.offset("runtime.p.goidcacheend")?;
        let births = BirthOffsets {
            thread: self.offset("runtime.g.m")?,
            processor: self.offset("runtime.m.p")?,
            processor_before: self.offset("runtime.m.oldp")?,
            number: self.offset("runtime.p.id")?,
            numbers,
        };
        (end == numbers + 8).then_some(births)
    }

    fn routes(&self) -> Option<RouteOffsets> {
        let pattern = self.offset("net/http.Request.Pattern");
        let pointer = self.offset("net/http.Request.pat");
        let begins_with_text = self.offset("net/http.pattern.str") == Some(0_u16);
        if pattern.is_none() && !begins_with_text {
            return None;
        }
        Some(RouteOffsets {
            stack_end: self.offset("runtime.g.stack.hi")?,
            reader: self.offset("net/http.conn.r")?,
            reader_connection: self.offset("net/http.connReader.conn")?,
            response: self.offset("net/http.conn.curReq")?,
            response_connection: self.offset("net/http.response.conn")?,
            request: self.offset("net/http.response.req")?,
            pattern: pattern.or(pointer)?,
            is_pointed_to: u16::from(pattern.is_none()),
        })
    }

    fn client(&self) -> Option<ClientOffsets> {
        let client = ClientOffsets {
            connection: self.offset("net/http.persistConn.conn")?,
            descriptor: self.offset("net.netFD.pfd.Sysfd")?,
            family: self.offset("net.netFD.family")?,
            socket_type: self.offset("net.netFD.sotype")?,
        };
        let is_near = |offset: u16| {
            let distance = offset.checked_sub(client.descriptor);
            distance.is_some_and(|distance| usize::from(distance) < NETWORK_WORDS * 8)
        };
        (is_near(client.family) && is_near(client.socket_type)).then_some(client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_read() {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
        let columns = lines.clone().next().unwrap().split(' ').count();
        for line in lines.clone() {
            assert_eq!(line.split(' ').count(), columns, "{line}");
        }
        assert_eq!(releases().count(), 7);
        assert_eq!(lines.count(), 1 + 7);
    }

    #[test]
    fn sessions_of_every_release_are_known_and_fit_a_cookie() {
        for (name, release) in releases() {
            let offsets = release.sessions.expect(name).offsets;
            assert_eq!(TlsOffsets::of_cookie(offsets.cookie()), offsets, "{name}");
        }
    }

    #[test]
    fn releases_before_1_21_do_not_keep_the_parent() {
        for (name, release) in releases() {
            assert_eq!(release.goroutine.parent.is_some(), name != "1.19", "{name}");
            assert_eq!(release.births.is_some(), name != "1.19", "{name}");
            let has_patterns = !["1.19", "1.21"].contains(&name);
            assert_eq!(release.routes.is_some(), has_patterns, "{name}");
        }
    }
}
