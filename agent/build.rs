//! Embeds the kernel programs and names the build. In: `target/bpf/spanlet.bpf.o` (or the file that SPANLET_BPF_OBJECT
//! names) and git. Out: `spanlet.bpf.o` in OUT_DIR, empty where there is none, and SPANLET_COMMIT and SPANLET_BPF_BUILD.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let object = embed(&object_path())?;
    println!("cargo:rustc-env=SPANLET_BPF_BUILD={}", build_name(&object));
    println!("cargo:rustc-env=SPANLET_COMMIT={}", commit());
    // Whether the checkout is dirty may change with each source file; the crate is compiled again then anyway.
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=build.rs");
    Ok(())
}

fn object_path() -> PathBuf {
    println!("cargo:rerun-if-env-changed=SPANLET_BPF_OBJECT");
    match env::var_os("SPANLET_BPF_OBJECT") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/spanlet.bpf.o"),
    }
}

fn embed(path: &Path) -> io::Result<Vec<u8>> {
    println!("cargo:rerun-if-changed={}", path.display());
    let object = fs::read(path).unwrap_or_default();
    if object.is_empty() {
        println!(
            "cargo:warning=the kernel programs are left out: {} is missing; `cargo xtask build` makes it",
            path.display()
        );
    }
    let folder = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    fs::write(Path::new(&folder).join("spanlet.bpf.o"), &object)?;
    Ok(object)
}

/// Eight hexadecimal digits that differ when the object does (FNV-1a, folded), or `none`.
fn build_name(object: &[u8]) -> String {
    if object.is_empty() {
        return "none".to_owned();
    }
    let hash = object.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{:08x}", (hash >> 32) ^ (hash & 0xffff_ffff))
}

fn commit() -> String {
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else {
        return "unknown".to_owned();
    };
    // The log of HEAD grows with every commit and checkout, in a linked worktree too.
    if let Some(log) = git(&[
        "rev-parse",
        "--path-format=absolute",
        "--git-path",
        "logs/HEAD",
    ]) {
        println!("cargo:rerun-if-changed={log}");
    }
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])
        .is_some_and(|files| !files.is_empty());
    format!("{commit}{}", if changed { "-dirty" } else { "" })
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let printed = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| printed.trim().to_owned())
}
