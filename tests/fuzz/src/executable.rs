//! Files of foreign processes: executables, libraries, their symbols, a JDK's `release`, and the kernel's types. In: which name the
//! executable has, then its bytes. Held: nothing panics, and no allocation goes beyond what the fuzzer allows.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use spanlet::attach::btf::Btf;
pub use spanlet::attach::golang::client::FUNCTION as FUNCTION_NAME;
use spanlet::attach::golang::dwarf::{self, Stored};
use spanlet::attach::golang::functions;
use spanlet::attach::golang::programs;
use spanlet::attach::golang::releases::Releases;
use spanlet::attach::golang::{version, Sources};
use spanlet::attach::offsets::offsets;
use spanlet::attach::openssl;
use spanlet::attach::placement::{place, Register};
use spanlet::attach::plan::{TLS, TOKIO};
use spanlet::attach::runtime::inspect;
use spanlet::attach::symbol_table::mangled::{self, Function};
use spanlet::attach::symbol_table::{self, Table};
use spanlet::attach::tokio;
use spanlet::attach::window::Extent;

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
/// The bytes are a table of symbols: a third each for names, symbols and hashes.
pub const SYMBOLS: u8 = 11;
/// The bytes are a file that OpenSSL is looked for in.
pub const OPENSSL: u8 = 12;
/// The bytes are a user's table of offsets of Go's releases.
pub const GO_OFFSETS: u8 = 13;
/// The bytes are a file that tokio's tasks are looked for in.
pub const TOKIO_FILE: u8 = 14;
/// The bytes are a function that keeps what it is given for its thread.
pub const KEEPS: u8 = 15;
/// The bytes are debug information: how many are abbreviations, those, and entries.
pub const GO_DEBUG: u8 = 16;
/// One of what the bytes can be each.
const KINDS: u8 = 17;

static RELEASES: LazyLock<Releases> = LazyLock::new(Releases::default);
/// Debug information is read here, not beside.
static SOURCES: LazyLock<Sources> = LazyLock::new(Sources::default);

pub fn run(input: &[u8]) {
    let mut bytes = Bytes(input);
    match bytes.byte() % KINDS {
        GO_BUILD_INFORMATION => {
            version(bytes.0).map(|version| RELEASES.of(&version).is_some());
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
        SYMBOLS => symbols(bytes.0),
        OPENSSL => {
            let file = in_memory(bytes.0);
            for is_executable in [false, true] {
                openssl::sites(&file, is_executable, &TLS);
            }
        }
        GO_OFFSETS => {
            let table = String::from_utf8_lossy(bytes.0);
            let _ = Releases::with(Path::new("/own"), &table);
        }
        TOKIO_FILE => {
            let file = in_memory(bytes.0);
            tokio::sites(&file, &TOKIO);
            tokio::of(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())));
        }
        KEEPS => {
            tokio::kept(bytes.0, 0x40_1000);
        }
        GO_DEBUG => debug_information(bytes),
        name => inspected(NAMES[usize::from(name)], bytes.0),
    }
}

/// As the executable, and as the library that it maps.
fn inspected(name: &str, bytes: &[u8]) {
    let file = in_memory(bytes);
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let library = PathBuf::from("/usr/lib/libpython3.11.so.1.0");
    for libraries in [&[][..], &[library]] {
        inspect(&path, name, libraries, &SOURCES);
    }
    programs::look(&file, &SOURCES);
    let _ = dwarf::fields(&file);
}

fn debug_information(mut bytes: Bytes<'_>) {
    let first = u64::from(bytes.byte()).min(bytes.0.len() as u64);
    let part = |offset, bytes| Stored {
        extent: Extent { offset, bytes },
        is_packed: false,
    };
    let entries = part(first, bytes.0.len() as u64 - first);
    let _ = dwarf::fields_in(bytes.0, entries, part(0, first));
}

fn table_of_functions(bytes: &[u8]) {
    let table = Extent {
        offset: 0,
        bytes: bytes.len() as u64,
    };
    let _ = functions::find(bytes, table, [FUNCTION_NAME, "main.main"]);
}

/// A function of a Rust program.
pub const WAKE: Function = Function {
    module: "5tokio7runtime4task5waker",
    end: "11wake_by_val",
};

/// By hashes, and without them.
fn symbols(bytes: &[u8]) {
    let third = bytes.len() as u64 / 3;
    let [names, symbols, hashes] = [0, 1, 2].map(|part| Extent {
        offset: part * third,
        bytes: third,
    });
    for hashes in [Some(hashes), None] {
        let table = Table {
            symbols,
            names,
            hashes,
        };
        let _ = symbol_table::find(bytes, &table, ["SSL_read", "SSL_write"]);
        let _ = mangled::find(bytes, &table, &[WAKE]);
    }
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
