//! One table of cases over all runtimes: a real function, this kernel and the agent. In: a runtime and a back end. Out:
//! for each case whether every request that was sent has its span, and the right one.

mod calls;
mod cases;
mod check;
mod endings;
mod run;
mod sent;

pub use cases::{Case, CASES};
pub use run::{run, Outcome, STRAYS};
