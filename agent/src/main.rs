//! Parses arguments, loads the configuration, starts the pipeline, waits for its end. The rest is library.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use spanlet::attach::golang;
use spanlet::cli::{Cli, Command, Doctor, Probes, ReportForm, Run};
use spanlet::config::fields::SOCKET;
use spanlet::config::{Config, RawConfig, Sources};
use spanlet::pipeline::{self, Trial};
use spanlet::{cluster, control, doctor, memory, ready, report};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Run(run) => trace(&run),
        Command::Probes(probes) if probes.of.cluster || is_plugin() => {
            cluster::show_probes(&probes)
        }
        Command::Probes(probes) => show_probes(&probes),
        Command::Doctor(of) if of.of.cluster || is_plugin() => cluster::show_doctor(&of),
        Command::Doctor(of) => match show_doctor(&of) {
            Ok(can_trace) => return ExitCode::from(u8::from(!can_trace)),
            Err(error) => Err(error),
        },
        Command::Ready { place, wait } => {
            let readiness = ready::wait(&place, Duration::from_secs(wait));
            print!("{readiness}");
            return ExitCode::from(u8::from(!readiness.is_all()));
        }
        Command::GoOffsets { programs } => golang::line::table(&programs)
            .map(|table| print!("{table}"))
            .map_err(Into::into),
        Command::CheckConfig { file } => {
            Config::load(Some(&file), environment, RawConfig::default())
                .map(|config| print!("{config}"))
                .map_err(Into::into)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("spanlet: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn trace(run: &Run) -> anyhow::Result<()> {
    memory::set_up();
    log();
    let sources = Sources {
        file: run.config.clone(),
        flags: run.settings(),
    };
    let config = sources.load()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(pipeline::run(
        config,
        sources,
        Trial {
            record: run.record.clone(),
            lose_per_mille: run.lose_per_mille,
            map_sizes: run.map_size.clone(),
        },
    ))
}

/// Called as `kubectl spanlet`, it is about the cluster.
fn is_plugin() -> bool {
    let name = std::env::args_os().next();
    name.is_some_and(|path| std::path::Path::new(&path).ends_with("kubectl-spanlet"))
}

/// Whether anything can be traced here.
fn show_doctor(asked: &Doctor) -> anyhow::Result<bool> {
    memory::set_up();
    let checks = doctor::examine();
    match asked.output {
        ReportForm::Text | ReportForm::Wide => print!("{}", doctor::text(&checks)),
        ReportForm::Json => println!("{}", serde_json::to_string_pretty(&checks)?),
    }
    Ok(doctor::can_trace(&checks))
}

fn show_probes(probes: &Probes) -> anyhow::Result<()> {
    let socket = probes.socket.clone();
    let socket = socket.or_else(|| environment("SPANLET_SOCKET").map(Into::into));
    let report = control::ask(&socket.unwrap_or_else(|| SOCKET.into()))?;
    match probes.output {
        ReportForm::Text => print!("{}", report::text(&report, false)),
        ReportForm::Wide => print!("{}", report::text(&report, true)),
        ReportForm::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    Ok(())
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The agent's own log goes to standard error; `SPANLET_LOG` says how much of it (`debug`, `spanlet=trace`).
/// What kube has to say of a failure is told by who asked.
fn log() {
    let asked = environment("SPANLET_LOG");
    let filter = asked.and_then(|asked| EnvFilter::try_new(without_kube(&asked)).ok());
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|| EnvFilter::new(without_kube("info"))))
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
}

/// Unless it is asked for.
fn without_kube(asked: &str) -> String {
    match asked.contains("kube") {
        true => asked.to_owned(),
        false => format!("{asked},kube_client=off,kube_runtime=off"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kube_logs_is_left_out_unless_it_is_asked_for() {
        let silent = "info,kube_client=off,kube_runtime=off";
        assert_eq!(without_kube("info"), silent);
        assert_eq!(without_kube("debug,kube=warn"), "debug,kube=warn");
        assert!(EnvFilter::try_new(silent).is_ok());
    }
}
