//! Running one command and saying clearly what went wrong. In: a `Command` and what it is for. Out: its output, or
//! an error with the command line, the exit status, the end of what it printed, and what the user can do.
//! This file touches the world.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use anyhow::{bail, Context, Result};

/// Lines of a failed command's output that are shown.
const SHOWN_LINES_MAX: usize = 40;

/// A command with a label, and a hint for when it fails.
pub struct Run {
    label: String,
    hint: Option<String>,
    command: Command,
}

impl Run {
    pub fn new(label: impl Into<String>, command: Command) -> Self {
        Self {
            label: label.into(),
            hint: None,
            command,
        }
    }

    /// What the user can do when it fails.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Runs with its output kept; shown only on failure. Returns what it wrote to standard output.
    pub fn captured(mut self) -> Result<String> {
        let output = self
            .command
            .stdin(Stdio::null())
            .output()
            .with_context(|| self.cannot_start())?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(printed);
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{}\n{}",
            self.failure(&output.status.to_string()),
            last_lines(&format!("{printed}{errors}"))
        )
    }

    /// Runs with its output on the terminal.
    pub fn shown(mut self) -> Result<()> {
        let status = self
            .command
            .stdin(Stdio::null())
            .status()
            .with_context(|| self.cannot_start())?;
        if status.success() {
            return Ok(());
        }
        bail!("{}", self.failure(&status.to_string()))
    }

    fn cannot_start(&self) -> String {
        self.explained(format!(
            "{}: cannot start `{}`",
            self.label,
            command_line(&self.command)
        ))
    }

    fn failure(&self, status: &str) -> String {
        self.explained(format!(
            "{}: `{}` ended with {status}",
            self.label,
            command_line(&self.command)
        ))
    }

    fn explained(&self, message: String) -> String {
        match &self.hint {
            Some(hint) => format!("{message}\n{hint}"),
            None => message,
        }
    }
}

/// The command as it would be typed, without its environment.
pub fn command_line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let skipped = lines.len().saturating_sub(SHOWN_LINES_MAX);
    lines
        .into_iter()
        .skip(skipped)
        .map(|line| format!("  | {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_failure_names_command_status_hint_and_output() {
        let run = Run::new("trial", shell("echo seen; exit 3")).hint("do this");
        let message = format!("{:#}", run.captured().unwrap_err());
        for part in ["trial:", "sh -c", "exit status: 3", "do this", "| seen"] {
            assert!(message.contains(part), "{part} is missing in {message}");
        }
    }

    #[test]
    fn success_returns_the_output_alone() {
        assert_eq!(
            Run::new("trial", shell("echo out; echo err >&2"))
                .captured()
                .unwrap(),
            "out\n"
        );
    }

    #[test]
    fn a_missing_program_is_named() {
        let run = Run::new("trial", Command::new("no-such-program-here"));
        assert!(format!("{:#}", run.shown().unwrap_err())
            .contains("cannot start `no-such-program-here`"));
    }
}
