//! The placement rule, held to what compilers make.

use super::*;

/// `net/http.(*persistConn).roundTrip` as each release compiles it: release, address, bytes in all, the first of them,
/// the last of them. What is between is not looked at here; executables as they are: the workspace's `cases/go_client.rs`.
const ROUND_TRIPS: [(&str, u64, usize, &str, &str); 7] = [
    ("1.19", 0x63f5a0, 3828,
        "4c8da424d0fdffff4d3b66100f86c30e00004881ecb00200004889ac24a8020000488dac24a802000048899c24c002000048898424b802000048c784242001000000000000440f11bc2488010000488b157b8f2700488b0affd1488d053f7104",
        "488944240848895c241090e87b35e2ff488b442408488b5c2410e90cf1ffff"),
    ("1.21", 0x63cd40, 3781,
        "4c8da424d0fdffff4d3b66100f86940e0000554889e54881eca802000048899c24c002000048898424b802000048c784242001000000000000440f11bc2488010000488b15d7202a00488b0affd1488d056b9d0400e8661fddff488d0dbfac00",
        "488944240848895c2410e82b8ce2ff488b442408488b5c241090e93bf1ffff"),
    ("1.22", 0x651160, 3781,
        "4c8da42400feffff4d3b66100f86940e0000554889e54881ec78020000488984248802000048899c249002000048c78424f000000000000000440f11bc2428010000488b156f5c2b00488b0affd1488d056ba50400e826efdbff488d0d5f9100",
        "488944240848895c2410e8cb9ee1ff488b442408488b5c241090e93bf1ffff"),
    ("1.23", 0x670040, 3156,
        "4c8da42448feffff4d3b66100f86240c0000554889e54881ec30020000488984244002000048899c244802000048c78424b800000000000000440f11bc24f0000000488b157f312e00488b0affd1488b842440020000488d88d80000004889c2",
        "488944240848895c2410e8db19e0ff488b442408488b5c2410e9acf3ffff"),
    ("1.24", 0x63d080, 3540,
        "4c8da42468feffff4d3b66100f86a30d0000554889e54881ec10020000488984242002000048899c242802000048c78424b800000000000000440f11bc24f0000000488b15ff813800488b02ffd0488b842420020000488d88d80000004889c2",
        "488944240848895c241090e89b80e3ff488b442408488b5c2410e92cf2ffff"),
    ("1.25", 0x644a40, 3444,
        "4c8da42468feffff4d3b66100f86430d0000554889e54881ec10020000488984242002000048899c242802000048c78424b800000000000000440f11bc24f0000000488b15dfb83800488b02ffd090488b842420020000488d88d80000004889",
        "488944240848895c241090e85b7ae3ff488b442408488b5c2410e98cf2ffff"),
    ("1.26", 0x651360, 3736,
        "4c8da42458feffff4d3b66100f86680e0000554889e54881ec20020000488984243002000048899c243802000048c78424b800000000000000440f11bc24f0000000488b15dfc23a00488b02ffd090488b842430020000488d88e00000004889",
        "488944240848895c2410e8f768e3ff488b442408488b5c2410e968f1ffff"),
];

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    let pairs = digits.chunks(2);
    pairs.map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

/// Start and end with breakpoints between them.
fn whole(length: usize, start: &str, end: &str) -> Vec<u8> {
    let (mut all, end) = (bytes(start), bytes(end));
    all.resize(length - end.len(), 0xcc);
    all.extend(end);
    all
}

fn placed(hex: &str) -> Result<Place, Fault> {
    place(&bytes(hex), 0x1000, &[Register::RAX])
}

fn once(offset: u64, instruction: Emulated) -> Result<Place, Fault> {
    Ok(Place {
        offset,
        instruction,
        repeats: false,
    })
}

#[test]
fn the_push_behind_the_stack_check_is_the_place_in_every_release_that_has_one() {
    for (release, address, length, start, end) in ROUND_TRIPS {
        let found = place(&whole(length, start, end), address, &[Register::RAX]);
        let expected = match release {
            // It keeps the frame pointer by a `mov`.
            "1.19" => Ok(Place {
                offset: 12,
                instruction: Emulated::ConditionalJump,
                repeats: true,
            }),
            _ => once(18, Emulated::Push),
        };
        assert_eq!(found, expected, "Go {release}");
    }
}

