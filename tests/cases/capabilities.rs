//! The agent with the capabilities that the chart gives it instead of all: with them nothing is missing, and each is needed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{chown, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{bail, ensure, Context, Result};
use spanlet_e2e::agent::{self, Agent, Backend, Options};
use spanlet_e2e::function::{self, Function};
use spanlet_e2e::helm;
use spanlet_e2e::language::Language;
use spanlet_e2e::otlp::{Kind, Span};
use spanlet_e2e::report::Process;
use spanlet_e2e::scratch::Scratch;
use spanlet_e2e::system::workspace;

use crate::watched::{each_seen, marked, send};

on_each_back_end!(the_charts_list_is_enough, each_of_the_charts_list_is_needed,);

/// `nobody`
const NOBODY: u32 = 65534;
const REQUESTS: usize = 5;

/// By port, because that asks most of procfs. For uprobes the kernel asks for CAP_SYS_ADMIN, which is not in the list.
fn the_charts_list_is_enough(backend: Backend) -> Result<()> {
    let function = Foreign::start()?;
    let options = Options::json(backend, &[]).with(&["--port", &function.port()?]);
    let all = look(Agent::start(&options)?, &function)?;
    let few = look(limited(&helm::capabilities()?, &options)?, &function)?;
    ensure!(
        few.told == all.told,
        "{:?} instead of {:?}",
        few.told,
        all.told
    );
    let process = few.process.context("not traced")?;
    ensure!(process.service == SERVICE, "{process:?}");
    ensure!(process.language == "go", "{process:?}");
    let mut attached = all.process.context("not traced")?.attached;
    ensure!(!all.uprobes.is_empty(), "no uprobe with all capabilities");
    ensure!(few.uprobes.is_empty(), "{:?}", few.uprobes);
    attached.retain(|name| !all.uprobes.contains(name));
    ensure!(
        process.attached == attached,
        "{process:?} instead of {attached:?}"
    );
    Ok(())
}

/// What is lost is what `deploy/README.md` says.
fn each_of_the_charts_list_is_needed(backend: Backend) -> Result<()> {
    let page = fs::read_to_string(workspace().join("deploy/README.md"))?;
    let list = helm::capabilities()?;
    let function = Foreign::start()?;
    let options = Options::json(backend, &[function.function.pid()]);
    for left_out in &list {
        ensure!(
            page.contains(&format!("\n| `{left_out}` | ")),
            "{left_out} is not explained"
        );
        let kept: Vec<_> = list
            .iter()
            .filter(|name| *name != left_out)
            .cloned()
            .collect();
        let agent = limited(&kept, &options);
        match left_out.as_str() {
            "BPF" | "PERFMON" => {
                let fault = agent
                    .err()
                    .with_context(|| format!("runs without {left_out}"))?;
                ensure!(
                    format!("{fault:#}").contains("Operation not permitted"),
                    "{fault:#}"
                );
            }
            "SYS_PTRACE" => {
                let seen = look(agent?, &function)?;
                ensure!(
                    seen.process.is_none() && seen.told.is_empty(),
                    "{:?}",
                    seen.process
                );
            }
            "DAC_READ_SEARCH" => {
                let process = look(agent?, &function)?.process.context("not traced")?;
                ensure!(
                    process.ports.is_empty() && process.language == "unknown",
                    "{process:?}"
                );
                ensure!(process.service != SERVICE, "{process:?}");
            }
            other => bail!("what is lost without {other}?"),
        }
    }
    Ok(())
}

/// In the function's environment, which only its user may read.
const SERVICE: &str = "of-another-user";

/// A function of another user's, which nobody else may read.
struct Foreign {
    function: Function,
    _scratch: Scratch,
}

impl Foreign {
    fn start() -> Result<Self> {
        let scratch = Scratch::new()?;
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755))?;
        let program = scratch.join("function");
        fs::copy(Language::Go.command()?.get_program(), &program)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700))?;
        chown(&program, Some(NOBODY), Some(NOBODY))?;
        let mut command = Command::new(program);
        command.uid(NOBODY).gid(NOBODY);
        let options = function::Options {
            environment: vec![("OTEL_SERVICE_NAME".to_owned(), SERVICE.to_owned())],
            without_truth: true,
            ..function::Options::default()
        };
        Ok(Self {
            function: Function::start_as("go", command, &options)?,
            _scratch: scratch,
        })
    }

    fn port(&self) -> Result<String> {
        let port = self.function.address.port().context("no port")?;
        Ok(port.to_string())
    }
}

/// What an agent tells of a function.
struct Seen {
    process: Option<Process>,
    /// Names of the uprobes in its files.
    uprobes: BTreeSet<String>,
    /// What its spans and their resource have attributes for.
    told: BTreeSet<String>,
}

fn look(agent: Agent, function: &Foreign) -> Result<Seen> {
    let pid = function.function.pid();
    send(&function.function.address, "limited", REQUESTS)?;
    let report = agent.report()?;
    let process = report.process(pid).cloned();
    let uprobes = report.uprobes.into_iter();
    let uprobes = uprobes.filter(|uprobe| uprobe.processes.contains(&pid));
    let spans = agent.finish()?.spans;
    if process.is_some() {
        each_seen(&spans, "limited", Kind::Server, pid, REQUESTS)?;
    }
    let spans = marked(&spans, "limited", Kind::Server, pid);
    Ok(Seen {
        process,
        uprobes: uprobes.map(|uprobe| uprobe.name).collect(),
        told: spans.into_iter().flat_map(told).collect(),
    })
}

/// Waits are left out: they are told only where there were any.
fn told(span: &Span) -> impl Iterator<Item = String> + '_ {
    let names = span.resource.keys().chain(span.attributes.keys());
    names.filter(|name| !name.ends_with("_wait")).cloned()
}

/// An agent of root's that has these capabilities and can get no others, as in a container.
fn limited(capabilities: &[String], options: &Options) -> Result<Agent> {
    let mut set = "--bounding-set=-all".to_owned();
    for name in capabilities {
        set.push_str(&format!(",+{}", name.to_lowercase()));
    }
    let mut command = Command::new("setpriv");
    command.args(["--no-new-privs", "--inh-caps=-all", &set]);
    command.arg(agent::binary()?);
    Agent::start_by(command, options)
}
