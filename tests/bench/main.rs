//! What tracing costs. In: arguments ([`Options`]). Out: tables on standard output, progress on standard error. Needs root
//! and the built agent: `cargo xtask bench`.
//!
//! How the figures are made, and how far they can be trusted:
//!
//! - Everything runs on this machine's CPUs: function, load generator, agent and receiver, as the peers' figures do.
//! - Runs alternate: without, with, without, with, … A run with something beside the function is compared with the mean of its two
//!   neighbours without, so that a machine that becomes slower or faster slows both alike. A line tells the median of
//!   these comparisons, and the least and the most.
//! - The line "nothing" compares runs without with their neighbours without, in the same way: what it differs from 1.00 and
//!   0.0 is the error of the instrument, in the same run.
//! - The line "known" adds work of a known length: one request in so many asks for 1 ms of CPU time by the function's own
//!   clock. What the line finds beside what it says was added is the bias of the instrument.
//! - The line "empty" attaches programs that do nothing to the hooks of the agent: what any agent pays that uses them. Where some are in
//!   functions, the line "at entries" has those at the first instruction of their functions: what choosing the place is worth.
//! - CPU times are the kernel's, to the nanosecond, of whole processes (or of the generator's thread). The agent's are taken when
//!   all its spans have arrived, so that decoding and exporting are within. It exports over OTLP to a receiver that only
//!   keeps bytes and reads them after the run; the receiver's CPU time is no part of the agent's.

mod account;
mod beside;
mod calls;
mod cost;
mod machine;
mod result;
mod scale;
mod start;
mod subject;
mod summary;
mod wire;

use anyhow::Result;
use clap::Parser;
use spanlet_e2e::bench_options::{Options, Part, Settings};
use spanlet_e2e::sheet::Sheet;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// `cargo bench` adds this.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let settings = Arguments::parse().options.settings();
    println!("{}", machine::description()?);
    for part in &settings.parts {
        match part {
            Part::Functions => {
                cost::measure(&settings)?;
                wire::measure(&settings)?;
            }
            Part::Calls => calls::measure(&settings)?,
            Part::Start => start::measure(&settings)?,
            Part::Scale => scale::measure(&settings)?,
        }
    }
    Ok(())
}

/// A table with a line on what it holds above.
fn show(settings: &Settings, title: &str, table: &Sheet) {
    if settings.is_markdown {
        println!("\n{title}\n{}", table.markdown());
    } else {
        println!("\n{title}\n{}", table.text());
    }
}
