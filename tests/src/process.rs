//! A child process in a group of its own, its output captured, killed with the value, and ended with this process however
//! that ends. In: a command. Out: its lines and how it ended.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{bail, Context, Result};

use crate::system::{end_with_starter, signal_group, signal_process, Signal};
use crate::wait::wait_until;

/// One output stream of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: Captured,
    stderr: Captured,
    readers: Vec<JoinHandle<()>>,
}

type Captured = Arc<Mutex<Vec<String>>>;

impl Process {
    /// Starts a command in its own process group; it ends with the thread that starts it. `name` is for messages.
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        Self::spawn(name, command.stdout(Stdio::piped()))
    }

    /// The same, but its standard output is this process's own and not captured.
    pub fn start_showing(name: &str, command: &mut Command) -> Result<Self> {
        Self::spawn(name, command.stdout(Stdio::inherit()))
    }

    fn spawn(name: &str, command: &mut Command) -> Result<Self> {
        end_with_starter(command);
        let mut child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {name}: {command:?}"))?;
        let (stdout, out) = capture(child.stdout.take());
        let (stderr, err) = capture(child.stderr.take());
        Ok(Self {
            name: name.to_owned(),
            child,
            stdout,
            stderr,
            readers: vec![out, err],
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The lines so far.
    pub fn lines(&self, stream: Stream) -> Vec<String> {
        lock(self.captured(stream)).clone()
    }

    /// Waits for a line that `matches` something; fails at once when the process ends without it.
    pub fn wait_for_line<T>(
        &mut self,
        stream: Stream,
        deadline: Duration,
        mut matches: impl FnMut(&str) -> Option<T>,
    ) -> Result<T> {
        let lines = self.captured(stream).clone();
        let name = self.name.clone();
        let found = wait_until(deadline, &format!("expected line of {name}"), || {
            let ended = self.child.try_wait()?;
            if ended.is_some() {
                self.join_readers();
            }
            let found = lock(&lines).iter().find_map(|line| matches(line));
            match (found, ended) {
                (None, Some(status)) => bail!("{name} ended early: {status}"),
                (found, _) => Ok(found),
            }
        });
        found.with_context(|| format!("{name} said:\n{}", self.said()))
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Sends the process (not its group) a signal and waits for its end; all output is captured then.
    pub fn stop(&mut self, signal: Signal, deadline: Duration) -> Result<ExitStatus> {
        signal_process(self.pid(), signal).with_context(|| format!("signal {}", self.name))?;
        self.wait(deadline)
    }

    /// Waits for its end; all output is captured then.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let what = format!("end of {}", self.name);
        let status = wait_until(deadline, &what, || self.ended())
            .with_context(|| format!("{} said:\n{}", self.name, self.said()))?;
        self.join_readers();
        Ok(status)
    }

    /// Everything it said on both streams, for messages.
    pub fn said(&self) -> String {
        let mut lines = self.lines(Stream::Stdout);
        lines.extend(self.lines(Stream::Stderr));
        lines.join("\n")
    }

    fn captured(&self, stream: Stream) -> &Captured {
        match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        }
    }

    fn join_readers(&mut self) {
        for reader in self.readers.drain(..) {
            // A reader does not panic; its lines are there either way.
            let _ = reader.join();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Reaped already: the group's number may be another's by now.
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // Nobody is left to hear of a failure.
        let _ = signal_group(self.pid(), Signal::Kill);
        let _ = self.child.wait();
    }
}

/// A process and all its descendants, as they are now; one that ends meanwhile is left out.
pub fn tree(pid: u32) -> Vec<u32> {
    let mut pids = vec![pid];
    let mut next = 0;
    while let Some(pid) = pids.get(next) {
        let children = children(*pid);
        pids.extend(children);
        next += 1;
    }
    pids
}

/// The name of the file that a process runs; `None` where it has ended.
pub fn executable_name(pid: u32) -> Option<String> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    Some(path.file_name()?.to_string_lossy().into_owned())
}

fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let lists = threads.into_iter().flatten().flatten().map(|thread| {
        // A thread that ended has none.
        fs::read_to_string(thread.path().join("children")).unwrap_or_default()
    });
    let lists: Vec<_> = lists.collect();
    let numbers = lists.iter().flat_map(|list| list.split_whitespace());
    numbers.filter_map(|number| number.parse().ok()).collect()
}

fn capture(stream: Option<impl Read + Send + 'static>) -> (Captured, JoinHandle<()>) {
    let lines = Captured::default();
    let into = lines.clone();
    let reader = thread::spawn(move || {
        let Some(stream) = stream else { return };
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(stream.read_until(b'\n', &mut line), Ok(1..)) {
            lock(&into).push(String::from_utf8_lossy(&line).trim_end().to_owned());
            line.clear();
        }
    });
    (lines, reader)
}

fn lock(lines: &Captured) -> std::sync::MutexGuard<'_, Vec<String>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set for the one that is killed.
    const VICTIM: &str = "SPANLET_TEST_VICTIM";
    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn a_child_ends_with_a_killed_parent() -> Result<()> {
        if std::env::var_os(VICTIM).is_some() {
            let mut child = Process::start("child", Command::new("sleep").arg("600"))?;
            println!("\nchild {}", child.pid());
            return child.wait(PATIENCE).map(drop);
        }
        let mut this = Command::new(std::env::current_exe()?);
        this.args(["process::tests::a_child_ends_with_a_killed_parent"])
            .args(["--exact", "--nocapture"])
            .env(VICTIM, "1");
        let mut parent = Process::start("parent", &mut this)?;
        let child: u32 = parent.wait_for_line(Stream::Stdout, PATIENCE, |line| {
            line.strip_prefix("child ")?.parse().ok()
        })?;
        signal_process(parent.pid(), Signal::Kill)?;
        // One that has ended and is not yet reaped has none either.
        let program = format!("/proc/{child}/exe");
        wait_until(PATIENCE, "end of the child", || {
            Ok(fs::read_link(&program).is_err().then_some(()))
        })
    }
}
