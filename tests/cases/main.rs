//! The end-to-end cases. They need root, the functions' runtimes, the built agent and a collector: `cargo xtask e2e`.

/// A test of each case for each back end.
macro_rules! on_each_back_end {
    ($($case:ident),* $(,)?) => {
        mod socket_tracepoints {
            use spanlet_e2e::agent::Backend::SocketTracepoints;
            $(#[test] fn $case() -> anyhow::Result<()> { super::$case(SocketTracepoints) })*
        }
        mod sys_exit {
            use spanlet_e2e::agent::Backend::SysExit;
            $(#[test] fn $case() -> anyhow::Result<()> { super::$case(SysExit) })*
        }
    };
}

mod accounting;
mod accuracy;
mod attributes;
mod basics;
mod broken;
mod calls;
mod capabilities;
mod chart;
mod collectors;
mod confined;
mod contention;
mod costs;
mod durations;
mod fastcgi;
mod fronts;
mod functions;
mod go_client;
mod go_offsets;
mod go_routes;
mod go_tls;
mod growth;
mod harness;
mod headers;
mod health;
mod hostile;
mod instructions;
mod kill;
mod loss;
mod open_before;
mod probes;
mod processes;
mod record;
mod relay;
mod reload;
mod runtimes;
mod scored;
mod selection;
mod site;
mod stage;
mod stopping;
mod tasks;
mod timing;
mod tls;
mod tokio;
mod traces;
mod turns;
mod uprobes;
mod watched;
