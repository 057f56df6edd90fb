//! Which files of a process have functions to probe, and where in them. In: the facts of a process; a file. Out: files; a
//! place, or why there is none. Touches procfs and those files.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::golang::client;
use super::placement::Place;
use super::plan::{Probe, GO_CLIENT, PYTHON_TASK, TLS, UVLOOP_WRITE};
use super::process::{Language, ProcessFacts};
use super::{discover, openssl, python};
use crate::capture::event::HostPid;

/// OpenSSL libraries of one process that are probed: packages bring their own.
const OPENSSL_MAX: usize = 8;

/// Files by their paths as a process has them; each with where it is opened.
type Mapped = BTreeMap<String, PathBuf>;

/// A file of a process in which a probe may have a place.
#[derive(Debug)]
pub struct Target {
    pub probe: Probe,
    /// As the process calls it.
    pub path: String,
    pub file: File,
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
        return executable(facts, GO_CLIENT).into_iter().collect();
    }
    let mapped = discover::mapped(facts.pid);
    let mut targets = Vec::new();
    if facts.language == Language::Python {
        let tasks = library(PYTHON_TASK, &mapped, python::is_library);
        targets.extend(tasks.or_else(|| executable(facts, PYTHON_TASK)));
        targets.extend(library(UVLOOP_WRITE, &mapped, python::is_uvloop));
    }
    let sessions = mapped
        .iter()
        .filter(|(path, _)| openssl::is_library(name(path)));
    for (path, file) in sessions.take(OPENSSL_MAX) {
        let of_path = TLS.into_iter().filter_map(|probe| open(probe, path, file));
        targets.extend(of_path);
    }
    targets
}

fn executable(facts: &ProcessFacts, probe: Probe) -> Option<Target> {
    Some(Target {
        probe,
        path: facts.executable_path.clone(),
        file: File::open(format!("/proc/{}/exe", facts.pid.0)).ok()?,
    })
}

/// Whether a process of CPython has loaded uvloop.
pub fn has_uvloop(pid: HostPid) -> bool {
    let mapped = discover::mapped(pid);
    mapped.keys().any(|path| python::is_uvloop(name(path)))
}

fn library(probe: Probe, mapped: &Mapped, is_it: fn(&str) -> bool) -> Option<Target> {
    let (path, file) = mapped.iter().find(|(path, _)| is_it(name(path)))?;
    open(probe, path, file)
}

fn open(probe: Probe, path: &str, file: &Path) -> Option<Target> {
    Some(Target {
        probe,
        path: path.to_owned(),
        file: File::open(file).ok()?,
    })
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// The place of a probe in a file. `None`: there is nothing in it to probe. Errors: why there is no place.
pub fn site(target: &Target) -> Option<Result<Site, String>> {
    if TLS.contains(&target.probe) {
        let site = openssl::site(&target.file, target.probe);
        return Some(site.map_err(|fault| fault.to_string()));
    }
    if target.probe != GO_CLIENT {
        return Some(python::site(&target.file, target.probe));
    }
    match client::site(&target.file) {
        Ok(site) => Some(Ok(site)),
        Err(fault) if fault.is_harmless() => None,
        Err(fault) => Some(Err(fault.to_string())),
    }
}
