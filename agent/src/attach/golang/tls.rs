//! Go: where a program's `crypto/tls` is given what it encrypts, and where it hands out what it has decrypted. In: a program and
//! its functions. Out: the place for each uprobe and what its program has to know, or why there is none. Touches the program's
//! file.
//!
//! What is handed out is known only at the end of `(*Conn).Read`, and nothing of Go can be probed at its return. The compiler has
//! put `bytes.(*Reader).Read` into it, which marks the reader (`prevRune = -1`) and then copies: between both, one register has
//! the session, and the call that copies, which the kernel emulates, is given the bytes.

use iced_x86::{Code as Form, Decoder, DecoderOptions, Instruction, OpKind, Register};
use spanlet_abi::golang::TlsOffsets;

use super::program::{Code, Fault, Program};
use super::releases::Release;
use crate::attach::placement::{self, Emulated, Place};
use crate::attach::targets::Site;

pub const WRITE: &str = "crypto/tls.(*Conn).Write";
pub const READ: &str = "crypto/tls.(*Conn).Read";

/// Instructions between the mark and the call that copies, at most.
const BETWEEN_MAX: usize = 40;
/// Which register has the session there, in every release that is known.
const SESSION: Register = Register::RSI;

/// What differs between releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sessions {
    pub offsets: TlsOffsets,
    /// `crypto/tls.Conn.input.prevRune`
    pub mark: u32,
}

/// Where the session and the bytes that it is given are in their registers, once for each call.
pub fn given(program: &Program<'_>, release: &Release, write: Code) -> Result<Site, Fault> {
    let sessions = release.sessions.ok_or(Fault::NoSessions)?;
    let bytes = program.read(write)?;
    let needed = [Register::RAX, Register::RBX, Register::RCX];
    let place = placement::place(&bytes, write.address, &needed)?;
    match place.repeats {
        true => Err(placement::Fault::Parted(place.offset).into()),
        false => write.site(place, sessions.offsets.cookie()),
    }
}

/// Where it hands bytes out.
pub fn handed_out(program: &Program<'_>, release: &Release, read: Code) -> Result<Site, Fault> {
    let sessions = release.sessions.ok_or(Fault::NoSessions)?;
    let bytes = program.read(read)?;
    let place = copied(&bytes, read.address, sessions.mark).ok_or(Fault::NoCopy)?;
    read.site(place, sessions.offsets.cookie())
}

/// The call behind the mark, if that is one.
fn copied(bytes: &[u8], address: u64, mark: u32) -> Option<Place> {
    let decoder = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE);
    let all: Vec<Instruction> = decoder.into_iter().collect();
    let mut marks = (0..all.len()).filter(|index| is_mark(&all[*index], mark));
    let (marked, None) = (marks.next()?, marks.next()) else {
        return None;
    };
    let mut behind = all.get(marked + 1..)?.iter().take(BETWEEN_MAX);
    let call = behind.find_map(|instruction| match instruction.code() {
        Form::Call_rel32_64 => Some(Some(instruction)),
        _ if placement::full(instruction.op0_register()) == SESSION && writes(instruction) => {
            Some(None)
        }
        _ => None,
    })??;
    Some(Place {
        offset: call.ip().wrapping_sub(address),
        instruction: Emulated::Call,
        repeats: false,
    })
}

/// `movq $-1, mark(session)`
fn is_mark(instruction: &Instruction, mark: u32) -> bool {
    instruction.code() == Form::Mov_rm64_imm32
        && instruction.op0_kind() == OpKind::Memory
        && instruction.memory_base() == SESSION
        && instruction.memory_index() == Register::None
        && instruction.memory_displacement64() == u64::from(mark)
        && instruction.immediate32to64() == -1
}

/// Whether an instruction whose first operand is a register may write it.
fn writes(instruction: &Instruction) -> bool {
    use iced_x86::Mnemonic::{Cmp, Push, Test};
    !matches!(instruction.mnemonic(), Cmp | Test | Push)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: u32 = 0x2e8;
    /// `movq $-1, 0x2e8(%rsi)`
    const MARKED: &[u8] = &[0x48, 0xc7, 0x86, 0xe8, 0x02, 0, 0, 0xff, 0xff, 0xff, 0xff];
    /// `mov 0x70(%rsp), %rax; cmp %rbx, %rax; je; mov %rcx, 0x28(%rsp)`
    const BETWEEN: &[u8] = &[
        0x48, 0x8b, 0x44, 0x24, 0x70, 0x48, 0x39, 0xd8, 0x74, 0x17, 0x48, 0x89, 0x4c, 0x24, 0x28,
    ];
    const CALL: &[u8] = &[0xe8, 0, 1, 0, 0];

    fn at(parts: &[&[u8]]) -> Option<u64> {
        copied(&parts.concat(), 0x1000, MARK).map(|place| place.offset)
    }

    #[test]
    fn the_call_behind_the_mark_is_found() {
        assert_eq!(at(&[CALL, MARKED, BETWEEN, CALL, CALL]), Some(5 + 11 + 15));
    }

    #[test]
    fn where_it_is_not_certain_there_is_no_place() {
        assert_eq!(at(&[CALL, BETWEEN, CALL]), None, "no mark");
        assert_eq!(at(&[MARKED, BETWEEN]), None, "no call");
        let twice: &[&[u8]] = &[MARKED, CALL, MARKED, CALL];
        assert_eq!(at(twice), None, "two marks");
        // mov %rax, %rsi
        let lost: &[&[u8]] = &[MARKED, &[0x48, 0x89, 0xc6], CALL];
        assert_eq!(at(lost), None, "another session");
        let other = copied(&[MARKED, CALL].concat(), 0x1000, MARK + 8);
        assert_eq!(other, None, "another field");
    }
}
