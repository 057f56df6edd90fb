//! The running kernel's own description of its types (BTF): byte offsets of fields, and which tracepoints exist.
//!
//! In: `/sys/kernel/btf/vmlinux` (format: Documentation/bpf/btf.rst). Out: offsets by structure and field path.
//! Reads the one file, keeps an index of four bytes a type and only for as long as it is used: general readers
//! cost this agent its memory budget.

use std::collections::HashMap;
use std::path::Path;

use super::Error;

const MAGIC: u16 = 0xeb9f;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const WRAPPERS: std::ops::RangeInclusive<u32> = TYPEDEF..=11;
const TYPE_TAG: u32 = 18;
/// Wrappers around a type are followed this deep, and anonymous structures within structures.
const DEPTH_MAX: usize = 8;
/// Members looked at for one field. The largest structures of a kernel have some hundred; a file that is none can have
/// structures within themselves.
const MEMBERS_MAX: usize = 1 << 14;

/// A parsed BTF file.
pub struct Btf {
    bytes: Vec<u8>,
    strings: usize,
    /// Byte offset of each type, by id; id 0 is `void`.
    types: Vec<usize>,
    /// Ids of structures, unions, enumerations and typedefs by name.
    names: HashMap<Vec<u8>, u32>,
}

#[derive(Clone, Copy)]
struct Type {
    at: usize,
    name: u32,
    kind: u32,
    members: usize,
    bitfields: bool,
    refers_to: u32,
}

impl Btf {
    /// Reads the running kernel's BTF.
    pub fn of_kernel() -> Result<Self, Error> {
        let path = Path::new("/sys/kernel/btf/vmlinux");
        let bytes = std::fs::read(path).map_err(|source| Error::Btf {
            path: path.to_owned(),
            reason: source.to_string(),
        })?;
        Self::parse(bytes).ok_or_else(|| Error::Btf {
            path: path.to_owned(),
            reason: "not a BTF file".to_owned(),
        })
    }

