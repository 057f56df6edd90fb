//! Files of foreign processes: executables, libraries, a JDK's `release`, and the kernel's types. In: which name the
//! executable has, then its bytes. Held: nothing panics, and no allocation goes beyond what the fuzzer allows.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::PathBuf;

use spanlet::attach::btf::Btf;
use spanlet::attach::golang::client;
pub use spanlet::attach::golang::client::FUNCTION as FUNCTION_NAME;
use spanlet::attach::golang::functions::{self, Extent};
use spanlet::attach::golang::{goroutine_offsets, version};
use spanlet::attach::offsets::offsets;
use spanlet::attach::placement::{place, Register};
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
/// The bytes are a Go program's table of functions.
pub const GO_FUNCTIONS: u8 = 9;
/// The bytes are a function that a place for a uprobe is looked for in.
pub const FUNCTION: u8 = 10;

pub fn run(input: &[u8]) {
    let mut bytes = Bytes(input);
    match bytes.byte() % 11 {
        GO_BUILD_INFORMATION => {
            version(bytes.0).as_deref().and_then(goroutine_offsets);
        }
        BTF => {
            let btf = Btf::parse(bytes.0.to_vec());
            btf.as_ref().map(offsets);
        }
        GO_FUNCTIONS => table_of_functions(bytes.0),
        FUNCTION => {
            if let Ok(place) = place(bytes.0, 0x40_1000, &[Register::RAX]) {
                assert!(place.offset < bytes.0.len() as u64, "within the function");
            }
        }
        name => inspected(NAMES[usize::from(name)], bytes.0),
    }
}

/// As the executable, and as the library that it maps.
fn inspected(name: &str, bytes: &[u8]) {
    let file = in_memory(bytes);
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    inspect(&path, name, &[]);
    let _ = client::site(&file);
    inspect(
        &path,
        name,
        &[PathBuf::from("/usr/lib/libpython3.11.so.1.0")],
    );
}

fn table_of_functions(bytes: &[u8]) {
    let table = Extent {
        offset: 0,
        bytes: bytes.len() as u64,
    };
    let _ = functions::find(bytes, table, FUNCTION_NAME);
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
