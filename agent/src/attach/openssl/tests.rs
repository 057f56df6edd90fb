//! OpenSSL: what is found in functions of known bytes, and in the libraries and programs of this machine.

use std::path::{Path, PathBuf};

use super::*;
use crate::attach::placement::Emulated;
use crate::attach::plan;

/// Debian 12, OpenSSL 3.0: `SSL_read_ex` at 0x354c0.
const READ_EX: &[u8] = &[
    0x48, 0x83, 0xec, 0x08, 0xe8, 0xc7, 0xfd, 0xff, 0xff, 0x31, 0xd2, 0x85, 0xc0, 0x0f, 0x48, 0xc2,
    0x48, 0x83, 0xc4, 0x08, 0xc3,
];

/// Node 20, into which `ssl_read_internal` was copied: what is called first is another function.
const READ_EX_OF_NODE: &[u8] = &[
    0x55, 0x48, 0x89, 0xe5, 0x49, 0x89, 0xfc, 0x31, 0xf6, 0xe8, 0x00, 0x01, 0x00, 0x00,
];

const ARGUMENTS: [Register; 4] = [Register::RDI, Register::RSI, Register::RDX, Register::RCX];

fn site(file: &File, probe: Probe) -> Result<Site, Fault> {
    sites(file, false, &[probe]).remove(0).1
}

#[test]
fn the_first_call_is_followed() {
    let first_call = |bytes, address| first_call(bytes, address, &ARGUMENTS);
    assert_eq!(first_call(READ_EX, 0x354c0), Some(0x35290));
    assert_eq!(first_call(&READ_EX[..6], 0x354c0), None, "cut");
    assert_eq!(first_call(&[], 0), None);
    // Through a register: nobody knows where to.
    assert_eq!(first_call(&[0xff, 0xd0, 0xc3], 0), None);
}

#[test]
fn a_call_with_other_arguments_is_not_followed() {
    assert_eq!(first_call(READ_EX_OF_NODE, 0x354c0, &ARGUMENTS), None);
    let first = first_call(READ_EX_OF_NODE, 0x354c0, &[Register::RDI]);
    assert_eq!(first, Some(0x354c0 + 14 + 0x100));
}

#[test]
fn the_field_is_the_one_that_is_given_back() {
    // mov 0x10(%rdi),%rax; ret
    assert_eq!(first_field(&[0x48, 0x8b, 0x47, 0x10, 0xc3]), Some(16));
    // OpenSSL 3.5: test %rdi,%rdi; je; mov (%rdi),%eax; test %eax,%eax; je; xor %eax,%eax; ret; mov 0x50(%rdi),%rax
    let of_3_5 = [
        0x48, 0x85, 0xff, 0x74, 0x0a, 0x8b, 0x07, 0x85, 0xc0, 0x74, 0x03, 0x31, 0xc0, 0xc3, 0x48,
        0x8b, 0x47, 0x50, 0xc3,
    ];
    assert_eq!(first_field(&of_3_5), Some(0x50));
    // mov %rdi,%rax; jmp; mov 0x50(%rax),%rax; ret
    let of_clang = [0x48, 0x89, 0xf8, 0xeb, 0x00, 0x48, 0x8b, 0x40, 0x50, 0xc3];
    assert_eq!(first_field(&of_clang), Some(0x50));
    // mov 0x10(%rsi),%rax; ret
    assert_eq!(first_field(&[0x48, 0x8b, 0x46, 0x10, 0xc3]), None);
}

#[test]
fn the_version_is_the_last_field_before_the_memory() {
    // mov (%rdi),%eax; ret
    assert_eq!(last_word(&[0x8b, 0x07, 0xc3], 16), Some(0));
    // OpenSSL 3.5: mov (%rdi),%eax; test %eax,%eax; je; ret; mov 0x48(%rdi),%eax; ret
    let of_3_5 = [
        0x8b, 0x07, 0x85, 0xc0, 0x74, 0x01, 0xc3, 0x8b, 0x47, 0x48, 0xc3,
    ];
    assert_eq!(last_word(&of_3_5, 0x50), Some(0x48));
    assert_eq!(last_word(&of_3_5, 0x48), Some(0));
    assert_eq!(last_word(&[0xc3], 0x50), None);
}

