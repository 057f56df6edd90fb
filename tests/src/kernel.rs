//! BPF calls of the benchmark: the entries of a process's maps. In: a pid. Out: counts.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::Result;

/// A hash map of a process, and how full it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapUse {
    pub name: String,
    pub entries: u64,
    pub entries_max: u32,
}

/// include/uapi/linux/bpf.h
mod uapi {
    pub const MAP_GET_NEXT_KEY: i64 = 4;
    pub const MAP_GET_FD_BY_ID: i64 = 14;
    pub const OBJ_GET_INFO_BY_FD: i64 = 15;
    /// Hash, per-CPU hash, LRU hash, LRU per-CPU hash.
    pub const HASHES: [u32; 4] = [1, 5, 9, 10];
}

#[repr(C)]
struct InfoRequest {
    descriptor: u32,
    length: u32,
    info: u64,
}

/// The start of `struct bpf_map_info`.
#[repr(C)]
#[derive(Default)]
struct MapInfo {
    kind: u32,
    id: u32,
    key_bytes: u32,
    value_bytes: u32,
    entries_max: u32,
    flags: u32,
    name: [u8; 16],
}

#[repr(C)]
struct NextKey {
    map: u32,
    padding: u32,
    key: u64,
    next: u64,
}

/// The hash maps that a process holds.
pub fn maps_of(pid: u32) -> Result<Vec<MapUse>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // A descriptor that was closed meanwhile is no map.
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.strip_prefix("map_id:"));
        numbers.extend(lines.filter_map(|number| number.trim().parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    numbers.dedup();
    let uses = numbers.into_iter().map(map_use);
    Ok(uses
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .flatten()
        .collect())
}

/// `None`: not a hash map.
fn map_use(number: u32) -> Result<Option<MapUse>> {
    let mut id = [number, 0, 0, 0];
    // SAFETY: this command has no pointers.
    let map = descriptor(unsafe { bpf(uapi::MAP_GET_FD_BY_ID, &mut id) }?);
    let mut info = MapInfo::default();
    let mut request = InfoRequest {
        descriptor: map.as_raw_fd() as u32,
        length: size_of::<MapInfo>() as u32,
        info: &raw mut info as u64,
    };
    // SAFETY: the kernel writes `length` bytes at most, and `info` has them.
    unsafe { bpf(uapi::OBJ_GET_INFO_BY_FD, &mut request) }?;
    if !uapi::HASHES.contains(&info.kind) {
        return Ok(None);
    }
    let name = info
        .name
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default();
    Ok(Some(MapUse {
        name: String::from_utf8_lossy(name).into_owned(),
        entries: entries(&map, info.key_bytes as usize)?,
        entries_max: info.entries_max,
    }))
}

/// Walks the keys; a key that is deleted meanwhile would start the walk anew, so it is for maps at rest.
fn entries(map: &OwnedFd, key_bytes: usize) -> io::Result<u64> {
    let (mut key, mut next) = (vec![0u8; key_bytes], vec![0u8; key_bytes]);
    let mut count = 0;
    loop {
        let mut request = NextKey {
            map: map.as_raw_fd() as u32,
            padding: 0,
            // No key: the first one is wanted.
            key: if count == 0 { 0 } else { key.as_ptr() as u64 },
            next: next.as_mut_ptr() as u64,
        };
        // SAFETY: both buffers have the map's key size.
        match unsafe { bpf(uapi::MAP_GET_NEXT_KEY, &mut request) } {
            Ok(_) => count += 1,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(count),
            Err(error) => return Err(error),
        }
        std::mem::swap(&mut key, &mut next);
    }
}

/// Takes what the kernel has just given.
pub fn descriptor(number: i32) -> OwnedFd {
    // SAFETY: the kernel has just given this descriptor, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// The system call.
///
/// # Safety
/// Pointers within `attributes` must be valid for what `command` does with them.
pub unsafe fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: the attributes are live and their size is given; what they point to is the caller's promise.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<T>()) };
    match result {
        0.. => Ok(result as i32),
        _ => Err(io::Error::last_os_error()),
    }
}
