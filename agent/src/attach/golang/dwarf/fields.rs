//! Where fields of structures are, by their names. In: entries of debug information. Out: byte offsets.
//!
//! The structures are found by one walk over all units of Go; what their fields are of, whose entries may be anywhere, by going there,
//! in the order of their places as far as that goes.

use std::collections::BTreeMap;

use super::abbreviations::tag;
use super::entries::{Entries, Unit};
use super::{Fault, Field};
use crate::attach::window::Bytes;

/// What is asked for: the columns of the table (`offsets.txt`), each with how many bytes are there. What has another size means
/// something else than what is read, and is not taken.
pub const FIELDS: [(&str, u64); 27] = [
    ("runtime.g.goid", 8),
    ("runtime.g.parentGoid", 8),
    ("net/http.persistConn.conn", INTERFACE),
    ("net.netFD.pfd.Sysfd", 8),
    ("net.netFD.family", 8),
    ("net.netFD.sotype", 8),
    ("crypto/tls.Conn.conn", INTERFACE),
    ("crypto/tls.Conn.vers", 2),
    ("crypto/tls.Conn.input.i", 8),
    ("crypto/tls.Conn.input.prevRune", 8),
    ("crypto/tls.Conn.in.seq", 8),
    ("crypto/tls.Conn.out.seq", 8),
    ("runtime.g.m", POINTER),
    ("runtime.m.p", POINTER),
    ("runtime.m.oldp", POINTER),
    ("runtime.p.id", 4),
    ("runtime.p.goidcache", 8),
    ("runtime.p.goidcacheend", 8),
    ("runtime.g.stack.hi", POINTER),
    ("net/http.conn.r", POINTER),
    ("net/http.connReader.conn", POINTER),
    ("net/http.conn.curReq", POINTER),
    ("net/http.response.conn", POINTER),
    ("net/http.response.req", POINTER),
    ("net/http.Request.Pattern", STRING),
    ("net/http.Request.pat", POINTER),
    ("net/http.pattern.str", STRING),
];
const POINTER: u64 = 8;
const STRING: u64 = 16;
const INTERFACE: u64 = 16;

/// Types that are gone through to one that has a size; an interface is one by another name, four deep.
const HOPS_MAX: u8 = 12;

/// A way to a field that was gone in part.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// Which field.
    field: usize,
    /// Names of its path that were found.
    depth: usize,
    offset: u64,
    hops: u8,
}

struct Search<'a, B: ?Sized> {
    entries: Entries<'a, B>,
    /// Structure, and path from there.
    paths: Vec<(&'static str, Vec<&'static str>)>,
    /// Structures that were met.
    met: Vec<&'static str>,
    /// Ways that go on at an entry, by its place.
    ways: BTreeMap<u64, Vec<Way>>,
    found: Vec<Option<u16>>,
}

/// Finds all of [`FIELDS`].
pub fn find<B: Bytes + ?Sized>(entries: Entries<'_, B>) -> Result<Vec<Field>, Fault> {
    let mut search = Search {
        entries,
        paths: FIELDS.iter().map(|(name, _)| path(name)).collect(),
        met: Vec::new(),
        ways: BTreeMap::new(),
        found: vec![None; FIELDS.len()],
    };
    search.structures()?;
    search.types()?;
    let fields = FIELDS.iter().zip(search.found);
    Ok(fields.map(|((name, _), found)| (*name, found)).collect())
}

/// Splits `net/http.persistConn.conn`: a package's path has dots of its own only before its last slash.
fn path(name: &'static str) -> (&'static str, Vec<&'static str>) {
    let package = name.rfind('/').map_or(0, |slash| slash + 1);
    let dots = name.match_indices('.').map(|(at, _)| at);
    let end = dots.filter(|at| *at >= package).nth(1);
    let (structure, fields) = name.split_at(end.unwrap_or(name.len()));
    (structure, fields.split('.').skip(1).collect())
}

