//! Go: the version a program was built with, and where that version keeps the goroutine's number.
//!
//! Source of the version: the build information that the linker leaves in every program, stripped or not
//! (debug/buildinfo). Source of the offsets: the DWARF of a program built with each version, amd64 ([`releases`]), a file of
//! the user's, or the program's own DWARF ([`sources`]).

pub mod births;
pub mod client;
pub mod dwarf;
pub mod functions;
pub mod line;
pub mod program;
pub mod programs;
pub mod readings;
pub mod releases;
pub mod sources;
pub mod tls;

use spanlet_abi::limit::GOROUTINE_WORDS;

pub use sources::Sources;

/// Byte offsets within `runtime.g`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoroutineOffsets {
    pub id: u32,
    /// `None` before Go 1.21.
    pub parent: Option<u32>,
}

impl GoroutineOffsets {
    /// Words from the goroutine's number to its parent's; 0 where not known, or too far to be read at once.
    pub fn parent_words(&self) -> u32 {
        let words = self.parent.map(|parent| parent.saturating_sub(self.id) / 8);
        words
            .filter(|words| (*words as usize) < GOROUTINE_WORDS)
            .unwrap_or(0)
    }
}

/// The section of it, and bytes from its start among which the version is.
pub const BUILD_INFORMATION: &str = ".go.buildinfo";
pub const BUILD_INFORMATION_BYTES: usize = 256;

const MAGIC: &[u8] = b"\xff Go buildinf:";
const FLAGS: usize = 15;
const INLINE_STRINGS: u8 = 2;
const STRINGS: usize = 32;
const VERSION_BYTES_MAX: usize = 64;

/// The version in a `.go.buildinfo` section (`1.26.8`). `None`: no build information, or from before Go 1.18.
pub fn version(section: &[u8]) -> Option<String> {
    if !section.starts_with(MAGIC) || section.get(FLAGS)? & INLINE_STRINGS == 0 {
        return None;
    }
    // The length is a varint; a version is shorter than 128 bytes.
    let length = *section.get(STRINGS)? as usize;
    let text = section.get(STRINGS + 1..STRINGS + 1 + length.min(VERSION_BYTES_MAX))?;
    let text = std::str::from_utf8(text).ok()?;
    Some(text.strip_prefix("go").unwrap_or(text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(flags: u8, version: &str) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&[8, flags]);
        bytes.resize(STRINGS, 0);
        bytes.push(version.len() as u8);
        bytes.extend_from_slice(version.as_bytes());
        bytes
    }

    #[test]
    fn reads_the_version() {
        assert_eq!(version(&section(2, "go1.26.8")).as_deref(), Some("1.26.8"));
        assert_eq!(version(&section(0, "go1.17")), None);
        assert_eq!(version(b"something else"), None);
        assert_eq!(version(&section(2, "go1.26.8")[..36]), None);
    }

    #[test]
    fn parents_are_found_from_the_goroutine_on() {
        let far = |parent| GoroutineOffsets { id: 152, parent }.parent_words();
        assert_eq!(far(Some(272)), 15);
        assert_eq!(far(Some(152 + 8 * 31)), 31);
        assert_eq!(far(Some(152 + 8 * 32)), 0);
        assert_eq!(far(None), 0);
    }
}