#[test]
fn no_bytes_make_it_panic() {
    let mut seed = 1_u64;
    for length in 0..600 {
        let bytes: Vec<u8> = (0..length)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 56) as u8
            })
            .collect();
        for address in [0, 0x35290, u64::MAX - 4] {
            let _ = (
                first_call(&bytes, address, &ARGUMENTS),
                first_field(&bytes),
                last_word(&bytes, 80),
            );
            let _ = placement::place(&bytes, address, needed(plan::TLS_READ));
        }
    }
}

#[test]
fn libraries_are_known_by_their_names() {
    for name in [
        "libssl.so.3",
        "libssl.so.1.1",
        "libssl-3e69114b.so.1.1",
        "libssl.so.3.0.2",
    ] {
        assert!(is_library(name), "{name}");
    }
    for name in [
        "libssl3.so",
        "libssl.so.10",
        "libssl.so.1.0.0",
        "libcrypto.so.3",
        "libssl.so",
    ] {
        assert!(!is_library(name), "{name}");
    }
}

/// Those of the system, and those that packages brought.
fn libraries() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/runtimes");
    let folders = [
        PathBuf::from("/usr/lib/x86_64-linux-gnu"),
        root.join("dotnet/psycopg2_binary.libs"),
        root.join("openssl-3.5/psycopg2_binary.libs"),
    ];
    let files = folders.iter().filter_map(|folder| folder.read_dir().ok());
    let files = files.flatten().flatten().map(|entry| entry.path());
    let is_it = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        path.is_file() && name.is_some_and(is_library)
    };
    files.filter(is_it).collect()
}

/// `SSL.version`: first before OpenSSL 3.2, then last before `SSL.rbio`.
fn version_of(source: u16) -> u16 {
    match source {
        16 => 0,
        source => source - 8,
    }
}

#[test]
fn every_library_here_has_cheap_places() {
    for path in libraries() {
        let file = File::open(&path).unwrap();
        for probe in plan::TLS {
            let site = site(&file, probe).unwrap_or_else(|fault| {
                panic!("{} in {}: {fault}", probe.function(), path.display())
            });
            let name = format!("{} of {}", probe.function(), path.display());
            assert!(!site.place.repeats, "{name}");
            match probe.function() {
                READ | WRITE => assert_eq!(site.place.instruction, Emulated::Push, "{name}"),
                _ => assert!(site.place.offset <= 8, "{name}: {:?}", site.place),
            }
            let layout = Layout::of_cookie(site.cookie);
            assert!(
                matches!(layout.source, 16 | 0x48 | 0x50),
                "{name}: {layout:?}"
            );
            assert!(layout.kept == KEPT_1 || layout.kept == KEPT_3, "{name}");
            assert_eq!(layout.memory, memory::OPENSSL, "{name}");
            assert_eq!(layout.version, version_of(layout.source), "{name}");
        }
    }
}

/// That of the system, and those that packages brought.
fn nodes() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/runtimes");
    let brought = root.read_dir().into_iter().flatten().flatten();
    let brought = brought.map(|entry| entry.path().join("node_modules/node/bin/node"));
    let system = [PathBuf::from("/usr/bin/node")];
    let all = system.into_iter().chain(brought);
    all.filter(|path| path.is_file()).collect()
}

#[test]
fn every_node_here_has_cheap_places() {
    for path in nodes() {
        let file = File::open(&path).unwrap();
        for (probe, found) in sites(&file, true, &plan::TLS) {
            let name = format!("{} of {}", probe.function(), path.display());
            let site = found.unwrap_or_else(|fault| panic!("{name}: {fault}"));
            assert!(!site.place.repeats && site.place.offset <= 16, "{name}");
            let layout = Layout::of_cookie(site.cookie);
            assert!(matches!(layout.source, 16 | 0x50), "{name}: {layout:?}");
            assert_eq!(layout.memory, memory::NODE, "{name}");
            assert_eq!(layout.kept, KEPT_3, "{name}");
            assert_eq!(layout.version, version_of(layout.source), "{name}");
        }
    }
}