    /// Reads the bytes of a BTF file. `None`: they are not one.
    pub fn parse(bytes: Vec<u8>) -> Option<Self> {
        if u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?) != MAGIC {
            return None;
        }
        let header = word(&bytes, 4)? as usize;
        let first = header + word(&bytes, 8)? as usize;
        let end = first + word(&bytes, 12)? as usize;
        let strings = header + word(&bytes, 16)? as usize;
        let mut btf = Self {
            bytes,
            strings,
            types: vec![0],
            names: HashMap::new(),
        };
        let mut at = first;
        while at < end {
            let this = btf.type_at(at)?;
            if matches!(this.kind, STRUCT | UNION | ENUM | TYPEDEF) && this.name != 0 {
                let name = btf.string(this.name).to_vec();
                let id = btf.types.len() as u32;
                // A structure is wanted before a typedef of its name, and the first before a later one.
                if this.kind == STRUCT && !btf.is_structure(&name) {
                    btf.names.insert(name, id);
                } else {
                    btf.names.entry(name).or_insert(id);
                }
            }
            btf.types.push(at);
            // A kind from the future has an unknown length: what came before it is all that is known.
            let Some(bytes) = trailing_bytes(this.kind, this.members) else {
                break;
            };
            at += 12 + bytes;
        }
        Some(btf)
    }

    /// Byte offset of a field within a structure; `path` goes through named members, anonymous ones are looked
    /// into. `None` where the kernel has no such field or it is a bit field.
    pub fn offset(&self, structure: &str, path: &[&str]) -> Option<u32> {
        let mut id = *self.names.get(structure.as_bytes())?;
        let mut bits: u32 = 0;
        let mut left = MEMBERS_MAX;
        for name in path {
            let (offset, next) = self.member(id, name.as_bytes(), DEPTH_MAX, &mut left)?;
            bits = bits.checked_add(offset)?;
            id = next;
        }
        bits.is_multiple_of(8).then_some(bits / 8)
    }

    /// How many values an enumeration has; 0 where the kernel has no such.
    pub fn values(&self, enumeration: &str) -> usize {
        let id = self.names.get(enumeration.as_bytes());
        id.and_then(|id| self.resolve(*id))
            .filter(|this| this.kind == ENUM)
            .map_or(0, |this| this.members)
    }

    fn is_structure(&self, name: &[u8]) -> bool {
        let id = self.names.get(name).copied().unwrap_or_default();
        self.types
            .get(id as usize)
            .and_then(|at| self.type_at(*at))
            .is_some_and(|this| this.kind == STRUCT)
    }

    /// Whether the kernel has this raw tracepoint.
    pub fn has_tracepoint(&self, name: &str) -> bool {
        self.names
            .contains_key(format!("btf_trace_{name}").as_bytes())
    }

    /// Bit offset and type of a member; `left` members are looked at at most.
    fn member(&self, id: u32, name: &[u8], depth: usize, left: &mut usize) -> Option<(u32, u32)> {
        let this = self.resolve(id)?;
        if depth == 0 || !matches!(this.kind, STRUCT | UNION) {
            return None;
        }
        (0..this.members).find_map(|index| {
            *left = left.checked_sub(1)?;
            let at = this.at + 12 + index * 12;
            let member_name = word(&self.bytes, at)?;
            let member_type = word(&self.bytes, at + 4)?;
            let offset = bit_offset(word(&self.bytes, at + 8)?, this.bitfields)?;
            if member_name == 0 {
                let (inner, found) = self.member(member_type, name, depth - 1, left)?;
                Some((offset.checked_add(inner)?, found))
            } else if self.string(member_name) == name {
                Some((offset, member_type))
            } else {
                None
            }
        })
    }

    /// The type behind typedefs and qualifiers.
    fn resolve(&self, id: u32) -> Option<Type> {
        let mut this = self.type_at(*self.types.get(id as usize)?)?;
        for _ in 0..DEPTH_MAX {
            if !WRAPPERS.contains(&this.kind) && this.kind != TYPE_TAG {
                break;
            }
            this = self.type_at(*self.types.get(this.refers_to as usize)?)?;
        }
        Some(this)
    }

    fn type_at(&self, at: usize) -> Option<Type> {
        let info = word(&self.bytes, at + 4)?;
        Some(Type {
            at,
            name: word(&self.bytes, at)?,
            kind: info >> 24 & 0x1f,
            members: (info & 0xffff) as usize,
            bitfields: info >> 31 == 1,
            refers_to: word(&self.bytes, at + 8)?,
        })
    }

    fn string(&self, offset: u32) -> &[u8] {
        let rest = self
            .bytes
            .get(self.strings + offset as usize..)
            .unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// A member's bit offset; `None` for a bit field.
fn bit_offset(offset: u32, bitfields: bool) -> Option<u32> {
    if !bitfields {
        return Some(offset);
    }
    (offset >> 24 == 0).then_some(offset & 0x00ff_ffff)
}

/// Bytes that follow the common part of a type.
fn trailing_bytes(kind: u32, members: usize) -> Option<usize> {
    Some(match kind {
        1 | 14 | 17 => 4,
        3 => 12,
        STRUCT | UNION | 15 | 19 => 12 * members,
        ENUM | 13 => 8 * members,
        2 | 7..=12 | 16 | TYPE_TAG => 0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A BTF file with `struct outer { int a; struct { int b; }; int c:3; }` (ids 1 to 3) and `enum few { x, y }`.
    fn sample() -> Vec<u8> {
        let strings = b"\0outer\0a\0b\0c\0int\0few\0x\0y\0";
        let types: Vec<u32> = [
            vec![13, 1 << 24, 4, 32],
            vec![0, STRUCT << 24 | 1, 4, 9, 1, 0],
            vec![
                1,
                1 << 31 | STRUCT << 24 | 3,
                12,
                7,
                1,
                0,
                0,
                2,
                32,
                11,
                1,
                3 << 24 | 64,
            ],
            vec![17, ENUM << 24 | 2, 4, 21, 0, 23, 1],
        ]
        .concat();
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&MAGIC.to_ne_bytes());
        bytes.extend_from_slice(&[1, 0]);
        for value in [
            24,
            0,
            4 * types.len() as u32,
            4 * types.len() as u32,
            strings.len() as u32,
        ] {
            bytes.extend_from_slice(&value.to_ne_bytes());
        }
        types
            .iter()
            .for_each(|value| bytes.extend_from_slice(&value.to_ne_bytes()));
        bytes.extend_from_slice(strings);
        bytes
    }

    #[test]
    fn finds_fields_through_anonymous_structures() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!(btf.offset("outer", &["a"]), Some(0));
        assert_eq!(btf.offset("outer", &["b"]), Some(4));
    }

    #[test]
    fn bit_fields_and_strangers_are_absent() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!(btf.offset("outer", &["c"]), None);
        assert_eq!(btf.offset("outer", &["d"]), None);
        assert_eq!(btf.offset("inner", &["a"]), None);
        assert!(!btf.has_tracepoint("sock_send_length"));
        assert_eq!(btf.values("outer"), 0);
    }

    #[test]
    fn values_of_enumerations_are_counted() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!(btf.values("few"), 2);
        assert_eq!(btf.values("many"), 0);
    }

    /// Found by fuzzing: the work grew with the members to the power of the depth.
    #[test]
    fn structures_within_themselves_end() {
        const MEMBERS: u32 = 1000;
        let mut types = vec![1, STRUCT << 24 | MEMBERS, 4];
        types.extend((0..MEMBERS).flat_map(|_| [0, 1, 32]));
        let mut bytes = [&MAGIC.to_ne_bytes()[..], &[1, 0]].concat();
        let length = 4 * types.len() as u32;
        let words = [24, 0, length, length, 7].into_iter().chain(types);
        words.for_each(|word| bytes.extend_from_slice(&word.to_ne_bytes()));
        bytes.extend_from_slice(b"\0outer\0");
        let btf = Btf::parse(bytes).unwrap();
        assert_eq!(btf.offset("outer", &["a"]), None);
    }

    #[test]
    fn any_prefix_is_refused_or_read_without_a_panic() {
        let whole = sample();
        for end in 0..whole.len() {
            if let Some(btf) = Btf::parse(whole[..end].to_vec()) {
                btf.offset("outer", &["b"]);
            }
        }
    }
}
