//! Go: what differs from release to release. In: the table beside this file, and another one that a user may have; or what a program's
//! own debug information says. Out: offsets of fields, by version. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use spanlet_abi::golang::{ClientOffsets, RouteOffsets, TlsOffsets, TLS_CONNECTION};
use spanlet_abi::limit::NETWORK_WORDS;

use super::births::BirthOffsets;
use super::dwarf::Field;
use super::tls::Sessions;
use super::GoroutineOffsets;

/// The releases that were looked at.
static TABLE: &str = include_str!("offsets.txt");

/// How the line begins that names the columns, and what stands where a release has no such field.
pub const HEAD: &str = "release";
pub const NO_FIELD: &str = "-";
/// Without it nothing is known of a release.
const GOROUTINE: &str = "runtime.g.goid";

/// What is known of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    pub goroutine: GoroutineOffsets,
    /// `None`: a program has none of net/http's clients. Every table has it.
    pub client: Option<ClientOffsets>,
    /// `None`: it keeps them in another way.
    pub sessions: Option<Sessions>,
    /// `None`: it does not keep a goroutine's parent, or keeps numbers of goroutines in another way.
    pub births: Option<BirthOffsets>,
    /// `None`: it does not keep by which pattern a request was routed (before Go 1.22).
    pub routes: Option<RouteOffsets>,
}

/// A release, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    pub release: Release,
    pub by: Teller,
}

/// Who says where a release keeps what is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Teller {
    /// The agent's own table.
    Agent,
    /// The user's table.
    User,
    /// The program's own debug information.
    Program,
}

/// What is known of all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Releases {
    /// By release (`1.26`), or a version of it (`1.26.8`) whose fields are elsewhere.
    known: BTreeMap<String, Known>,
    /// Where the user's table is.
    file: Option<PathBuf>,
}

/// What is wrong with a table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Fault {
    /// From 1.
    pub line: usize,
    pub reason: String,
}

impl Default for Releases {
    /// Those of the agent's own table.
    fn default() -> Self {
        // Its tests hold it to be right.
        let rows = rows(TABLE).unwrap_or_default();
        let mut releases = Self {
            known: BTreeMap::new(),
            file: None,
        };
        releases.learn(rows, Teller::Agent);
        releases
    }
}

impl Releases {
    /// With what a user's table says, which wins.
    pub fn with(file: &Path, table: &str) -> Result<Self, Fault> {
        let mut releases = Self::default();
        releases.learn(rows(table)?, Teller::User);
        releases.file = Some(file.to_owned());
        Ok(releases)
    }

    fn learn(&mut self, rows: Vec<(String, Release)>, by: Teller) {
        let known = rows
            .into_iter()
            .map(|(name, release)| (name, Known { release, by }));
        self.known.extend(known);
    }

    /// What is known of a version (`1.26.8`): by itself, else by its release. `None` for one that was not looked at: a wrong
    /// goroutine would make a wrong parent.
    pub fn of(&self, version: &str) -> Option<&Known> {
        self.known.get(version).or_else(|| {
            let (major, rest) = version.split_once('.')?;
            let minor = rest.split(['.', 'r', 'b', '-', ' ']).next()?;
            self.known.get(&format!("{major}.{minor}"))
        })
    }

    /// The same, where nobody has to be asked before: by the user, or by the agent of a version as Go itself gives them. What a fork
    /// adds to its release's name may be more than a name.
    pub fn surely_of(&self, version: &str) -> Option<&Known> {
        let is_sure = |known: &&Known| known.by == Teller::User || is_plain(version);
        self.of(version).filter(is_sure)
    }

    /// Where the user's table is.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// All of them, by name.
    #[cfg(test)]
    pub fn all(&self) -> impl Iterator<Item = (&str, Release)> {
        let known = self.known.iter();
        known.map(|(name, known)| (name.as_str(), known.release))
    }
}

