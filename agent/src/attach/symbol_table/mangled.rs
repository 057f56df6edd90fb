//! Where functions of Rust programs are by their paths, whatever hash the compiler gave their symbols. In: a file's bytes, its
//! table of symbols, paths. Out: for each path, its symbol.
//!
//! A name has the parts of its path, each after its length, and then a hash (`_ZN…17h…E`) or, in the newer way (`_R…`), marks of
//! the crates that a search can not know.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::{patterns, scan, walk, Bytes, Fault, Symbol, Table, PLACES_MAX};
use crate::attach::window::{Broken, Extent};

/// Bytes of a name that are read, ahead of what was found of it and in all.
const AHEAD_BYTES: u64 = 448;
const NAME_BYTES: usize = 512;

/// A function.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// How it begins: the module, or one above it.
    pub module: &'static str,
    /// How it ends: the function's own name.
    pub end: &'static str,
}

impl Path {
    /// Whether a symbol's name is of this function, and not of another that is named after it.
    fn is_of(&self, name: &str) -> bool {
        // What the compiler knows it by where it is used from several parts of a crate.
        let name = name.split_once(".llvm.").map_or(name, |(name, _)| name);
        if let Some(path) = name.strip_prefix("_ZN") {
            let path = path
                .strip_suffix('E')
                .and_then(|path| path.rsplit_once("17h"));
            return path.is_some_and(|(path, _)| {
                path.starts_with(self.module) && path.ends_with(self.end)
            });
        }
        name.starts_with("_RNv") && name.contains(self.module) && name.ends_with(self.end)
    }
}

/// Finds functions; the first one decides whether the others are searched for.
pub fn find<const N: usize, B: Bytes + ?Sized>(
    file: &B,
    table: &Table,
    paths: &[Path; N],
) -> Result<[Option<Symbol>; N], Fault> {
    table.check()?;
    let mut found = [None; N];
    let first = names(file, table.names, &paths[..1])?;
    if first.is_empty() {
        return Ok(found);
    }
    let names = names(file, table.names, paths)?;
    let mut is_several = false;
    scan(file, table, &names, |path, symbol| {
        let its: &mut Option<Symbol> = found.get_mut(path).ok_or(Broken)?;
        is_several |= its.is_some_and(|its| its.address != symbol.address);
        *its = Some(symbol);
        Ok(())
    })?;
    match is_several {
        true => Err(Fault::Several),
        false => Ok(found),
    }
}

/// Where the names of functions begin among all.
fn names<B: Bytes + ?Sized>(
    file: &B,
    all: Extent,
    paths: &[Path],
) -> Result<BTreeMap<u32, usize>, Broken> {
    let ends = paths.iter().map(|path| path.end.as_bytes().to_vec());
    let mut names = BTreeMap::new();
    let mut looks = 0;
    let mut result = Ok(());
    walk(file, all, &patterns(ends), |place, path| {
        looks += 1;
        let name = match looks > PLACES_MAX {
            true => Err(Broken),
            false => name(file, all, place, &paths[path]),
        };
        match name {
            Ok(start) => names.extend(start.map(|start| (start, path))),
            Err(broken) => result = Err(broken),
        }
        match result {
            Ok(()) => ControlFlow::Continue(()),
            Err(Broken) => ControlFlow::Break(()),
        }
    })?;
    result.map(|()| names)
}

/// Where the name begins of which a part is at a place, if it is a function's.
fn name<B: Bytes + ?Sized>(
    file: &B,
    all: Extent,
    place: u32,
    path: &Path,
) -> Result<Option<u32>, Broken> {
    let place = u64::from(place);
    let from = place.saturating_sub(AHEAD_BYTES);
    let count = (all.bytes - from).min(NAME_BYTES as u64 + AHEAD_BYTES) as usize;
    let mut bytes = [0; NAME_BYTES + AHEAD_BYTES as usize];
    let bytes = bytes.get_mut(..count).ok_or(Broken)?;
    let offset = all.offset.checked_add(from).ok_or(Broken)?;
    file.read(offset, bytes).map_err(|_| Broken)?;
    let (ahead, rest) = bytes.split_at((place - from) as usize);
    let Some(end) = memchr::memchr(0, rest) else {
        return Ok(None);
    };
    let start = match memchr::memrchr(0, ahead) {
        Some(zero) => zero + 1,
        None if from == 0 => 0,
        None => return Ok(None),
    };
    let name = bytes.get(start..(place - from) as usize + end);
    let name = name.and_then(|name| std::str::from_utf8(name).ok());
    let is_its = name.is_some_and(|name| path.is_of(name));
    Ok(is_its.then(|| (from + start as u64) as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAKE: Path = Path {
        module: "5tokio7runtime4task5waker",
        end: "11wake_by_val",
    };

    #[test]
    fn names_of_a_function_and_of_others() {
        let its = [
            "_ZN5tokio7runtime4task5waker11wake_by_val17hdf1c6a1e5d94a1e6E",
            "_ZN5tokio7runtime4task5waker11wake_by_val17hdf1c6a1e5d94a1e6E.llvm.1188",
            "_RNvNtNtNtCs9ltgdHTiPiY_5tokio7runtime4task5waker11wake_by_val",
        ];
        let others = [
            "_ZN4core3ptr68drop_in_place$LT$tokio..runtime..task..waker..wake_by_val$GT$17h682c7bdd8f89163eE",
            "_ZN5tokio7runtime4task5waker11wake_by_val28_$u7b$$u7b$closure$u7d$$u7d$17h682c7bdd8f89163eE",
            "_ZN5other7runtime4task5waker11wake_by_val17hdf1c6a1e5d94a1e6E",
            "_ZN5tokio7runtime4task5waker11wake_by_val",
            "5tokio7runtime4task5waker11wake_by_val",
            "",
        ];
        assert!(its.iter().all(|name| WAKE.is_of(name)));
        assert!(!others.iter().any(|name| WAKE.is_of(name)));
    }
}
