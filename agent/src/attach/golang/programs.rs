//! Go: what is looked for in programs, remembered by file: many processes run the same one, and one after another. In: an
//! executable file. Out: where probes have their places in it, and where it keeps numbers of goroutines. Touches that file,
//! once for all of this.

use std::collections::BTreeMap;
use std::fs::File;
use std::rc::Rc;
use std::sync::Arc;

use object::ReadCache;

use super::births::{self, Numbers};
use super::program::{Code, Fault, Program};
use super::releases::Release;
use super::sources::Sources;
use super::{client, tls};
use crate::attach::identity::Identity;
use crate::attach::plan::{Probe, GO};
use crate::attach::targets::{Found, Site};

/// Programs that are remembered, about 1 KB each. Full: all are forgotten, and looked into again when they are run.
const PROGRAMS_MAX: usize = 256;

/// See the file.
#[derive(Debug, Default)]
pub struct Programs {
    sources: Arc<Sources>,
    seen: BTreeMap<Identity, Rc<Seen>>,
}

/// What was found in a program.
#[derive(Debug)]
pub struct Seen {
    sites: Vec<(Probe, Found)>,
    /// Why there are none is not told: they are looked for only where they are missed.
    pub numbers: Option<Numbers>,
}

impl Seen {
    /// The place of a probe.
    pub fn site(&self, probe: Probe) -> Found {
        let mut sites = self.sites.iter().filter(|(its, _)| *its == probe);
        sites.next().and_then(|(_, found)| found.clone())
    }
}

impl Programs {
    /// With what is known of Go's releases.
    pub fn new(sources: Arc<Sources>) -> Self {
        let seen = BTreeMap::new();
        Self { sources, seen }
    }

    /// More is known of a file's release: it is looked into again.
    pub fn forget(&mut self, file: Identity) {
        self.seen.remove(&file);
    }

    /// What is in a program, by a look into its file unless it is known. `None`: the file cannot be looked at.
    pub fn seen(&mut self, file: &File) -> Option<Rc<Seen>> {
        let file_is = Identity::of(file).ok()?;
        if let Some(seen) = self.seen.get(&file_is) {
            return Some(seen.clone());
        }
        if self.seen.len() >= PROGRAMS_MAX {
            self.seen.clear();
        }
        let seen = Rc::new(look(file, &self.sources));
        self.seen.insert(file_is, seen.clone());
        Some(seen)
    }
}

/// Functions of the probes, in their order, and the one that starts goroutines.
const FUNCTIONS: [&str; 4] = [client::FUNCTION, tls::WRITE, tls::READ, births::FUNCTION];

/// Looks for everything at once.
pub fn look(file: &File, sources: &Sources) -> Seen {
    let cache = ReadCache::new(file);
    let program =
        Program::parse(file, &cache).and_then(|program| Ok((program.release(sources)?, program)));
    let (release, program) = match program {
        Ok(program) => program,
        Err(fault) => return without_sites(&fault, None),
    };
    match program.functions(FUNCTIONS) {
        Ok(functions) => seen(&program, &release, functions),
        Err(fault) => without_sites(&fault, births::numbers(&program, &release, None)),
    }
}

fn without_sites(fault: &Fault, numbers: Option<Numbers>) -> Seen {
    Seen {
        sites: GO.map(|probe| (probe, told(Err(fault)))).into(),
        numbers,
    }
}

fn seen(
    program: &Program<'_>,
    release: &Release,
    [client, write, read, birth]: [Result<Code, Fault>; FUNCTIONS.len()],
) -> Seen {
    let sites = [
        client.and_then(|client| client::site(program, release, client)),
        write.and_then(|write| tls::given(program, release, write)),
        read.and_then(|read| tls::handed_out(program, release, read)),
    ];
    let sites = GO.into_iter().zip(&sites);
    Seen {
        sites: sites
            .map(|(probe, site)| (probe, told(site.as_ref().copied())))
            .collect(),
        numbers: births::numbers(program, release, birth.ok()),
    }
}

fn told(site: Result<Site, &Fault>) -> Found {
    match site {
        Err(fault) if fault.is_harmless() => None,
        site => Some(site.map_err(Fault::to_string)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_looked_into_once_by_whatever_name() {
        let mut programs = Programs::default();
        let mut seen = |path: &str| programs.seen(&File::open(path).unwrap()).unwrap();
        let (first, again) = (seen("/proc/self/exe"), seen("/proc/thread-self/exe"));
        assert!(Rc::ptr_eq(&first, &again));
        assert!(!Rc::ptr_eq(&first, &seen("/proc/self/cmdline")));
        // This is none of Go's: each probe has the reason.
        for probe in GO {
            let site = first.site(probe).unwrap();
            assert!(site.unwrap_err().contains("no Go program"));
        }
        assert!(first.numbers.is_none());
    }
}
