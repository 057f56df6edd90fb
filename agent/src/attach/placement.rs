//! Where in a function a uprobe is cheap. Pure: (its bytes, their address, the registers that are read there) → a place,
//! or why there is none.
//!
//! A breakpoint on an instruction that the kernel emulates costs a tenth of one that it has to single-step
//! (arch/x86/kernel/uprobes.c: `push`, `nop`, `call`, `jmp` and conditional jumps). The first such instruction is looked for
//! from the function's start on, for as long as every call comes by and the arguments still are in their registers. Only
//! instructions whose effect is known here are passed: after any other, nothing is certain.

use std::collections::BTreeSet;
use std::fmt;

pub use iced_x86::Register;
use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind};

/// Bytes of a function that are looked at; a longer one may jump back from behind them, so that it has no place.
pub const FUNCTION_BYTES_MAX: usize = 64 << 10;
/// Instructions from the start to the place at most: compilers put what is looked for among the first dozen.
const INSTRUCTIONS_MAX: usize = 40;
/// Instructions on the way back to the start where the stack had to grow.
const DETOUR_MAX: usize = 40;

/// An instruction that the kernel emulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Bytes from the function's start.
    pub offset: u64,
    pub instruction: Emulated,
    /// A call comes by again when its stack had to grow: only for probes that bear that.
    pub repeats: bool,
}

/// What the kernel emulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emulated {
    Push,
    Nop,
    Jump,
    ConditionalJump,
    Call,
}

impl fmt::Display for Emulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Push => "push",
            Self::Nop => "nop",
            Self::Jump => "jmp",
            Self::ConditionalJump => "jcc",
            Self::Call => "call",
        })
    }
}

/// Why no place is cheap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the function is longer than {FUNCTION_BYTES_MAX} bytes")]
    TooLong,
    #[error("the bytes {0} after its start are no instruction")]
    Malformed(u64),
    #[error("no instruction that the kernel emulates comes before the arguments are overwritten, {0} bytes after its start")]
    Overwritten(u64),
    #[error("no instruction that the kernel emulates comes before its ways part, {0} bytes after its start")]
    Parted(u64),
    #[error("no instruction that the kernel emulates comes before one whose effect is not known, {0} bytes after its start")]
    Unknown(u64),
    #[error("no instruction that the kernel emulates is among its first {INSTRUCTIONS_MAX}")]
    TooFar,
}

/// Plans where to attach. `bytes`: the whole function, which is at `address`. `needed`: the full registers (64 bits) that
/// have to hold what they held at its start.
pub fn place(bytes: &[u8], address: u64, needed: &[Register]) -> Result<Place, Fault> {
    if bytes.len() > FUNCTION_BYTES_MAX {
        return Err(Fault::TooLong);
    }
    let function = Function { bytes, address };
    let mut second_best = None;
    match walk(&function, needed, &mut second_best) {
        Ok(place) => Ok(place),
        Err(fault) => second_best.ok_or(fault),
    }
}

/// Whether registers (64 bits) hold after an instruction what they held before; not so where its effect is not known.
pub fn keeps(instruction: &Instruction, registers: &[Register]) -> bool {
    match effect(instruction) {
        Effect::Writes(register) => !registers.contains(&full(register)),
        Effect::None | Effect::May(_) => true,
        Effect::Goes(_) | Effect::Overwrites | Effect::Unknown => false,
    }
}

/// Gives a place that every call comes by once. `second_best`: the first that a call may come by again.
fn walk(
    function: &Function<'_>,
    needed: &[Register],
    second_best: &mut Option<Place>,
) -> Result<Place, Fault> {
    let targets = function.targets();
    // Up to the last way back to the start, a call may come by again.
    let mut again = function.last_detour(needed);
    let mut at = function.address;
    for _ in 0..INSTRUCTIONS_MAX {
        let offset = at.wrapping_sub(function.address);
        let instruction = function.at(at).ok_or(Fault::Malformed(offset))?;
        if offset > 0 && targets.contains(&at) {
            let end = function.last_of_loop(at, needed);
            again = again.max(Some(end.ok_or(Fault::Parted(offset))?));
        }
        if let Some(emulated) = emulated(&instruction) {
            let place = Place {
                offset,
                instruction: emulated,
                repeats: again.is_some_and(|again| at <= again),
            };
            if !place.repeats {
                return Ok(place);
            }
            second_best.get_or_insert(place);
        }
        at = match effect(&instruction) {
            Effect::Writes(register) if needed.contains(&full(register)) => {
                return Err(Fault::Overwritten(offset));
            }
            Effect::Writes(_) | Effect::None => instruction.next_ip(),
            Effect::May(target) if function.is_detour(target, needed) => instruction.next_ip(),
            Effect::May(_) => return Err(Fault::Parted(offset)),
            Effect::Goes(target) => target,
            Effect::Overwrites => return Err(Fault::Overwritten(offset)),
            Effect::Unknown => return Err(Fault::Unknown(offset)),
        };
    }
    Err(Fault::TooFar)
}

