//! The length of the kernel programs, held to a table: instructions, not seconds, so that a busy machine changes nothing.
//!
//! In: what the running agent's programs came to in this kernel. Out: a failure where one differs by more than a tenth
//! from `tests/bench/instructions.txt`; with `SPANLET_WRITE=1` that table is written anew for this kernel.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::agent::{Agent, Backend, Options};
use spanlet_e2e::function::{self, Function};
use spanlet_e2e::language::Language;
use spanlet_e2e::system::workspace;

/// Instructions of a program: those that the kernel keeps, and those that its verifier looked at.
type Lengths = BTreeMap<String, [u32; 2]>;

const HEAD: &str = "\
# Instructions of each kernel program: those that the kernel keeps once constants are folded, and those that its verifier
# looked at, on all paths. They are other ones in another kernel. A program may grow or shrink by a tenth; if more is
# wanted: SPANLET_WRITE=1 cargo xtask e2e instructions, and read the change.
";

#[test]
fn kernel_programs_keep_their_length() -> Result<()> {
    let mut found = Lengths::new();
    for backend in Backend::ALL {
        found.extend(lengths(backend)?);
    }
    let kernel = kernel()?;
    let path = table();
    if std::env::var_os("SPANLET_WRITE").is_some_and(|value| value == "1") {
        return Ok(fs::write(path, written(&kernel, &found))?);
    }
    let (kernel_of_table, bars) = read(&fs::read_to_string(&path)?)?;
    if kernel_of_table != kernel {
        println!(
            "nothing to compare with: the table is of Linux {kernel_of_table}, this is {kernel}"
        );
        return Ok(());
    }
    let faults = faults(&bars, &found);
    ensure!(
        faults.is_empty(),
        "{}; if that is wanted: SPANLET_WRITE=1 cargo xtask e2e instructions",
        faults.join("; ")
    );
    Ok(())
}

/// Of the programs of one back end, loaded by the agent.
fn lengths(backend: Backend) -> Result<Lengths> {
    let function = Function::start(Language::C, &function::Options::default())?;
    let agent = Agent::start(&Options::json(backend, &[function.pid()]))?;
    let report = agent.report()?;
    agent.finish()?;
    let probes = report.probes.into_iter();
    probes
        .map(|probe| {
            let kept = probe.instructions.context("no instructions")?;
            let verified = probe.verified_instructions.context("not verified")?;
            Ok((probe.name, [kept, verified]))
        })
        .collect()
}

/// What is wrong, a sentence each: a program that is too long, far shorter than the table says, or on one side only.
fn faults(bars: &Lengths, found: &Lengths) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, lengths) in found {
        let Some(bar) = bars.get(name) else {
            faults.push(format!("{name} is not in the table"));
            continue;
        };
        for (length, bar) in lengths.iter().zip(bar) {
            let tenth = bar / 10;
            if *length > bar + tenth {
                faults.push(format!("{name} grew from {bar} to {length} instructions"));
            } else if *length < bar - tenth {
                faults.push(format!("{name} shrank from {bar} to {length} instructions"));
            }
        }
    }
    let gone = bars.keys().filter(|name| !found.contains_key(*name));
    faults.extend(gone.map(|name| format!("{name} is in the table only")));
    faults
}

fn written(kernel: &str, lengths: &Lengths) -> String {
    let mut out = format!("{HEAD}linux {kernel}\n");
    for (name, [kept, verified]) in lengths {
        let _ = writeln!(out, "{name} {kept} {verified}");
    }
    out
}

fn read(text: &str) -> Result<(String, Lengths)> {
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let kernel = lines.next().and_then(|line| line.strip_prefix("linux "));
    let lengths = lines.map(|line| {
        let fields: Vec<_> = line.split(' ').collect();
        let [name, kept, verified] = fields[..] else {
            anyhow::bail!("not a name and two numbers: {line}");
        };
        Ok((name.to_owned(), [kept.parse()?, verified.parse()?]))
    });
    let kernel = kernel.context("no kernel")?.to_owned();
    Ok((kernel, lengths.collect::<Result<_>>()?))
}

/// `6.18` of `6.18.44-something`.
fn kernel() -> Result<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let numbers: Vec<_> = release.split('.').take(2).collect();
    Ok(numbers.join("."))
}

fn table() -> PathBuf {
    workspace().join("tests/bench/instructions.txt")
}

#[test]
fn a_tenth_is_let_pass_and_more_is_not() -> Result<()> {
    let of = |kept, verified| Lengths::from([("probe".to_owned(), [kept, verified])]);
    let bars = of(1000, 50_000);
    assert_eq!(
        read(&written("6.18", &bars))?,
        ("6.18".to_owned(), bars.clone())
    );
    assert!(faults(&bars, &of(1100, 45_000)).is_empty());
    assert_eq!(
        faults(&bars, &of(1101, 50_000)),
        ["probe grew from 1000 to 1101 instructions"]
    );
    assert_eq!(
        faults(&bars, &of(1000, 44_999)),
        ["probe shrank from 50000 to 44999 instructions"]
    );
    assert_eq!(
        faults(&bars, &Lengths::new()),
        ["probe is in the table only"]
    );
    assert_eq!(
        faults(&Lengths::new(), &bars),
        ["probe is not in the table"]
    );
    Ok(())
}
