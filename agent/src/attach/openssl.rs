//! OpenSSL, as a library or within an executable that exports it (Node) or kept its symbols: where in it a session is read,
//! written, begun and let go. In: a file. Out: the place for each uprobe and what its program has to know, or why there is
//! none. Touches that file, once for all of them.
//!
//! `SSL_read` and `SSL_read_ex` of libraries begin with an instruction that the kernel has to single-step, and move the stack
//! before any other; the function that both call, which has no name in the file, begins with a push. So do `SSL_write` and its
//! like. Compilers may copy that function into both: then `SSL_read` and `SSL_write` themselves are where to attach, if they
//! begin with something cheap (Node 18 to 24), and calls of the others are not seen.

use std::fs::File;

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind};
use object::ReadCache;
use spanlet_abi::tls::{memory, moved, Layout, NOT_KNOWN};

use super::image::{self, Image};
use super::placement::{self, Register};
use super::plan::{Hook, Probe};
use super::symbol_table::{self, Symbol};
use super::targets::Site;

/// What the functions that have no name are called in OpenSSL's sources, and those that have one.
pub const READ: &str = "ssl_read_internal";
pub const WRITE: &str = "ssl_write_internal";
pub const HANDSHAKE: &str = "SSL_do_handshake";
pub const FREE: &str = "SSL_free";

/// What is looked for; a file without the first is none of OpenSSL's.
const NAMES: [&str; 11] = [
    "SSL_read",
    "SSL_read_ex",
    "SSL_write",
    "SSL_write_ex",
    // Since OpenSSL 3.3: `SSL_write_ex` goes on to it, and flags come before the last argument.
    "SSL_write_ex2",
    HANDSHAKE,
    FREE,
    "SSL_get_rbio",
    "SSL_version",
    // Since OpenSSL 3.0, which gave `BIO` one more field before `ptr`.
    "SSL_get1_peer_certificate",
    // `node::crypto::NodeBIO::GetMethod`
    "_ZN4node6crypto7NodeBIO9GetMethodEv",
];

/// `BIO.ptr` (crypto/bio/bio_local.h) of 1.1.1, and of 3.0 to 3.5.
const KEPT_1: u16 = 56;
const KEPT_3: u16 = 64;
/// `SSL.rbio` is among its first fields.
const SOURCE_MAX: u64 = 512;

/// Bytes that are looked at of a function: the calls that are followed are among its first ones.
const FUNCTION_BYTES: u64 = 512;
/// Bytes of a function in which its start is looked for again by jumps.
const PLACED_BYTES: u64 = 1024;