/// The lines of a table. Errors: any is not as the agent's own are.
fn rows(table: &str) -> Result<Vec<(String, Release)>, Fault> {
    let lines = table.lines().zip(1..);
    let mut lines = lines.filter(|(text, _)| !text.trim().is_empty() && !text.starts_with('#'));
    let (head, line) = lines.next().unwrap_or_default();
    let columns = columns(head).map_err(|reason| Fault { line, reason })?;
    let mut rows: Vec<(String, Release)> = Vec::new();
    for (text, line) in lines {
        let row = release_of(&columns, text);
        let (name, release) = row.map_err(|reason| Fault { line, reason })?;
        if rows.iter().any(|(known, _)| *known == name) {
            let reason = format!("Go {name} is there twice");
            return Err(Fault { line, reason });
        }
        rows.push((name, release));
    }
    Ok(rows)
}

/// Of a line.
fn release_of(columns: &[&str], line: &str) -> Result<(String, Release), String> {
    let (name, row) = Row::new(columns, line)?;
    let release = row.release()?;
    match release.client {
        Some(_) => Ok((name, release)),
        None => Err(
            "net/http.persistConn.conn and the fields of net.netFD are not there, or too far from each other".to_owned(),
        ),
    }
}

fn offset(column: &str, word: &str) -> Result<Option<u16>, String> {
    match word.parse() {
        _ if word == NO_FIELD => Ok(None),
        Ok(offset) => Ok(Some(offset)),
        Err(_) => Err(format!(
            "`{word}` is no offset of {column}: a number of bytes up to {}, or {NO_FIELD}",
            u16::MAX
        )),
    }
}

/// The columns that a table's first line names, each one of those that the agent's own has.
fn columns(head: &str) -> Result<Vec<&str>, String> {
    let columns: Vec<&str> = head.split_whitespace().collect();
    if columns.first() != Some(&HEAD) {
        return Err(format!(
            "the first line that is no comment has to name the columns: `{HEAD} runtime.g.goid …`"
        ));
    }
    let own: Vec<&str> = own_head().split(' ').collect();
    for (index, column) in columns.iter().enumerate() {
        if !own.contains(column) {
            return Err(format!("`{column}` is no field that this agent reads"));
        }
        if columns[..index].contains(column) {
            return Err(format!("`{column}` is there twice"));
        }
    }
    Ok(columns)
}

impl Release {
    /// By fields, each with its offset. Errors: where goroutines have their numbers is not among them.
    pub fn of_fields(fields: &[Field]) -> Result<Self, String> {
        let (columns, offsets): (Vec<&str>, _) = fields.iter().copied().unzip();
        let row = Row {
            columns: &columns,
            offsets,
        };
        row.release()
    }
}

/// Columns, and what a line of a table has in them.
struct Row<'a> {
    columns: &'a [&'a str],
    /// `None`: the release has no such field.
    offsets: Vec<Option<u16>>,
}

impl<'a> Row<'a> {
    /// Gives the release's name, too.
    fn new(columns: &'a [&'a str], line: &'a str) -> Result<(String, Self), String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.len() != columns.len() {
            let (words, columns) = (words.len(), columns.len());
            return Err(format!("has {words} words for {columns} columns"));
        }
        let (name, columns) = (words[0], &columns[1..]);
        if !is_version(name) {
            return Err(format!(
                "`{name}` is no release of Go, such as 1.26, nor a version of one"
            ));
        }
        let named = columns.iter().zip(&words[1..]);
        let offsets = named.map(|(column, word)| offset(column, word));
        let offsets = offsets.collect::<Result<_, _>>()?;
        Ok((name.to_owned(), Self { columns, offsets }))
    }

    fn offset<T: TryFrom<u16>>(&self, column: &str) -> Option<T> {
        let place = self.columns.iter().position(|name| *name == column)?;
        T::try_from((*self.offsets.get(place)?)?).ok()
    }

    /// Errors: what every release has is not there.
    fn release(&self) -> Result<Release, String> {
        let id: u32 = self
            .offset(GOROUTINE)
            .ok_or(format!("{GOROUTINE} is not there"))?;
        Ok(Release {
            goroutine: GoroutineOffsets {
                id,
                parent: self.offset("runtime.g.parentGoid"),
            },
            client: self.client(),
            sessions: self.sessions(),
            births: self.births(),
            routes: self.routes(),
        })
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

/// The line that names the columns of the agent's own table.
fn own_head() -> &'static str {
    let mut lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    lines.next().unwrap_or_default()
}

