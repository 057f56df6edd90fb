//! Where functions of Rust programs are by their paths, whatever hash the compiler gave their symbols. In: a file's bytes, its
//! table of symbols, functions. Out: for each of these, its symbol.
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
/// Names that are read because they have a part that is looked for. A table with more is made to take time.
const LOOKS_MAX: usize = 16 << 10;

/// A function.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// How it begins: the module, or one above it.
    pub module: &'static str,
    /// How it ends: the function's own name.
    pub end: &'static str,
}

impl Function {
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

/// Finds functions; the first one decides whether the others are searched for. One that comes several times is not found.
/// Errors: the table is broken or too large, or the first one comes several times.
pub fn find<const N: usize, B: Bytes + ?Sized>(
    file: &B,
    table: &Table,
    functions: &[Function; N],
) -> Result<[Option<Symbol>; N], Fault> {
    table.check()?;
    let mut found = [None; N];
    let first = names(file, table.names, &functions[..1])?;
    if first.is_empty() {
        return Ok(found);
    }
    let names = names(file, table.names, functions)?;
    let mut several = [false; N];
    scan(file, table, &names, |function, symbol| {
        let its: &mut Option<Symbol> = found.get_mut(function).ok_or(Broken)?;
        several[function] |= its.is_some_and(|its| its.address != symbol.address);
        *its = Some(symbol);
        Ok(())
    })?;
    if several[0] {
        return Err(Fault::Several);
    }
    for (found, is_several) in found.iter_mut().zip(several) {
        *found = found.filter(|_| !is_several);
    }
    Ok(found)
}

/// Where the names of functions begin among all.
fn names<B: Bytes + ?Sized>(
    file: &B,
    all: Extent,
    functions: &[Function],
) -> Result<BTreeMap<u32, usize>, Broken> {
    let ends = functions
        .iter()
        .map(|function| function.end.as_bytes().to_vec());
    let mut names = BTreeMap::new();
    let mut looks = 0;
    let mut result = Ok(());
    walk(file, all, &patterns(ends), |place, function| {
        looks += 1;
        let name = match looks > LOOKS_MAX || names.len() > PLACES_MAX {
            true => Err(Broken),
            false => name(file, all, place, &functions[function]),
        };
        match name {
            Ok(start) => names.extend(start.map(|start| (start, function))),
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
    function: &Function,
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
    let is_its = name.is_some_and(|name| function.is_of(name));
    Ok(is_its.then(|| (from + start as u64) as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAKE: Function = Function {
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
