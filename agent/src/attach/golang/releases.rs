//! Go: what differs from release to release. In: a version. Out: offsets of fields, from the table beside this file.

use spanlet_abi::golang::ClientOffsets;
use spanlet_abi::limit::NETWORK_WORDS;

use super::GoroutineOffsets;

/// The releases that were looked at.
static TABLE: &str = include_str!("offsets.txt");

/// What is known of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    pub goroutine: GoroutineOffsets,
    pub client: ClientOffsets,
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
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(row)
}

fn row(line: &'static str) -> Option<(&'static str, Release)> {
    let mut words = line.split_whitespace();
    let name = words.next()?;
    let numbers: Vec<Option<u32>> = words.map(|word| word.parse().ok()).collect();
    let [Some(id), parent, Some(connection), Some(descriptor), Some(family), Some(kind)] =
        numbers[..]
    else {
        return None;
    };
    let is_near = |offset: u32| {
        let distance = offset.checked_sub(descriptor);
        distance.is_some_and(|distance| (distance as usize) < NETWORK_WORDS * 8)
    };
    if !is_near(family) || !is_near(kind) {
        return None;
    }
    let short = |offset: u32| u16::try_from(offset).ok();
    let client = ClientOffsets {
        connection: short(connection)?,
        descriptor: short(descriptor)?,
        family: short(family)?,
        socket_type: short(kind)?,
    };
    let goroutine = GoroutineOffsets { id, parent };
    Some((name, Release { goroutine, client }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_read() {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(releases().count(), lines);
        assert_eq!(lines, 7);
    }

    #[test]
    fn releases_before_1_21_do_not_keep_the_parent() {
        for (name, release) in releases() {
            assert_eq!(release.goroutine.parent.is_some(), name != "1.19", "{name}");
        }
    }
}
