//! tokio, in Rust programs that kept their symbols: where a thread keeps the number of the task that it runs, and the functions by which
//! tasks are woken and started. In: a file. Out: an offset and the place for each uprobe, or why there is none. Touches that file, once
//! for all of them.
//!
//! Nothing is known of releases here: the offset is what the function that writes the number uses. What the kernel side reads of a
//! task (`ebpf/programs/src/tokio.rs`) is laid out alike since tokio 1.28.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind};
use object::ReadCache;
use spanlet_abi::state::Tokio;

use super::image::Image;
use super::placement::{full, Register};
use super::plan::Probe;
use super::runtime;
use super::symbol_table::mangled::{self, Function};
use super::symbol_table::{self, Symbol};
use super::symbols;
use super::targets::Site;

/// Functions that are probed, as Rust writes them.
pub const WAKE_BY_VALUE: &str = "tokio::runtime::task::waker::wake_by_val";
pub const WAKE_BY_REFERENCE: &str = "tokio::runtime::task::waker::wake_by_ref";
pub const SPAWN: &str =
    "tokio::runtime::scheduler::multi_thread::Handle::schedule_option_task_without_yield";
pub const SCHEDULE: &str = "tokio::runtime::scheduler::current_thread::Handle::schedule";

/// What is looked for; a program without the first has no tokio, or none that is known.
const FUNCTIONS: [Function; 5] = [
    Function {
        module: "5tokio7runtime4task5waker",
        end: "11wake_by_val",
    },
    Function {
        module: "5tokio7runtime4task5waker",
        end: "11wake_by_ref",
    },
    Function {
        module: "5tokio7runtime9scheduler12multi_thread",
        end: "34schedule_option_task_without_yield",
    },
    Function {
        module: "5tokio7runtime9scheduler14current_thread",
        end: "8schedule",
    },
    Function {
        module: "5tokio7runtime7context",
        end: "19set_current_task_id",
    },
];
const PROBED: [&str; 4] = [WAKE_BY_VALUE, WAKE_BY_REFERENCE, SPAWN, SCHEDULE];

/// Bytes of the function that writes the number.
const WRITER_BYTES: u64 = 512;
/// In what it is given a number, or whether there is one, and the number.
const ARGUMENTS: [Register; 2] = [Register::RDI, Register::RSI];
/// What threads have of their own may be put further from their base to be aligned.
const ALIGNED_BYTES: i64 = 64;

/// Why tasks are not told apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error(transparent)]
    Symbols(#[from] symbol_table::Fault),
    #[error("it is stripped of its symbols: it is not known whether it has tokio")]
    Stripped,
    #[error("where tokio keeps the running task is not known: set_current_task_id is not there by itself (`lto = \"fat\"`)")]
    NoWriter,
    #[error("where tokio keeps the running task is not known: set_current_task_id is built in another way than is known")]
    NoOffset,
}

/// Where the threads of the program at `path` keep the number of the task that they run. `None`: it has no tokio, or is no program.
pub fn of(path: &Path) -> Option<Result<Tokio, Fault>> {
    let file = runtime::open(path)?;
    let cache = ReadCache::new(&file);
    let image = Image::read(&file, &cache).ok()?;
    running_task(&file, &image)
}

fn running_task(file: &File, image: &Image<'_>) -> Option<Result<Tokio, Fault>> {
    let (wake, writer) = match found(file, image) {
        Ok([wake, .., writer]) => (wake, writer),
        Err(fault) => return Some(Err(fault)),
    };
    wake?;
    let Some(writer) = writer else {
        return Some(Err(Fault::NoWriter));
    };
    let bytes = image.bytes(writer.address, writer.bytes.min(WRITER_BYTES) as usize);
    let kept = bytes.and_then(|bytes| kept(&bytes, writer.address));
    // What an executable's threads have of their own is directly below that address.
    let least = -i64::try_from(image.thread_local_bytes()).unwrap_or(0) - ALIGNED_BYTES;
    let kept = kept.filter(|kept| kept.offset % 8 == 0 && (least..0).contains(&kept.offset));
    Some(kept.ok_or(Fault::NoOffset))
}

/// The places of these probes. `None`: the program has none of it.
pub fn sites(file: &File, probes: &[Probe]) -> Vec<(Probe, Option<Result<Site, String>>)> {
    let cache = ReadCache::new(file);
    let image = Image::read(file, &cache).map_err(|fault| fault.to_string());
    let found = image.and_then(|image| {
        let found = found(file, &image).map_err(|fault| fault.to_string());
        found.map(|found| (image, found))
    });
    let Ok((image, found @ [.., Some(_)])) = found else {
        // What is missing is told of the process.
        return probes.iter().map(|probe| (*probe, None)).collect();
    };
    let site = |probe: &Probe| {
        let symbol = PROBED.iter().position(|name| *name == probe.function());
        let symbol = symbol.and_then(|index| found.get(index).copied().flatten());
        symbols::site_of(&image, *probe, symbol)
    };
    let sites: BTreeMap<&str, _> = probes
        .iter()
        .map(|probe| (probe.name, site(probe)))
        .collect();
    let wakes = probes.iter().filter(|probe| is_wake(probe));
    let lacking = wakes.filter_map(|probe| sites.get(probe.name)?.as_ref().err().cloned());
    let lacking = lacking.reduce(|one, _| one);
    // A program has one of both runtimes, mostly.
    let has_births = probes.iter().any(|probe| {
        let site = sites.get(probe.name);
        !is_wake(probe) && site.is_some_and(Result::is_ok)
    });
    let sites = probes.iter().map(|probe| {
        let site = sites.get(probe.name).cloned();
        // By half of what wakes a task, the wrong one would be told.
        match &lacking {
            Some(reason) => (*probe, Some(Err(reason.clone()))),
            None => (
                *probe,
                site.filter(|site| site.is_ok() || is_wake(probe) || !has_births),
            ),
        }
    });
    sites.collect()
}

