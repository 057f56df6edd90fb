//! The part of a span's name that stands for the target, as long as no route is known.
//!
//! In: a path. Out: a name of low cardinality. The rule:
//! - The first two segments are kept; `/*` stands for what follows: `/api/orders/7/items` is `/api/orders/*`.
//! - A segment that looks like an id becomes `{id}`: `/orders/7` is `/orders/{id}`. It looks like a word, and is
//!   kept, when it is at most 32 bytes of letters, `-`, `_`, `.` and `~`, with at most two digits and those at its
//!   end (`v1`, `oauth2`), and is not eight or more hexadecimal digits (`deadbeef`).
//! - A process has at most 100 names; a name after those is the method alone ([`Names`]).

use smol_str::SmolStr;

/// Segments of a path that are kept.
const SEGMENTS_MAX: usize = 2;
/// Bytes of a segment that can be a word.
const WORD_BYTES_MAX: usize = 32;
/// Digits at the end of a word.
const WORD_DIGITS_MAX: usize = 2;
/// Hexadecimal digits in a row that are an id.
const HEX_ID_BYTES_MIN: usize = 8;

/// The names a process has had.
#[derive(Debug, Default)]
pub struct Names {
    /// In their order, because a peer chooses them: a hash that resists it takes longer than looking in a hundred.
    seen: Vec<SmolStr>,
    /// The name that is being made.
    name: String,
}

impl Names {
    /// `{method} {target}`, or `{method}` where there is no path or `names_max` names are used up.
    pub fn name(&mut self, method: &str, path: Option<&str>, names_max: usize) -> SmolStr {
        let Some(path) = path else {
            return method.into();
        };
        self.name.clear();
        self.name.push_str(method);
        self.name.push(' ');
        add_target(path, &mut self.name);
        let place = |name: &SmolStr| name.as_str().cmp(&self.name);
        match self.seen.binary_search_by(place) {
            Ok(place) => self.seen[place].clone(),
            Err(_) if self.seen.len() >= names_max => method.into(),
            Err(place) => {
                let name = SmolStr::from(self.name.as_str());
                self.seen.insert(place, name.clone());
                name
            }
        }
    }
}

/// Adds the path by the rule above.
fn add_target(path: &str, name: &mut String) {
    let before = name.len();
    let mut rest = path;
    for _ in 0..SEGMENTS_MAX {
        let Some((segment, after)) = first_segment(rest) else {
            break;
        };
        name.push('/');
        name.push_str(if is_word(segment) { segment } else { "{id}" });
        rest = after;
    }
    if first_segment(rest).is_some() {
        name.push_str("/*");
    }
    if name.len() == before {
        name.push('/');
    }
}

/// The first segment that is not empty, and what follows it.
fn first_segment(path: &str) -> Option<(&str, &str)> {
    let start = path.bytes().position(|byte| byte != b'/')?;
    let path = path.get(start..)?;
    let end = path.bytes().position(|byte| byte == b'/');
    Some(path.split_at(end.unwrap_or(path.len())))
}

fn is_word(segment: &str) -> bool {
    let digits = segment.bytes().rev();
    let digits = digits.take_while(u8::is_ascii_digit).count();
    let letters = || segment.bytes().take(segment.len() - digits);
    let is_hex_id = || {
        segment.len() >= HEX_ID_BYTES_MIN && segment.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    segment.len() <= WORD_BYTES_MAX
        && digits <= WORD_DIGITS_MAX
        && letters().any(|byte| byte.is_ascii_alphabetic())
        && letters()
            .all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_' | b'.' | b'~'))
        && !is_hex_id()
}