/// The bytes of a function.
struct Function<'a> {
    bytes: &'a [u8],
    address: u64,
}

impl Function<'_> {
    /// The instruction there.
    fn at(&self, address: u64) -> Option<Instruction> {
        let offset = usize::try_from(address.checked_sub(self.address)?).ok()?;
        let bytes = self.bytes.get(offset..).filter(|bytes| !bytes.is_empty())?;
        let instruction = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE).decode();
        (!instruction.is_invalid()).then_some(instruction)
    }

    fn all(&self) -> impl Iterator<Item = Instruction> + '_ {
        let decoder = Decoder::with_ip(64, self.bytes, self.address, DecoderOptions::NONE);
        decoder.into_iter()
    }

    /// Where it jumps to within itself.
    fn targets(&self) -> BTreeSet<u64> {
        self.all()
            .filter_map(|instruction| jump(&instruction))
            .collect()
    }

    /// The last of the first instructions from which a way leads back to the start.
    fn last_detour(&self, needed: &[Register]) -> Option<u64> {
        let first = self.all().take(INSTRUCTIONS_MAX);
        let jumps = first.filter(|instruction| matches!(effect(instruction), Effect::May(_)));
        let detours = jumps.filter(|instruction| {
            jump(instruction).is_some_and(|target| self.is_detour(target, needed))
        });
        detours.last().map(|instruction| instruction.ip())
    }

    /// The last way back to `at`, if on all ways to it everything is as it was: whoever comes by there again comes from what was
    /// passed, or from a piece behind it that no one else enters.
    fn last_of_loop(&self, at: u64, needed: &[Register]) -> Option<u64> {
        let back = self
            .all()
            .filter(|instruction| jump(instruction) == Some(at));
        let end = back.map(|instruction| instruction.ip()).max()?;
        let is_kept = |instruction: &Instruction| match effect(instruction) {
            Effect::Writes(register) => !needed.contains(&full(register)),
            Effect::None | Effect::May(_) | Effect::Goes(_) => true,
            Effect::Overwrites | Effect::Unknown => false,
        };
        let is_entered = |instruction: &Instruction| {
            jump(instruction).is_some_and(|target| (self.address..=end).contains(&target))
        };
        // By a table of places within it; a function of another's is called by its place in a structure.
        let is_computed = |instruction: &Instruction| {
            let is_jump = instruction.mnemonic() == Mnemonic::Jmp;
            is_jump
                && match instruction.op0_kind() {
                    OpKind::Register => true,
                    OpKind::Memory => instruction.memory_index() != Register::None,
                    _ => false,
                }
        };
        let mut all = self.all();
        let is_closed = all.all(|instruction| match instruction.ip() <= end {
            true => is_kept(&instruction),
            false => !is_entered(&instruction) && !is_computed(&instruction),
        });
        (at <= end && is_closed).then_some(end)
    }

    /// Whether what is there only grows the stack and goes back to the start, where all is as it was: the arguments were
    /// kept, and are brought back after the call (Go's `morestack`).
    fn is_detour(&self, target: u64, needed: &[Register]) -> bool {
        let mut back = BTreeSet::new();
        let mut at = target;
        for _ in 0..DETOUR_MAX {
            let Some(instruction) = self.at(at) else {
                return false;
            };
            match effect(&instruction) {
                Effect::Goes(target) => {
                    let all_back = needed.iter().all(|register| back.contains(register));
                    return target == self.address && all_back;
                }
                Effect::Writes(register) if is_load(&instruction) => {
                    back.insert(full(register));
                }
                Effect::Writes(register) => {
                    back.remove(&full(register));
                }
                Effect::Overwrites => back.clear(),
                Effect::None => {}
                Effect::May(_) | Effect::Unknown => return false,
            }
            at = instruction.next_ip();
        }
        false
    }
}

/// Whether it brings a register back from the stack.
fn is_load(instruction: &Instruction) -> bool {
    instruction.mnemonic() == Mnemonic::Mov
        && instruction.op1_kind() == OpKind::Memory
        && instruction.memory_base() == Register::RSP
}