#[test]
fn truncated_and_broken_functions_have_no_place_that_is_not_there() {
    for (_, address, length, start, end) in ROUND_TRIPS {
        let whole = whole(length, start, end);
        for cut in 0..whole.len().min(200) {
            if let Ok(place) = place(&whole[..cut], address, &[Register::RAX]) {
                assert!(place.offset < cut as u64);
            }
        }
        for at in 0..90 {
            let mut broken = whole.clone();
            broken[at] ^= 0xff;
            let _ = place(&broken, address, &[Register::RAX]);
        }
    }
    assert_eq!(placed(""), Err(Fault::Malformed(0)));
    assert_eq!(
        placed("06"),
        Err(Fault::Malformed(0)),
        "no instruction in 64 bits"
    );
}

#[test]
fn a_start_without_anything_cheap_says_why() {
    // endbr64; sub $0x18,%rsp; lea 8(%rsp),%rax; push %rbp: too late.
    assert_eq!(
        placed("f30f1efa 4883ec18 488d442408 55"),
        Err(Fault::Overwritten(8))
    );
    // endbr64; sub $0x18,%rsp; xor %eax,%eax
    assert_eq!(
        placed("f30f1efa 4883ec18 31c0 55"),
        Err(Fault::Overwritten(8))
    );
    // sub $0x18,%rsp; ret
    assert_eq!(placed("4883ec18 c3 55"), Err(Fault::Unknown(4)));
    // An indirect call is single-stepped: call *(%rcx)
    assert_eq!(placed("ff11 55"), Err(Fault::Overwritten(0)));
    let long = vec![0x48u8; FUNCTION_BYTES_MAX + 1];
    assert_eq!(place(&long, 0, &[]), Err(Fault::TooLong));
    // mov %rcx,%rdx, again and again
    assert_eq!(placed(&"4889ca".repeat(60)), Err(Fault::TooFar));
}

#[test]
fn what_the_kernel_emulates_is_taken() {
    // endbr64; push %rbp
    assert_eq!(placed("f30f1efa 55"), once(4, Emulated::Push));
    // push %r12 has a prefix that the kernel knows
    assert_eq!(placed("4154"), once(0, Emulated::Push));
    assert_eq!(placed("90"), once(0, Emulated::Nop));
    assert_eq!(placed("e800000000"), once(0, Emulated::Call));
    assert_eq!(placed("eb00 c3"), once(0, Emulated::Jump));
    // A way that parts is itself a place: all come to it.
    assert_eq!(placed("4885c0 7410 55"), once(3, Emulated::ConditionalJump));
    // A long nop, which older kernels do not know, is passed.
    assert_eq!(placed("0f1f4000 55"), once(4, Emulated::Push));
}

#[test]
fn a_place_that_is_jumped_to_from_elsewhere_is_none() {
    // sub $8,%rsp; push %rbp; dec %rcx; jne back to the push
    assert_eq!(placed("4883ec08 55 48ffc9 75fa c3"), Err(Fault::Parted(4)));
}

#[test]
fn a_loop_that_leaves_the_arguments_alone_is_come_by_again() {
    // tokio 1.54, wake_by_ref: it tries again what another thread came between.
    let bytes = "4883ec18488b07488d4c2408488d5424106666666666662e0f1f840000000000a802751ca8047538a801753b4885c078764c8d4044\
         40b601eb36660f1f44000031f64989c94531c04d8901837c2408017434eb3e6666662e0f1f84000000000031f64989c0eb094989c0\
         4983c80431f648c7442408010000004989d14d8901837c240801750c4c8b442410f04c0fb107758e4084f6740b488b47104883c418\
         ff60084883c418c3";
    let bytes = self::bytes(bytes);
    let found = place(&bytes, 0x1000, &[Register::RDI]);
    let again = Place {
        offset: 0x22,
        instruction: Emulated::ConditionalJump,
        repeats: true,
    };
    assert_eq!(found, Ok(again));
    // What it compares with is not as it was.
    let found = place(&bytes, 0x1000, &[Register::RAX]);
    assert_eq!(found, Err(Fault::Overwritten(4)));
}

#[test]
fn a_way_back_to_the_start_that_does_not_bring_the_arguments_back_is_no_detour() {
    // cmp %rbx,%rcx; jbe +6; push %rbp; ...; (there) call; jmp to the start
    let detour = |back: &str| placed(&format!("4839d9 7606 55 c3 cccccccc e800000000 {back}"));
    // mov 8(%rsp),%rax; jmp
    let place = detour("488b442408 ebe9");
    assert_eq!(place, once(5, Emulated::Push));
    let place = detour("ebee");
    assert_eq!(place, once(3, Emulated::ConditionalJump), "its ways part");
}