#[test]
fn an_executable_that_has_nothing_of_it_is_harmless() {
    let shell = File::open("/bin/sh").unwrap();
    for (_, found) in sites(&shell, true, &plan::TLS) {
        assert!(found.unwrap_err().is_harmless());
    }
}

/// An ELF file with nothing but its header, and so no symbols.
const BARE: [u8; 64] = {
    let mut bytes = [0; 64];
    let start = *b"\x7fELF\x02\x01\x01";
    let mut at = 0;
    while at < start.len() {
        bytes[at] = start[at];
        at += 1;
    }
    // An executable, for amd64, of the only version there is; its header's size.
    (bytes[16], bytes[18], bytes[20], bytes[52]) = (2, 62, 1, 64);
    bytes
};

fn fault_of(bytes: &[u8]) -> Fault {
    let name = format!("spanlet-bytes-{}-{:p}", std::process::id(), bytes);
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, bytes).unwrap();
    let file = File::open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    sites(&file, true, &[plan::TLS_READ])
        .remove(0)
        .1
        .unwrap_err()
}

#[test]
fn only_where_nothing_can_be_missing_nothing_is_told() {
    let with = |at: usize, byte: u8| {
        let mut bytes = BARE;
        bytes[at] = byte;
        fault_of(&bytes)
    };
    assert_eq!(fault_of(&BARE), Fault::NoTable);
    // Of 32 bits; for AArch64.
    assert_eq!(with(4, 1), Fault::Image(image::Fault::Machine));
    assert_eq!(with(18, 183), Fault::Image(image::Fault::Machine));
    assert!([fault_of(&BARE), with(4, 1), with(18, 183)]
        .iter()
        .all(Fault::is_harmless));
    // Its sections would be behind its end; it is cut, or none.
    let broken = [
        with(47, 1),
        fault_of(&BARE[..32]),
        fault_of(b""),
        with(0, 0),
        Fault::Symbols(symbol_table::Fault::TooLarge),
        Fault::Symbols(symbol_table::Fault::Broken),
        Fault::NoSymbol("SSL_free"),
    ];
    for fault in broken {
        assert!(!fault.is_harmless(), "{fault}");
    }
}

/// A sparse file may have tables as long as it likes.
#[test]
fn headers_without_end_are_refused_unread() {
    let mut bytes = BARE;
    // Sections at its end, of the size that they have.
    (bytes[40], bytes[58]) = (64, 64);
    bytes[60..62].copy_from_slice(&2000_u16.to_le_bytes());
    assert_eq!(fault_of(&bytes), Fault::Image(image::Fault::TooLarge));
    // More than the header can count: the first one says how many.
    bytes[60..62].fill(0);
    let mut first = [0; 64];
    first[32..36].copy_from_slice(&(1_u32 << 28).to_le_bytes());
    let fault = fault_of(&[bytes, first].concat());
    assert_eq!(fault, Fault::Image(image::Fault::TooLarge));
    assert!(!fault.is_harmless());
}

#[test]
fn a_file_that_is_cut_or_is_no_library_is_refused() {
    let own = std::env::current_exe().unwrap();
    let fault = site(&File::open(own).unwrap(), plan::TLS_READ).unwrap_err();
    assert_eq!(fault, Fault::NoSymbol("SSL_read"));
    let Some(path) = libraries().into_iter().next() else {
        return;
    };
    let whole = std::fs::read(path).unwrap();
    let folder = std::env::temp_dir();
    let name = folder.join(format!("spanlet-cut-{}", std::process::id()));
    for sixteenths in 0..16 {
        std::fs::write(&name, &whole[..whole.len() * sixteenths / 16]).unwrap();
        // It may be whole as far as it is of interest.
        let _ = sites(&File::open(&name).unwrap(), true, &plan::TLS);
    }
    std::fs::remove_file(name).unwrap();
}
