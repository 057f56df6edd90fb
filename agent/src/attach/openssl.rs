//! OpenSSL as a shared library: where in it a session is read, written, begun and let go. In: a file. Out: the place for each
//! uprobe and what its program has to know, or why there is none. Touches that file.
//!
//! `SSL_read` and `SSL_read_ex` begin with an instruction that the kernel has to single-step, and move the stack before any
//! other; the function that both call, which has no name in the file, begins with a push. So do `SSL_write` and its like.

use std::fs::File;

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind};
use object::read::elf::{ElfFile64, FileHeader};
use object::{elf, Endianness, Object, ObjectSection, ObjectSymbol, ReadCache, ReadRef};
use spanlet_abi::tls::Layout;

use super::golang::client::file_offset;
use super::placement::{self, Register};
use super::plan::{Hook, Probe};
use super::targets::Site;

/// What the functions that have no name are called in OpenSSL's sources, and those that have one.
pub const READ: &str = "ssl_read_internal";
pub const WRITE: &str = "ssl_write_internal";
pub const HANDSHAKE: &str = "SSL_do_handshake";
pub const FREE: &str = "SSL_free";

/// Since OpenSSL 3.3: `SSL_write_ex` goes on to it, and flags come before the last argument.
const WRITE_WITH_FLAGS: &str = "SSL_write_ex2";
/// Since OpenSSL 3.0, which gave `BIO` one more field before `ptr`.
const SINCE_3: &str = "SSL_get1_peer_certificate";
/// `BIO.ptr` (crypto/bio/bio_local.h) of 1.1.1, and of 3.0 to 3.5.
const KEPT_1: u16 = 56;
const KEPT_3: u16 = 64;
/// `SSL.rbio` is among its first fields.
const SOURCE_MAX: u64 = 512;

/// Dynamic symbols that are looked through at most; libssl has about 700.
const SYMBOLS_MAX: usize = 1 << 14;
/// Bytes that are looked at of a function: the calls that are followed and the places are among its first ones.
const FUNCTION_BYTES: u64 = 512;
/// Bytes of a function without a name in which its start is looked for again by jumps.
const UNNAMED_BYTES: u64 = 1024;

type Elf<'a> = ElfFile64<'a, Endianness, &'a ReadCache<&'a File>>;

