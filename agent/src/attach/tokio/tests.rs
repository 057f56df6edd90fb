//! Functions as compilers wrote them.

use super::*;

/// Where, and how many words.
fn at(hex: &str) -> Option<(i64, u32)> {
    let digits: String = hex.split_whitespace().collect();
    let bytes = (0..digits.len()).step_by(2);
    let bytes: Vec<u8> = bytes
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect();
    kept(&bytes, 0x1000).map(|kept| (kept.offset, kept.words))
}

#[test]
fn an_executable_that_may_move() {
    // rustc 1.95, tokio 1.54: the linker made this of a call to __tls_get_addr.
    let offset = at(
        "415653504889fb64488b042500000000488d80b8feffff0fb6484883f901742483f902750431c9eb23488d3570ee\
         ffff4889c74989c6ff151cdc07004c89f041c6464801488b4830488958304889c84883c4085b415ec3",
    );
    assert_eq!(offset, Some((-0x148 + 0x30, 1)));
}

#[test]
fn a_number_that_may_be_zero() {
    // tokio 1.38: whether there is one stands ahead of it.
    let offset = at(
        "41574156534889f34989fe64488b042500000000488d80b0feffff0fb6485083f901742283f9027502eb2b488d35\
         2eadffff4889c74989c7ff1522b506004c89f841c6475001488b4820488b50284c8970204889582831c04883f902\
         480f45c15b415e415fc3",
    );
    assert_eq!(offset, Some((-0x150 + 0x20, 2)));
}

#[test]
fn a_place_of_its_own() {
    // mov %fs:-0x28,%rax; mov %rdi,%fs:-0x28; ret
    let offset = at("64 48 8b 04 25 d8 ff ff ff 64 48 89 3c 25 d8 ff ff ff c3");
    assert_eq!(offset, Some((-0x28, 1)));
}

#[test]
fn what_is_not_certain_is_not_known() {
    // Only what is not the argument is kept: mov %fs:0,%rax; mov %rsi,0x30(%rax); ret
    assert_eq!(at("64 48 8b 04 25 00 00 00 00 48 89 70 30 c3"), None);
    // A call overwrites it: mov %fs:0,%rax; call .; mov %rdi,0x30(%rax)
    assert_eq!(
        at("64 48 8b 04 25 00 00 00 00 e8 00 00 00 00 48 89 78 30 c3"),
        None
    );
    // Two places: mov %rdi,%fs:-0x28; mov %rdi,%fs:-0x20
    let two = "64 48 89 3c 25 d8 ff ff ff 64 48 89 3c 25 e0 ff ff ff c3";
    assert_eq!(at(two), None);
    assert_eq!(at(""), None);
}