impl<B: Bytes + ?Sized> Search<'_, B> {
    fn structures(&mut self) -> Result<(), Fault> {
        let mut at = 0;
        while let Some(unit) = self.entries.unit(at)? {
            if unit.is_go && self.structures_of(&unit)? {
                return Ok(());
            }
            at = unit.end;
        }
        Ok(())
    }

    /// Whether all were met.
    fn structures_of(&mut self, unit: &Unit) -> Result<bool, Fault> {
        let mut depth = 1_u64;
        while depth > 0 && self.entries.is_within(unit) {
            if !self.entries.next(unit)? {
                depth -= 1;
                continue;
            }
            let entry = &self.entries.entry;
            let has_children = entry.has_children;
            let mut ways = match entry.tag == tag::STRUCTURE && depth == 1 {
                true => self.begin()?,
                false => Vec::new(),
            };
            if ways.is_empty() {
                depth += u64::from(has_children);
                continue;
            }
            if has_children {
                self.members(unit, &mut ways)?;
            }
            if self.has_met_all() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The ways that begin in the structure at hand.
    fn begin(&mut self) -> Result<Vec<Way>, Fault> {
        let name = self.entries.entry.name.get();
        let paths = self.paths.iter().enumerate();
        let its = paths.filter(|(_, (structure, _))| structure.as_bytes() == name);
        let ways: Vec<Way> = its
            .map(|(field, _)| Way {
                field,
                depth: 0,
                offset: 0,
                hops: 0,
            })
            .collect();
        if let Some(way) = ways.first() {
            let (structure, _) = self.paths[way.field];
            if self.met.contains(&structure) {
                return Err(Fault::Twice(structure));
            }
            self.met.push(structure);
        }
        Ok(ways)
    }

    fn has_met_all(&self) -> bool {
        let mut structures = self.paths.iter();
        structures.all(|(structure, _)| self.met.contains(structure))
    }

    /// Goes on by the members of the structure that was read last, each way once.
    fn members(&mut self, unit: &Unit, ways: &mut Vec<Way>) -> Result<(), Fault> {
        let mut depth = 1_u64;
        while depth > 0 {
            if !self.entries.next(unit)? {
                depth -= 1;
                continue;
            }
            if depth == 1 && self.entries.entry.tag == tag::MEMBER {
                self.member(ways);
            }
            depth += u64::from(self.entries.entry.has_children);
        }
        Ok(())
    }

    fn member(&mut self, ways: &mut Vec<Way>) {
        let entry = &self.entries.entry;
        let (paths, name) = (&self.paths, entry.name.get());
        let is_its = |way: &mut Way| {
            let next = paths[way.field].1.get(way.depth);
            next.is_some_and(|next| next.as_bytes() == name)
        };
        for way in ways.extract_if(.., is_its) {
            let offset = entry.location.and_then(|more| way.offset.checked_add(more));
            if let Some((kind, offset)) = entry.kind.zip(offset) {
                let depth = way.depth + 1;
                let way = Way {
                    depth,
                    offset,
                    ..way
                };
                self.ways.entry(kind).or_default().push(way);
            }
        }
    }

    /// Goes on by the types of members.
    fn types(&mut self) -> Result<(), Fault> {
        let (mut at, mut unit) = (0, None);
        while let Some(place) = self.next_place(at) {
            let ways = self.ways.remove(&place).unwrap_or_default();
            at = place;
            unit = self.unit_of(unit, place)?;
            // A place in none is nowhere.
            let Some(unit) = unit else { continue };
            if self.entries.entry_at(&unit, place)? {
                self.follow(&unit, ways)?;
            }
        }
        Ok(())
    }

    /// The next one from here on, else the first.
    fn next_place(&self, at: u64) -> Option<u64> {
        let mut places = self.ways.range(at..).chain(&self.ways);
        places.next().map(|(place, _)| *place)
    }

    /// The unit that has a place, which is the last one that was read.
    fn unit_of(&mut self, last: Option<Unit>, place: u64) -> Result<Option<Unit>, Fault> {
        let mut at = match last {
            Some(last) if last.has(place) => return Ok(Some(last)),
            Some(last) if last.end <= place => last.end,
            _ => 0,
        };
        while let Some(unit) = self.entries.unit(at)? {
            if unit.has(place) {
                return Ok(unit.is_go.then_some(unit));
            }
            at = unit.end;
        }
        Ok(None)
    }

    /// Goes on by the type that was read last.
    fn follow(&mut self, unit: &Unit, ways: Vec<Way>) -> Result<(), Fault> {
        let entry = &self.entries.entry;
        let (tag, has_children) = (entry.tag, entry.has_children);
        let bytes = match tag {
            tag::POINTER => Some(POINTER),
            _ => entry.bytes,
        };
        if tag == tag::TYPEDEF {
            self.hop(ways);
            return Ok(());
        }
        let is_at_end = |way: &mut Way| self.paths[way.field].1.len() == way.depth;
        let mut ways = ways;
        let ended: Vec<Way> = ways.extract_if(.., is_at_end).collect();
        ended.into_iter().for_each(|way| self.end(way, bytes));
        if tag == tag::STRUCTURE && has_children && !ways.is_empty() {
            self.members(unit, &mut ways)?;
        }
        Ok(())
    }

    /// To what another name is of.
    fn hop(&mut self, ways: Vec<Way>) {
        let Some(kind) = self.entries.entry.kind else {
            return;
        };
        for way in ways.into_iter().filter(|way| way.hops < HOPS_MAX) {
            let hops = way.hops + 1;
            self.ways.entry(kind).or_default().push(Way { hops, ..way });
        }
    }

    fn end(&mut self, way: Way, bytes: Option<u64>) {
        let (_, expected) = FIELDS[way.field];
        if bytes == Some(expected) {
            self.found[way.field] = u16::try_from(way.offset).ok();
        }
    }
}
