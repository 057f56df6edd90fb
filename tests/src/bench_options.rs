//! What `cargo xtask bench` can be asked. In: arguments. Out: what to measure, and for how long.

use std::time::Duration;

use clap::ValueEnum;

use crate::agent::Backend;

/// Measure what tracing costs, with and without the agent in turn
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// What to measure; absent: functions, calls and start
    #[arg(value_enum)]
    pub part: Option<Part>,
    /// Only these functions (repeatable)
    #[arg(long = "function", value_enum)]
    pub functions: Vec<Runtime>,
    /// Only these I/O back ends (repeatable)
    #[arg(long = "backend", value_enum)]
    pub backends: Vec<BackendName>,
    /// Only these loads (repeatable)
    #[arg(long = "load", value_enum)]
    pub loads: Vec<LoadName>,
    /// Only these routes (repeatable)
    #[arg(long = "route", value_enum)]
    pub routes: Vec<Route>,
    /// Runs of each kind [default: 4; with --quick 2]
    #[arg(long)]
    pub pairs: Option<usize>,
    /// Length of a run [default: 1.5; with --quick 0.7]
    #[arg(long)]
    pub seconds: Option<f64>,
    /// Under three minutes: saturated and plain only, short runs
    #[arg(long)]
    pub quick: bool,
    /// Write Markdown
    #[arg(long)]
    pub markdown: bool,
}

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// What traced functions and the agent spend on a request
    Functions,
    /// What untraced processes pay for their system calls
    Calls,
    /// How soon after its exec a process is traced
    Start,
    /// 1,000 processes, 20,000 connections; 5,000 new connections a second
    Scale,
}

/// A function's runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    Go,
    Node,
    /// FastAPI under uvicorn
    Python,
}

/// [`Backend`] as an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BackendName {
    SocketTracepoints,
    SysExit,
}

/// How much is asked of the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LoadName {
    /// As much as it can serve
    Saturated,
    /// A third of that, evenly
    Third,
}

/// What is asked of the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Route {
    /// It answers by itself
    Plain,
    /// It asks a second function, which is traced too
    Call,
    /// It answers by itself, over TLS
    Https,
}

/// What to do.
#[derive(Clone, Debug)]
pub struct Settings {
    pub parts: Vec<Part>,
    pub functions: Vec<Runtime>,
    pub backends: Vec<Backend>,
    pub loads: Vec<LoadName>,
    pub routes: Vec<Route>,
    pub pairs: usize,
    pub time: Duration,
    pub is_quick: bool,
    pub is_markdown: bool,
}

impl Options {
    /// With the defaults filled in.
    pub fn settings(&self) -> Settings {
        let (pairs, seconds) = if self.quick { (2, 0.7) } else { (4, 1.5) };
        let some = |quick: usize| if self.quick { quick } else { usize::MAX };
        let backends = or_all(&self.backends, usize::MAX);
        Settings {
            parts: match self.part {
                Some(part) => vec![part],
                None => vec![Part::Functions, Part::Calls, Part::Start],
            },
            functions: or_all(&self.functions, usize::MAX),
            backends: backends.into_iter().map(BackendName::backend).collect(),
            loads: or_all(&self.loads, some(1)),
            routes: or_all(&self.routes, some(1)),
            pairs: self.pairs.unwrap_or(pairs).max(1),
            time: Duration::from_secs_f64(self.seconds.unwrap_or(seconds).clamp(0.1, 60.0)),
            is_quick: self.quick,
            is_markdown: self.markdown,
        }
    }
}

impl Runtime {
    pub fn name(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::Node => "node",
            Self::Python => "python",
        }
    }
}

impl BackendName {
    fn backend(self) -> Backend {
        match self {
            Self::SocketTracepoints => Backend::SocketTracepoints,
            Self::SysExit => Backend::SysExit,
        }
    }
}

fn or_all<T: ValueEnum>(given: &[T], most: usize) -> Vec<T> {
    match given {
        [] => T::value_variants().iter().take(most).cloned().collect(),
        given => given.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        options: Options,
    }

    fn settings(arguments: &[&str]) -> Settings {
        let all = [&["bench"], arguments].concat();
        Arguments::parse_from(all).options.settings()
    }

    #[test]
    fn everything_is_measured_but_scale() {
        let settings = settings(&[]);
        assert_eq!(settings.parts, [Part::Functions, Part::Calls, Part::Start]);
        assert_eq!(settings.backends, Backend::ALL);
        assert_eq!((settings.functions.len(), settings.loads.len()), (3, 2));
    }

    #[test]
    fn quick_is_less_where_nothing_else_is_said() {
        let settings = settings(&["--quick", "--load", "third", "--backend", "sys-exit"]);
        assert_eq!(settings.routes, [Route::Plain]);
        assert_eq!(settings.loads, [LoadName::Third]);
        assert_eq!(settings.backends, [Backend::SysExit]);
        assert_eq!(settings.pairs, 2);
    }
}