/// Why there is no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    #[error("it is not for amd64")]
    Machine,
    #[error("it has no symbol {0} (OpenSSL before 1.1.1, or another library of that name)")]
    NoSymbol(&'static str),
    #[error("{0} is not in the file")]
    NoBytes(&'static str),
    #[error("{0} and {1} do not call one function")]
    NoShared(&'static str, &'static str),
    #[error(transparent)]
    Placement(#[from] placement::Fault),
}

/// Whether a library is OpenSSL's, 1.1 or 3, by its name; packages put a mark into it (`libssl-3e69114b.so.1.1`).
pub fn is_library(name: &str) -> bool {
    let rest = name.strip_prefix("libssl");
    let parts = rest.and_then(|rest| rest.split_once(".so."));
    parts.is_some_and(|(mark, version)| {
        let plain = mark.is_empty() || mark.starts_with('-');
        plain && (version.starts_with("1.1") || version == "3" || version.starts_with("3."))
    })
}

/// Where a probe's function is, and what differs between releases.
pub fn site(file: &File, probe: Probe) -> Result<Site, Fault> {
    let cache = ReadCache::new(file);
    let program = Elf::parse(&cache).map_err(|error| Fault::Unreadable(error.to_string()))?;
    if program.elf_header().e_machine(program.endian()) != elf::EM_X86_64 {
        return Err(Fault::Machine);
    }
    let library = Library {
        program: &program,
        cache: &cache,
    };
    let with_flags = library.address(WRITE_WITH_FLAGS).is_some();
    let address = match probe.function() {
        READ => library.shared("SSL_read", "SSL_read_ex")?,
        WRITE if with_flags => library.shared("SSL_write", WRITE_WITH_FLAGS)?,
        WRITE => library.shared("SSL_write", "SSL_write_ex")?,
        name => library.address(name).ok_or(Fault::NoSymbol(name))?,
    };
    let moved = if with_flags && probe.function() == WRITE {
        4
    } else {
        3
    };
    library.site(probe, address, library.layout(moved))
}

struct Library<'a> {
    program: &'a Elf<'a>,
    cache: &'a ReadCache<&'a File>,
}

impl Library<'_> {
    fn address(&self, name: &str) -> Option<u64> {
        let mut symbols = self.program.dynamic_symbols().take(SYMBOLS_MAX);
        let symbol = symbols.find(|symbol| symbol.name() == Ok(name) && symbol.address() != 0)?;
        Some(symbol.address())
    }

    /// The function that both call, and first.
    fn shared(&self, one: &'static str, other: &'static str) -> Result<u64, Fault> {
        let called = |name| -> Result<_, Fault> {
            let address = self.address(name).ok_or(Fault::NoSymbol(name))?;
            let bytes = self
                .bytes(address, FUNCTION_BYTES)
                .ok_or(Fault::NoBytes(name))?;
            Ok(first_call(bytes, address).filter(|target| self.is_text(*target)))
        };
        match (called(one)?, called(other)?) {
            (Some(target), Some(same)) if target == same => Ok(target),
            _ => Err(Fault::NoShared(one, other)),
        }
    }

    /// Not a stub that leads to another library.
    fn is_text(&self, address: u64) -> bool {
        let text = self.program.section_by_name(".text");
        text.is_some_and(|text| {
            let within = address.checked_sub(text.address());
            within.is_some_and(|within| within < text.size())
        })
    }

    /// From an address to the next symbol, or so many.
    fn bytes(&self, address: u64, most: u64) -> Option<&[u8]> {
        let symbols = self.program.dynamic_symbols().take(SYMBOLS_MAX);
        let later = symbols.map(|symbol| symbol.address());
        let next = later.filter(|other| *other > address).min();
        let length = next.map_or(most, |next| most.min(next - address));
        let start = file_offset(self.program, address)?;
        self.cache.read_bytes_at(start, length).ok()
    }

    fn layout(&self, moved: u8) -> Layout {
        let name = "SSL_get_rbio";
        let bytes = self.address(name).and_then(|address| {
            let bytes = self.bytes(address, FUNCTION_BYTES)?;
            first_field(bytes, address)
        });
        Layout {
            // Without it, sessions that a program carries itself have no connection.
            source: bytes.unwrap_or(0),
            kept: match self.address(SINCE_3) {
                Some(_) => KEPT_3,
                None => KEPT_1,
            },
            moved,
        }
    }

    fn site(&self, probe: Probe, address: u64, layout: Layout) -> Result<Site, Fault> {
        let name = probe.function();
        let bytes = self
            .bytes(address, UNNAMED_BYTES)
            .ok_or(Fault::NoBytes(name))?;
        let start = file_offset(self.program, address).ok_or(Fault::NoBytes(name))?;
        let place = placement::place(bytes, address, needed(probe))?;
        Ok(Site {
            file_offset: start + place.offset,
            place,
            cookie: layout.cookie(),
        })
    }
}

/// What a program reads, and, so that entry and return are seen at one place, the stack as the call left it.
fn needed(probe: Probe) -> &'static [Register] {
    use Register::{R8, RCX, RDI, RDX, RSI, RSP};
    match (probe.function(), probe.hook) {
        (FREE, _) => &[RDI],
        (HANDSHAKE, _) => &[RSP, RDI],
        (_, Hook::Uretprobe(_)) => &[RSP],
        _ => &[RSP, RDI, RSI, RDX, RCX, R8],
    }
}

fn instructions(bytes: &[u8], address: u64) -> impl Iterator<Item = Instruction> + '_ {
    let decoder = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE);
    decoder
        .into_iter()
        .take_while(|instruction| !instruction.is_invalid())
}

/// What a function calls first.
fn first_call(bytes: &[u8], address: u64) -> Option<u64> {
    let mut instructions = instructions(bytes, address);
    let call = instructions.find(|instruction| instruction.code() == Code::Call_rel32_64)?;
    Some(call.near_branch_target())
}

/// The offset of the field of its first argument that a function gives back.
fn first_field(bytes: &[u8], address: u64) -> Option<u16> {
    let gives = |instruction: &Instruction| {
        instruction.mnemonic() == Mnemonic::Mov
            && instruction.op0_kind() == OpKind::Register
            && instruction.op0_register() == Register::RAX
            && instruction.op1_kind() == OpKind::Memory
            && instruction.memory_base() == Register::RDI
            && instruction.memory_index() == Register::None
    };
    let found = instructions(bytes, address).find(gives)?;
    let offset = found.memory_displacement64();
    (offset > 0 && offset < SOURCE_MAX && offset % 8 == 0).then_some(offset as u16)
}

#[cfg(test)]
#[path = "openssl/tests.rs"]
mod tests;
