//! What the kernel holds of BPF: programs, maps and links by number. In: the kernel's lists, and who has which open.
//! Out: those that nobody has open, which is what an agent that left something behind would leave.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, io};

/// A kind of BPF object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Program,
    Map,
    Link,
}

/// An object: numbers are not used twice.
pub type Object = (Kind, u32);

impl Kind {
    pub const ALL: [Self; 3] = [Self::Program, Self::Map, Self::Link];

    /// include/uapi/linux/bpf.h: `BPF_*_GET_NEXT_ID`.
    fn next_command(self) -> libc::c_long {
        match self {
            Self::Program => 11,
            Self::Map => 12,
            Self::Link => 31,
        }
    }

    /// The line of a descriptor of this kind in `/proc/PID/fdinfo`.
    fn mark(self) -> &'static str {
        match self {
            Self::Program => "prog_id:",
            Self::Map => "map_id:",
            Self::Link => "link_id:",
        }
    }
}

/// Objects that no process has open.
pub fn orphans() -> io::Result<BTreeSet<Object>> {
    let mut objects = BTreeSet::new();
    for kind in Kind::ALL {
        objects.extend(numbers(kind)?.into_iter().map(|number| (kind, number)));
    }
    for process in fs::read_dir("/proc")? {
        let folder = process?.path();
        // What is no process has none, and one that ended meanwhile has none any more.
        for object in held(&folder).unwrap_or_default() {
            objects.remove(&object);
        }
    }
    Ok(objects)
}

/// Objects that a process has open.
pub fn held_by(pid: u32) -> io::Result<BTreeSet<Object>> {
    held(Path::new(&format!("/proc/{pid}")))
}

/// The numbers of the programs among them.
pub fn programs_of(pid: u32) -> io::Result<Vec<u32>> {
    let held = held_by(pid)?.into_iter();
    Ok(held
        .filter_map(|(kind, number)| (kind == Kind::Program).then_some(number))
        .collect())
}

fn held(process: &Path) -> io::Result<BTreeSet<Object>> {
    let mut objects = BTreeSet::new();
    for entry in fs::read_dir(process.join("fd"))? {
        let entry = entry?;
        let is_bpf = |target: &Path| target.to_string_lossy().contains("bpf");
        if !fs::read_link(entry.path()).is_ok_and(|target| is_bpf(&target)) {
            continue;
        }
        let text = fs::read_to_string(process.join("fdinfo").join(entry.file_name()));
        let text = text.unwrap_or_default();
        objects.extend(Kind::ALL.into_iter().filter_map(|kind| {
            let number = text.lines().find_map(|line| line.strip_prefix(kind.mark()));
            Some((kind, number?.trim().parse().ok()?))
        }));
    }
    Ok(objects)
}

fn numbers(kind: Kind) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    while let Some(next) = after(kind, numbers.last().copied().unwrap_or(0))? {
        numbers.push(next);
    }
    Ok(numbers)
}

/// The next number of a kind.
fn after(kind: Kind, number: u32) -> io::Result<Option<u32>> {
    let mut attributes: [u32; 3] = [number, 0, 0];
    // SAFETY: the kernel reads and writes no more than the given size, which is the array's own.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            kind.next_command(),
            attributes.as_mut_ptr(),
            size_of_val(&attributes),
        )
    };
    if result == 0 {
        return Ok(Some(attributes[1]));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOENT) => Ok(None),
        _ => Err(error),
    }
}