/// Why there is no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error(transparent)]
    Symbols(#[from] symbol_table::Fault),
    #[error("it is stripped of its symbols: it is not known whether it has OpenSSL")]
    NoTable,
    #[error("it has no symbol {0} (OpenSSL before 1.1.1, or another library of that name)")]
    NoSymbol(&'static str),
    #[error("{0} is not in the file")]
    NoBytes(&'static str),
    #[error("{0} has no function of its own that it goes on to, and itself no cheap place: {1}")]
    NoShared(&'static str, placement::Fault),
    #[error(transparent)]
    Image(#[from] image::Fault),
    #[error(transparent)]
    Placement(#[from] placement::Fault),
}

impl Fault {
    /// It has nothing of OpenSSL, and nothing is missing; or it has nothing at all to look for that by, as most programs that
    /// are linked statically: to tell that of each would hide what is told of others. That it was not looked into, or only in
    /// part, is told.
    pub fn is_harmless(&self) -> bool {
        matches!(
            self,
            Self::NoSymbol("SSL_read") | Self::NoTable | Self::Image(image::Fault::Machine)
        )
    }
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

/// Where these probes' functions are, and what differs between releases. `is_executable`: symbols that nothing is linked by
/// count, too.
pub fn sites(
    file: &File,
    is_executable: bool,
    probes: &[Probe],
) -> Vec<(Probe, Result<Site, Fault>)> {
    let cache = ReadCache::new(file);
    let code = Image::read(file, &cache)
        .map_err(Fault::from)
        .and_then(|image| OpenSsl::find(file, image, is_executable));
    let site = |probe: &Probe| match &code {
        Ok(code) => code.site(*probe),
        Err(fault) => Err(fault.clone()),
    };
    probes.iter().map(|probe| (*probe, site(probe))).collect()
}

/// What a file has of it.
struct OpenSsl<'a> {
    image: Image<'a>,
    /// As [`NAMES`].
    symbols: [Option<Symbol>; NAMES.len()],
}

/// A function, and how it tells what it moved.
struct Function {
    address: u64,
    bytes: u64,
    moved: u8,
}

impl<'a> OpenSsl<'a> {
    fn find(file: &File, image: Image<'a>, is_executable: bool) -> Result<Self, Fault> {
        let all = image.all_symbols().filter(|_| is_executable);
        let tables = [image.dynamic_symbols(), all];
        if tables.iter().all(Option::is_none) {
            return Err(Fault::NoTable);
        }
        for table in tables.into_iter().flatten() {
            let symbols = symbol_table::find(file, &table, NAMES)?;
            if symbols[0].is_some() {
                return Ok(Self { image, symbols });
            }
        }
        Err(Fault::NoSymbol(NAMES[0]))
    }

    fn symbol(&self, name: &'static str) -> Result<Symbol, Fault> {
        let named = NAMES.iter().zip(&self.symbols);
        let found = named
            .filter(|(known, _)| **known == name)
            .find_map(|(_, symbol)| *symbol);
        found.ok_or(Fault::NoSymbol(name))
    }

    fn site(&self, probe: Probe) -> Result<Site, Fault> {
        let (function, needed) = (self.function(probe.function())?, needed(probe));
        let name = probe.function();
        let bytes = self.image.bytes(function.address, function.bytes as usize);
        let bytes = bytes.ok_or(Fault::NoBytes(name))?;
        let place = placement::place(&bytes, function.address, needed);
        let place = match (place, function.moved) {
            (Err(fault), moved::RETURNED) if name == READ || name == WRITE => {
                return Err(Fault::NoShared(name, fault));
            }
            (place, _) => place?,
        };
        let start = self.image.file_offset(function.address);
        Ok(Site {
            file_offset: start.ok_or(Fault::NoBytes(name))? + place.offset,
            place,
            cookie: self.layout(function.moved).cookie(),
        })
    }

    fn function(&self, name: &'static str) -> Result<Function, Fault> {
        let with_flags = self.symbol("SSL_write_ex2").is_ok();
        match name {
            READ => self.shared("SSL_read", "SSL_read_ex", 3),
            WRITE if with_flags => self.shared("SSL_write", "SSL_write_ex2", 4),
            WRITE => self.shared("SSL_write", "SSL_write_ex", 3),
            name => Ok(named(self.symbol(name)?)),
        }
    }

    /// The function that both go on to with the arguments that they were given; without one, the first itself.
    fn shared(&self, one: &'static str, other: &'static str, moved: u8) -> Result<Function, Fault> {
        use Register::{RCX, RDI, RDX, RSI};
        let called = |name, kept: &[Register]| -> Result<_, Fault> {
            let function = named(self.symbol(name)?);
            let bytes = function.bytes.min(FUNCTION_BYTES) as usize;
            let bytes = self.image.bytes(function.address, bytes);
            let bytes = bytes.ok_or(Fault::NoBytes(name))?;
            let target = first_call(&bytes, function.address, kept);
            Ok(target.filter(|target| self.image.is_text(*target)))
        };
        let target = called(one, &[RDI, RSI])?;
        match (target, called(other, &[RDI, RSI, RDX, RCX])) {
            (Some(target), Ok(Some(same))) if target == same => Ok(Function {
                address: target,
                bytes: PLACED_BYTES,
                moved,
            }),
            _ => Ok(named(self.symbol(one)?)),
        }
    }

    fn layout(&self, moved: u8) -> Layout {
        let bytes = |name| {
            let getter = named(self.symbol(name).ok()?);
            let bytes = getter.bytes.min(FUNCTION_BYTES) as usize;
            self.image.bytes(getter.address, bytes)
        };
        let source = bytes("SSL_get_rbio").and_then(|bytes| first_field(&bytes));
        let version = source
            .zip(bytes("SSL_version"))
            .and_then(|(source, bytes)| last_word(&bytes, source));
        Layout {
            // Without it, sessions that a program carries itself have no connection.
            source: source.unwrap_or(0),
            kept: match self.symbol("SSL_get1_peer_certificate") {
                Ok(_) => KEPT_3,
                Err(_) => KEPT_1,
            },
            moved,
            memory: match self.symbol("_ZN4node6crypto7NodeBIO9GetMethodEv") {
                Ok(_) => memory::NODE,
                Err(_) => memory::OPENSSL,
            },
            version: version.unwrap_or(NOT_KNOWN),
        }
    }
}

/// A function that has a name, as far as it is looked at.
fn named(symbol: Symbol) -> Function {
    Function {
        address: symbol.address,
        bytes: match symbol.bytes {
            0 => FUNCTION_BYTES,
            bytes => bytes.min(PLACED_BYTES),
        },
        moved: moved::RETURNED,
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

/// What a function calls first, if these registers still hold then what they did at its start.
fn first_call(bytes: &[u8], address: u64, kept: &[Register]) -> Option<u64> {
    for instruction in instructions(bytes, address) {
        if instruction.code() == Code::Call_rel32_64 {
            return Some(instruction.near_branch_target());
        }
        if !placement::keeps(&instruction, kept) {
            return None;
        }
    }
    None
}

/// The offset of the field of its first argument that a function gives back.
fn first_field(bytes: &[u8]) -> Option<u16> {
    let offset = fields(bytes, Register::RAX).next()?;
    (offset > 0 && offset < SOURCE_MAX && offset % 8 == 0).then_some(offset as u16)
}

/// The same of a field of half a word, before another one: what a session is, which newer releases ask first, is at its start.
fn last_word(bytes: &[u8], before: u16) -> Option<u16> {
    let its = fields(bytes, Register::EAX).filter(|offset| *offset < before.into());
    its.max().map(|offset| offset as u16)
}

/// Offsets of fields that a function brings to a register. Some compilers bring the argument to where the result will be first.
fn fields(bytes: &[u8], to: Register) -> impl Iterator<Item = u64> + '_ {
    let brings = move |instruction: &Instruction| {
        instruction.mnemonic() == Mnemonic::Mov
            && instruction.op0_kind() == OpKind::Register
            && instruction.op0_register() == to
            && instruction.op1_kind() == OpKind::Memory
            && matches!(instruction.memory_base(), Register::RDI | Register::RAX)
            && instruction.memory_index() == Register::None
    };
    let found = instructions(bytes, 0).filter(brings);
    found.map(|instruction| instruction.memory_displacement64())
}

#[cfg(test)]
#[path = "openssl/tests.rs"]
mod tests;