/// `1.26`, `1.26.8`, `1.27rc1`, `1.27beta2`, and nothing behind it.
fn is_plain(version: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some((major, rest)) = version.split_once('.') else {
        return false;
    };
    let before = ["rc", "beta", "."].into_iter();
    let mut parts = before.filter_map(|mark| rest.split_once(mark));
    let (minor, more) = parts.next().unwrap_or((rest, "0"));
    is_number(major) && is_number(minor) && is_number(more)
}

/// `1.26`, `1.26.8`, `1.27rc1`: what comes behind the release is not looked at.
pub fn is_version(word: &str) -> bool {
    let (major, rest) = word.split_once('.').unwrap_or_default();
    let is_number = |text: &str| text.starts_with(|first: char| first.is_ascii_digit());
    major.parse::<u8>().is_ok() && is_number(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attach::golang::dwarf::FIELDS;

    const HEADED: &str = "release runtime.g.goid net/http.persistConn.conn net.netFD.pfd.Sysfd \
                          net.netFD.family net.netFD.sotype runtime.g.parentGoid\n";

    fn with(lines: &str) -> Result<Releases, Fault> {
        Releases::with(Path::new("/own"), lines)
    }

    #[test]
    fn every_line_of_the_table_is_read() {
        assert_eq!(rows(TABLE).unwrap().len(), 7);
        let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
        assert_eq!(lines.count(), 1 + 7);
    }

    #[test]
    fn knows_releases_that_were_looked_at_and_no_others() {
        let releases = Releases::default();
        let of = |version| {
            let goroutine = releases.of(version)?.release.goroutine;
            Some((goroutine.id, goroutine.parent))
        };
        assert_eq!(of("1.26.8"), Some((152, Some(280))));
        assert_eq!(of("1.24"), Some((160, Some(280))));
        assert_eq!(of("1.25rc1"), Some((152, Some(272))));
        assert_eq!(of("1.19.8"), Some((152, None)));
        for unknown in ["1.27.0", "1.20.14", "1.2", "2.26", "devel go1.28-abc", ""] {
            assert_eq!(of(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_users_line_wins_over_the_agents_own_and_leaves_the_others() {
        let lines = "# mine\n\n1.99 168 80 16 56 64 -\n1.26 176 80 16 56 64 296\n1.25.3 184 80 16 56 64 8\n";
        let releases = with(&lines.replacen("\n\n", &format!("\n{HEADED}"), 1)).unwrap();
        let goroutine = |version| {
            let known = releases.of(version).unwrap();
            (known.release.goroutine.id, known.by)
        };
        assert_eq!(goroutine("1.99.0"), (168, Teller::User));
        assert_eq!(goroutine("1.26.8"), (176, Teller::User));
        assert_eq!(goroutine("1.25.3"), (184, Teller::User));
        assert_eq!(goroutine("1.25.4"), (152, Teller::Agent));
        assert_eq!(releases.file(), Some(Path::new("/own")));
        // A fork of what the user tells of is as he says, of another one is not known before it is asked.
        let surely = |version| Some(releases.surely_of(version)?.by);
        assert_eq!(surely("1.26.8-custom"), Some(Teller::User));
        assert_eq!(surely("1.25.4"), Some(Teller::Agent));
        assert_eq!(surely("1.25.4-custom"), None);
        // What a table has no column for is not known.
        let release = releases.of("1.26.8").unwrap().release;
        assert!(release.sessions.is_none() && release.births.is_none() && release.routes.is_none());
        assert_eq!(
            with(HEADED)
                .unwrap()
                .of("1.26.8")
                .unwrap()
                .release
                .goroutine
                .id,
            152
        );
    }

    #[test]
    fn a_forks_version_is_not_plain() {
        for plain in ["1.26", "1.26.8", "1.27rc1", "1.27beta2", "1.119.0"] {
            assert!(is_plain(plain), "{plain}");
        }
        let others = [
            "1.26-custom",
            "1.26.8-custom",
            "1.26.8 X:swissmap",
            "1.18.5b7",
            "devel go1.28-abc",
            "1.26rc1-x",
            "1.26rc",
            "1.26.",
            "1.",
            "1",
            "",
            "1.26.8.9",
            "1..2",
            "go1.26",
        ];
        for other in others {
            assert!(!is_plain(other), "{other}");
        }
    }

    #[test]
    fn every_column_is_asked_of_programs_and_no_other() {
        let columns: Vec<&str> = own_head().split(' ').skip(1).collect();
        let fields: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
        assert_eq!(columns, fields);
    }

    #[test]
    fn a_program_may_lack_a_client_and_has_to_tell_of_goroutines() {
        let mut fields: Vec<Field> = FIELDS.iter().map(|(name, _)| (*name, None)).collect();
        assert!(Release::of_fields(&fields).unwrap_err().contains(GOROUTINE));
        fields[0].1 = Some(152);
        let release = Release::of_fields(&fields).unwrap();
        assert_eq!(release.goroutine.id, 152);
        assert_eq!((release.client, release.sessions), (None, None));
    }

    #[test]
    fn what_is_wrong_with_a_table_is_told_with_its_line() {
        let wrong = |lines: &str, line: usize, reason: &str| {
            let fault = with(lines).unwrap_err();
            assert_eq!(fault.line, line, "{fault}");
            assert!(fault.reason.contains(reason), "{fault}");
        };
        wrong("", 0, "name the columns");
        wrong("# a\n1.27 168 80 16 56 64 -\n", 2, "name the columns");
        wrong("release runtime.g.id\n", 1, "`runtime.g.id` is no field");
        wrong("release runtime.g.goid runtime.g.goid\n", 1, "twice");
        let row = |row: &str, reason: &str| wrong(&format!("{HEADED}\n{row}\n"), 3, reason);
        row("1.27 168 80", "3 words for 7 columns");
        row("1.27 168 80 16 56 64 272 8", "8 words for 7 columns");
        row("go1.27 168 80 16 56 64 272", "`go1.27` is no release");
        row("1. 168 80 16 56 64 272", "`1.` is no release");
        row(
            "1.27 168 80 16 56 -64 272",
            "`-64` is no offset of net.netFD.sotype",
        );
        row("1.27 168 80 16 56 64 65536", "up to 65535");
        row("1.27 - 80 16 56 64 272", "runtime.g.goid is not there");
        row("1.27 168 80 16 - 64 272", "net.netFD");
        row("1.27 168 80 16 9000 64 272", "too far");
        let twice = format!("{HEADED}1.27 168 80 16 56 64 272\n1.27 168 80 16 56 64 272\n");
        wrong(&twice, 3, "twice");
    }

    #[test]
    fn sessions_of_every_release_are_known_and_fit_a_cookie() {
        for (name, release) in Releases::default().all() {
            let offsets = release.sessions.expect(name).offsets;
            assert_eq!(TlsOffsets::of_cookie(offsets.cookie()), offsets, "{name}");
        }
    }

    #[test]
    fn releases_before_1_21_do_not_keep_the_parent() {
        for (name, release) in Releases::default().all() {
            assert_eq!(release.goroutine.parent.is_some(), name != "1.19", "{name}");
            assert_eq!(release.births.is_some(), name != "1.19", "{name}");
            let has_patterns = !["1.19", "1.21"].contains(&name);
            assert_eq!(release.routes.is_some(), has_patterns, "{name}");
        }
    }
}
