//! Which files of a process have functions to probe, and where in them. In: the facts of a process; a file. Out: files; a
//! place, or why there is none. Touches procfs and those files.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use spanlet_abi::golang::Births;

use super::golang::programs::Programs;
use super::placement::Place;
use super::plan::{Probe, GO, LOOP, PYTHON_TASK, TLS, TOKIO, UVLOOP_WRITE};
use super::process::{Language, ProcessFacts};
use super::{discover, libuv, openssl, python, symbols, tokio};
use crate::capture::event::HostPid;

/// OpenSSL libraries of one process that are probed: packages bring their own.
const OPENSSL_MAX: usize = 8;

/// Files by their paths as a process has them; each with where it is opened.
type Mapped = BTreeMap<String, PathBuf>;

/// A file of a process in which probes may have a place.
#[derive(Debug)]
pub struct Target {
    pub probes: &'static [Probe],
    /// As the process calls it.
    pub path: String,
    pub file: File,
    /// The program itself.
    pub is_executable: bool,
}

/// Where to attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Bytes from the start of the file.
    pub file_offset: u64,
    /// Within the probe's function.
    pub place: Place,
    /// What its program has to know.
    pub cookie: u64,
}

/// The files of a process that is there. None where they are gone, or cannot be opened.
pub fn of(facts: &ProcessFacts) -> Vec<Target> {
    if facts.language == Language::Go {
        return executable(facts, &GO).into_iter().collect();
    }
    let mapped = discover::mapped(facts.pid);
    let mut targets = Vec::new();
    if facts.language == Language::Python {
        let tasks = library(&[PYTHON_TASK], &mapped, python::is_library);
        targets.extend(tasks.or_else(|| executable(facts, &[PYTHON_TASK])));
        targets.extend(library(&[UVLOOP_WRITE], &mapped, python::is_uvloop));
    }
    if facts.language == Language::Node {
        let of_loop = library(&LOOP, &mapped, libuv::is_library);
        targets.extend(of_loop.or_else(|| executable(facts, &LOOP)));
    }
    if facts.language == Language::Rust {
        targets.extend(executable(facts, &TOKIO));
    }
    let sessions = mapped
        .iter()
        .filter(|(path, _)| openssl::is_library(name(path)));
    let libraries = sessions.take(OPENSSL_MAX);
    targets.extend(libraries.filter_map(|(path, file)| open(&TLS, path, file)));
    targets.extend(executable(facts, &TLS));
    targets
}

fn executable(facts: &ProcessFacts, probes: &'static [Probe]) -> Option<Target> {
    Some(Target {
        probes,
        path: facts.executable_path.clone(),
        file: File::open(format!("/proc/{}/exe", facts.pid.0)).ok()?,
        is_executable: true,
    })
}

/// Where a Go process keeps which numbers of goroutines are not used yet. `None`: it is gone, or that is not known.
pub fn births(programs: &mut Programs, pid: HostPid) -> Option<Births> {
    let file = File::open(format!("/proc/{}/exe", pid.0)).ok()?;
    let numbers = programs.seen(&file)?.numbers?;
    Some(numbers.of_process(|| discover::mapped_at(pid, None)))
}

/// Whether a process of CPython has loaded uvloop.
pub fn has_uvloop(pid: HostPid) -> bool {
    let mapped = discover::mapped(pid);
    mapped.keys().any(|path| python::is_uvloop(name(path)))
}

fn library(probes: &'static [Probe], mapped: &Mapped, is_it: fn(&str) -> bool) -> Option<Target> {
    let (path, file) = mapped.iter().find(|(path, _)| is_it(name(path)))?;
    open(probes, path, file)
}

fn open(probes: &'static [Probe], path: &str, file: &Path) -> Option<Target> {
    Some(Target {
        probes,
        path: path.to_owned(),
        file: File::open(file).ok()?,
        is_executable: false,
    })
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// The place of a probe in a file. `None`: there is nothing in it to probe. Errors: why there is no place.
pub type Found = Option<Result<Site, String>>;

/// The places of some of a target's probes, by one look.
pub fn sites(programs: &mut Programs, target: &Target, probes: &[Probe]) -> Vec<(Probe, Found)> {
    let found = |probe: &Probe, site: Result<Site, String>| (*probe, Some(site));
    if target.probes == GO {
        let seen = programs.seen(&target.file);
        let site = |probe: &Probe| match &seen {
            Some(seen) => (*probe, seen.site(*probe)),
            None => found(probe, Err("it cannot be looked at".to_owned())),
        };
        return probes.iter().map(site).collect();
    }
    if target.probes == TLS {
        let found = openssl::sites(&target.file, target.is_executable, probes).into_iter();
        return found
            .map(|(probe, site)| match site {
                Err(fault) if target.is_executable && fault.is_harmless() => (probe, None),
                site => (probe, Some(site.map_err(|fault| fault.to_string()))),
            })
            .collect();
    }
    if target.probes == TOKIO {
        return tokio::sites(&target.file, probes);
    }
    let site = |probe| found(probe, symbols::site(&target.file, *probe));
    probes.iter().map(site).collect()
}
