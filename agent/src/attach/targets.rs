//! Which files of a process have functions to probe, and where in them. In: the facts of a process; a file. Out: files; a
//! place, or why there is none. Touches procfs and those files.

use std::fs::File;
use std::path::PathBuf;

use super::golang::client;
use super::placement::Place;
use super::plan::{Probe, GO_CLIENT, PYTHON_TASK, UVLOOP_WRITE};
use super::process::{Language, ProcessFacts};
use super::{discover, python};
use crate::capture::event::HostPid;

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
    match facts.language {
        Language::Go => executable(facts, GO_CLIENT).into_iter().collect(),
        Language::Python => {
            let tasks = library(facts, PYTHON_TASK, python::is_library);
            let tasks = tasks.or_else(|| executable(facts, PYTHON_TASK));
            let uvloop = library(facts, UVLOOP_WRITE, python::is_uvloop);
            tasks.into_iter().chain(uvloop).collect()
        }
        _ => Vec::new(),
    }
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
    mapped(pid, python::is_uvloop).is_some()
}

/// A library that a process maps, by its name: its path, and the very file.
fn mapped(pid: HostPid, is_it: fn(&str) -> bool) -> Option<(String, PathBuf)> {
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    discover::mapped(pid, |path| is_it(&name(path)))
}

fn library(facts: &ProcessFacts, probe: Probe, is_it: fn(&str) -> bool) -> Option<Target> {
    let (path, file) = mapped(facts.pid, is_it)?;
    Some(Target {
        probe,
        path,
        file: File::open(file).ok()?,
    })
}

/// The place of a probe in a file. `None`: there is nothing in it to probe. Errors: why there is no place.
pub fn site(target: &Target) -> Option<Result<Site, String>> {
    if target.probe != GO_CLIENT {
        return Some(python::site(&target.file, target.probe));
    }
    match client::site(&target.file) {
        Ok(site) => Some(Ok(site)),
        Err(fault) if fault.is_harmless() => None,
        Err(fault) => Some(Err(fault.to_string())),
    }
}
