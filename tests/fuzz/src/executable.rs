//! Files of foreign processes: executables, libraries, a JDK's `release`, and the kernel's types. In: which name the
//! executable has, then its bytes. Held: nothing panics, and no allocation goes beyond what the fuzzer allows.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::PathBuf;

use spanlet::attach::btf::Btf;
use spanlet::attach::golang::{goroutine_offsets, version};
use spanlet::attach::offsets::offsets;
use spanlet::attach::runtime::inspect;

use crate::bytes::Bytes;

/// Names of executables; what comes after them are the other readers.
pub const NAMES: [&str; 7] = [
    "function", "node", "python3", "java", "ruby", "php", "dotnet",
];
/// The bytes are those of a `.go.buildinfo` section.
pub const GO_BUILD_INFORMATION: u8 = 7;
/// The bytes are BTF.
pub const BTF: u8 = 8;

pub fn run(input: &[u8]) {
    let mut bytes = Bytes(input);
    match bytes.byte() % 9 {
        GO_BUILD_INFORMATION => {
            version(bytes.0).as_deref().and_then(goroutine_offsets);
        }
        BTF => {
            let btf = Btf::parse(bytes.0.to_vec());
            btf.as_ref().map(offsets);
        }
        name => inspected(NAMES[usize::from(name)], bytes.0),
    }
}

/// As the executable, and as the library that it maps.
fn inspected(name: &str, bytes: &[u8]) {
    let file = in_memory(bytes);
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    inspect(&path, name, &[]);
    inspect(
        &path,
        name,
        &[PathBuf::from("/usr/lib/libpython3.11.so.1.0")],
    );
}

/// A file without a name.
pub fn in_memory(bytes: &[u8]) -> File {
    // SAFETY: the name ends with a zero byte; the descriptor is new and nobody else's.
    let mut file = unsafe {
        let descriptor = libc::memfd_create(c"fuzz".as_ptr(), libc::MFD_CLOEXEC);
        assert!(descriptor >= 0, "memfd_create");
        File::from_raw_fd(descriptor)
    };
    file.write_all(bytes)
        .and_then(|()| file.rewind())
        .expect("memory");
    file
}
