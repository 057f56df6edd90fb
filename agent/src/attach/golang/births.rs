//! Go: where a process keeps which numbers of goroutines are not used yet. In: its program; where that is loaded. Out: what
//! the kernel programs have to know of it. Touches the program's file.
//!
//! The last number that was given out (`runtime.sched.goidgen`) is at an address that no table tells of in a stripped program.
//! `runtime.newproc1` takes 16 numbers at once, by an atomic addition: the only one of 16 in it. Where it is not found, as in
//! programs that are not optimised, what each `runtime.p` has left still tells.

use iced_x86::{Code as Form, Decoder, DecoderOptions, Instruction, Mnemonic, Register};
use spanlet_abi::golang::{Births, NUMBERS_AT_ONCE};
use spanlet_abi::limit::PROCESSORS_MAX;

use super::program::{Code, Program};
use super::releases::Release;
use crate::attach::placement::full;

/// It starts a goroutine.
pub const FUNCTION: &str = "runtime.newproc1";
/// Instructions before the addition that load what it takes.
const LOADS: usize = 4;

/// Where a release has what is read: byte offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BirthOffsets {
    /// `runtime.g.m`
    pub thread: u32,
    /// `runtime.m.p`, `.oldp`
    pub processor: u32,
    pub processor_before: u32,
    /// `runtime.p.id`, `.goidcache`
    pub number: u32,
    pub numbers: u32,
}

/// What there is to know of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    offsets: BirthOffsets,
    /// Address of the last number that was given out, as the file has it.
    given: Option<u64>,
    /// See [`Program::moves_from`].
    moves_from: Option<u64>,
}

/// Looks for it. `birth`: the function that starts a goroutine. `None`: its release keeps them in another way.
pub fn numbers(program: &Program<'_>, release: &Release, birth: Option<Code>) -> Option<Numbers> {
    let given = birth.and_then(|birth| added_to(&program.read(birth).ok()?, birth.address));
    Some(Numbers {
        offsets: release.births?,
        given,
        moves_from: program.moves_from(),
    })
}

impl Numbers {
    /// Those of a process. `base`: where the first byte of its executable is loaded, which is asked for only where that may be
    /// anywhere.
    pub fn of_process(&self, base: impl FnOnce() -> Option<u64>) -> Births {
        let moved = match self.moves_from {
            Some(from) => base().map(|base| base.wrapping_sub(from)),
            None => Some(0),
        };
        let given = moved.zip(self.given);
        let offsets = &self.offsets;
        Births {
            given: given.map_or(0, |(moved, address)| moved.wrapping_add(address)),
            thread: offsets.thread,
            processor: offsets.processor,
            processor_before: offsets.processor_before,
            number: offsets.number,
            numbers: offsets.numbers,
            count: 0,
            processors: [0; PROCESSORS_MAX],
        }
    }
}

/// What the function adds 16 to, atomically, if that is one place.
fn added_to(bytes: &[u8], address: u64) -> Option<u64> {
    let decoder = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE);
    let all: Vec<Instruction> = decoder.into_iter().collect();
    let mut places = (0..all.len()).filter_map(|index| {
        let before = &all[index.saturating_sub(LOADS)..index];
        place(&all[index], before)
    });
    let place = places.next()?;
    places.next().is_none().then_some(place)
}

/// `mov $16, number; lea place(%rip), pointer; lock xadd number, (pointer)`
fn place(addition: &Instruction, before: &[Instruction]) -> Option<u64> {
    let is_addition = addition.mnemonic() == Mnemonic::Xadd
        && addition.code() == Form::Xadd_rm64_r64
        && addition.has_lock_prefix()
        && addition.memory_index() == Register::None
        && addition.memory_displacement64() == 0;
    if !is_addition {
        return None;
    }
    let last_write = |register: Register| {
        let mut writes = before.iter().rev();
        writes.find(|instruction| full(instruction.op0_register()) == register)
    };
    let number = last_write(addition.op1_register())?;
    let is_batch =
        number.code() == Form::Mov_r32_imm32 && u64::from(number.immediate32()) == NUMBERS_AT_ONCE;
    let pointer = last_write(addition.memory_base())?;
    let is_place = pointer.code() == Form::Lea_r64_m && pointer.is_ip_rel_memory_operand();
    (is_batch && is_place).then(|| pointer.ip_rel_memory_address())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `mov $count, %r10d; lea 0x100(%rip), %r11; lock xadd %r10, (%r11)`
    fn addition(count: u8) -> Vec<u8> {
        let mut bytes = vec![0x41, 0xba, count, 0, 0, 0];
        bytes.extend([0x4c, 0x8d, 0x1d, 0, 1, 0, 0]);
        bytes.extend([0xf0, 0x4d, 0x0f, 0xc1, 0x13]);
        bytes
    }

    #[test]
    fn what_sixteen_is_added_to_is_found_among_other_additions() {
        let mut bytes = addition(1);
        bytes.extend(addition(16));
        bytes.push(0xc3);
        assert_eq!(added_to(&bytes, 0x1000), Some(0x1000 + 18 + 13 + 0x100));
    }

    #[test]
    fn two_such_places_or_none_are_not_guessed() {
        assert_eq!(added_to(&addition(1), 0x1000), None);
        assert_eq!(
            added_to(&[addition(16), addition(16)].concat(), 0x1000),
            None
        );
        // Without the lock it is another instruction; without the address another place.
        let without_lock = [&addition(16)[..13], &[0x4d, 0x0f, 0xc1, 0x13]].concat();
        assert_eq!(added_to(&without_lock, 0x1000), None);
        let without_address = [&addition(16)[..6], &addition(16)[13..]].concat();
        assert_eq!(added_to(&without_address, 0x1000), None);
        assert_eq!(added_to(&[], 0x1000), None);
    }
}