/// What an instruction does to the arguments and to the way.
enum Effect {
    None,
    Writes(Register),
    /// A call: what is called may write any register.
    Overwrites,
    /// It may jump there.
    May(u64),
    Goes(u64),
    Unknown,
}

fn effect(instruction: &Instruction) -> Effect {
    match branch(instruction) {
        Some(Branch::Conditional) => return Effect::May(instruction.near_branch_target()),
        Some(Branch::Jump) => return Effect::Goes(instruction.near_branch_target()),
        _ if instruction.mnemonic() == Mnemonic::Call => return Effect::Overwrites,
        _ => {}
    }
    use Mnemonic::{
        Add, And, Cmp, Cmpxchg, Endbr64, Lea, Mov, Movaps, Movsxd, Movups, Movzx, Nop, Or, Push,
        Sete, Setne, Sub, Test, Xor, Xorps,
    };
    match instruction.mnemonic() {
        Push => Effect::Writes(Register::RSP),
        Nop | Endbr64 | Cmp | Test => Effect::None,
        // Into what it compares with, if that is not the same.
        Cmpxchg if instruction.op0_kind() == OpKind::Memory => Effect::Writes(Register::RAX),
        Sete | Setne | Mov | Movzx | Movsxd | Lea | Add | Sub | And | Or | Xor | Movups
        | Movaps | Xorps => match instruction.op0_kind() {
            OpKind::Register => Effect::Writes(instruction.op0_register()),
            _ => Effect::None,
        },
        _ => Effect::Unknown,
    }
}

fn jump(instruction: &Instruction) -> Option<u64> {
    let jumps = matches!(
        branch(instruction),
        Some(Branch::Conditional | Branch::Jump)
    );
    jumps.then(|| instruction.near_branch_target())
}

/// What goes, or may go, to an address that stands in it.
enum Branch {
    Call,
    Jump,
    Conditional,
}

fn branch(instruction: &Instruction) -> Option<Branch> {
    if instruction.op0_kind() != OpKind::NearBranch64 {
        return None;
    }
    Some(match instruction.mnemonic() {
        Mnemonic::Call => Branch::Call,
        Mnemonic::Jmp => Branch::Jump,
        _ => Branch::Conditional,
    })
}

/// The whole register that one is part of, for those that hold arguments.
pub fn full(register: Register) -> Register {
    use Register::{
        AH, AL, AX, BH, BL, BX, CH, CL, CX, DH, DI, DIL, DL, DX, EAX, EBX, ECX, EDI, EDX, ESI, ESP,
        R10, R10D, R10L, R10W, R11, R11D, R11L, R11W, R8, R8D, R8L, R8W, R9, R9D, R9L, R9W, RAX,
        RBX, RCX, RDI, RDX, RSI, RSP, SI, SIL, SP, SPL,
    };
    match register {
        AL | AH | AX | EAX => RAX,
        BL | BH | BX | EBX => RBX,
        CL | CH | CX | ECX => RCX,
        DL | DH | DX | EDX => RDX,
        DIL | DI | EDI => RDI,
        SIL | SI | ESI => RSI,
        ESP | SP | SPL => RSP,
        R8L | R8W | R8D => R8,
        R9L | R9W | R9D => R9,
        R10L | R10W | R10D => R10,
        R11L | R11W | R11D => R11,
        other => other,
    }
}

/// As `push_setup_ops` and `branch_setup_ops` of the kernel have it: no prefix but the one that `push %r8` needs, and of all
/// `nop`s only the shortest, since older kernels know no other.
fn emulated(instruction: &Instruction) -> Option<Emulated> {
    match instruction.code() {
        Code::Push_r64 if instruction.len() <= 2 => Some(Emulated::Push),
        Code::Nopd if instruction.len() == 1 => Some(Emulated::Nop),
        code => match (branch(instruction)?, instruction.len()) {
            (Branch::Call, 5) => Some(Emulated::Call),
            (Branch::Jump, 2 | 5) => Some(Emulated::Jump),
            (Branch::Conditional, 2 | 6) if !is_loop(code) => Some(Emulated::ConditionalJump),
            _ => None,
        },
    }
}

/// Jumps by a counter, which the kernel does not emulate.
fn is_loop(code: Code) -> bool {
    use Mnemonic::{Jecxz, Jrcxz, Loop, Loope, Loopne};
    matches!(code.mnemonic(), Jecxz | Jrcxz | Loop | Loope | Loopne)
}

#[cfg(test)]
#[path = "placement/tests.rs"]
mod tests;
