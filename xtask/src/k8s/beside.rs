//! Building what the cluster needs beside other work, by whatever cores that leaves idle: a release build links on one of them for
//! minutes. In: a machine that is set up for the end-to-end tests. Out: a process that ends by itself.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// `cargo xtask k8s build`, which gives way to everything else.
pub struct Beside(Child);

impl Beside {
    pub fn start() -> Result<Self> {
        let mut command = Command::new("nice");
        command.args(["-n", "19"]).arg(std::env::current_exe()?);
        command.args(["k8s", "build"]).stdin(Stdio::null());
        let child = command.spawn();
        Ok(Self(child.context("cannot start `nice xtask k8s build`")?))
    }

    /// Until it is over. Its faults are its own words; whoever needs what it builds asks for it again.
    pub fn wait(mut self) -> Result<()> {
        self.0.wait().context("cannot wait for `xtask k8s build`")?;
        Ok(())
    }
}

impl Drop for Beside {
    /// Nobody waits for it any more. One that is over is left alone.
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}