fn is_wake(probe: &Probe) -> bool {
    [WAKE_BY_VALUE, WAKE_BY_REFERENCE].contains(&probe.function())
}

fn found(file: &File, image: &Image<'_>) -> Result<[Option<Symbol>; FUNCTIONS.len()], Fault> {
    let table = image.all_symbols().ok_or(Fault::Stripped)?;
    Ok(mangled::find(file, &table, &FUNCTIONS)?)
}

/// Where a function keeps its first argument, or both. `address`: its own.
pub fn kept(bytes: &[u8], address: u64) -> Option<Tokio> {
    let mut known = Known::default();
    let mut places = [None; ARGUMENTS.len()];
    for instruction in Decoder::with_ip(64, bytes, address, DecoderOptions::NONE).into_iter() {
        if let Some((argument, offset)) = known.kept(&instruction) {
            let place = places.get_mut(argument)?;
            // Wherever it does so, it is the same.
            if place.is_some_and(|place| place != offset) {
                return None;
            }
            *place = Some(offset);
        }
        known.follow(&instruction);
    }
    let (offset, words) = match places {
        [Some(offset), None] => (offset, 1),
        [Some(offset), Some(second)] if second == offset + 8 => (offset, 2),
        _ => return None,
    };
    Some(Tokio {
        offset,
        words,
        padding: 0,
    })
}

/// What registers hold.
struct Known {
    /// So many bytes from the thread's base.
    bases: BTreeMap<Register, i64>,
    /// One of the [`ARGUMENTS`].
    arguments: BTreeMap<Register, usize>,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            bases: BTreeMap::new(),
            arguments: ARGUMENTS.into_iter().zip(0..).collect(),
        }
    }
}

impl Known {
    /// Which argument an instruction keeps, and where from the thread's base.
    fn kept(&self, instruction: &Instruction) -> Option<(usize, i64)> {
        let is_store =
            instruction.mnemonic() == Mnemonic::Mov && instruction.op0_kind() == OpKind::Memory;
        let argument = is_store.then(|| self.argument(instruction)).flatten()?;
        Some((argument, self.place(instruction)?))
    }

    /// Which argument it reads.
    fn argument(&self, instruction: &Instruction) -> Option<usize> {
        let is_register = instruction.op1_kind() == OpKind::Register;
        is_register.then(|| self.arguments.get(&instruction.op1_register()).copied())?
    }

    /// What its operand in memory is from the thread's base.
    fn place(&self, instruction: &Instruction) -> Option<i64> {
        if instruction.memory_index() != Register::None {
            return None;
        }
        let displacement = instruction.memory_displacement64() as i64;
        match (instruction.memory_segment(), instruction.memory_base()) {
            (Register::FS, Register::None) => Some(displacement),
            (Register::FS, _) => None,
            (_, base) => self.bases.get(&base)?.checked_add(displacement),
        }
    }

    fn follow(&mut self, instruction: &Instruction) {
        use Mnemonic::{Call, Cmp, Mov, Push, Test};
        match instruction.mnemonic() {
            Call => return self.forget_clobbered(),
            Cmp | Test | Push => return,
            _ => {}
        }
        if instruction.op0_kind() != OpKind::Register {
            return;
        }
        let (base, argument) = match instruction.mnemonic() {
            Mov => (self.base(instruction), self.argument(instruction)),
            _ => (self.base(instruction), None),
        };
        let target = instruction.op0_register();
        self.forget(target);
        self.bases.extend(base.map(|base| (target, base)));
        self.arguments
            .extend(argument.map(|argument| (target, argument)));
    }

    /// How many bytes from the thread's base is what it writes.
    fn base(&self, instruction: &Instruction) -> Option<i64> {
        use OpKind::{Immediate32to64, Immediate8to64, Memory};
        match (instruction.mnemonic(), instruction.op1_kind()) {
            (Mnemonic::Mov, OpKind::Register) => {
                self.bases.get(&instruction.op1_register()).copied()
            }
            // The first word that a thread has of its own is its own address.
            (Mnemonic::Mov, Memory) => {
                let is_own = instruction.memory_segment() == Register::FS;
                (is_own && self.place(instruction) == Some(0)).then_some(0)
            }
            (Mnemonic::Lea, Memory) => self.place(instruction),
            (Mnemonic::Add, Immediate32to64 | Immediate8to64) => {
                let before = self.bases.get(&instruction.op0_register())?;
                before.checked_add(instruction.immediate(1) as i64)
            }
            _ => None,
        }
    }

    fn forget(&mut self, register: Register) {
        let register = full(register);
        self.bases.remove(&register);
        self.arguments.remove(&register);
    }

    /// What a call may write (System V ABI, amd64).
    fn forget_clobbered(&mut self) {
        use Register::{R10, R11, R8, R9, RAX, RCX, RDI, RDX, RSI};
        for register in [RAX, RCX, RDX, RSI, RDI, R8, R9, R10, R11] {
            self.forget(register);
        }
    }
}

#[cfg(test)]
#[path = "tokio/tests.rs"]
mod tests;
