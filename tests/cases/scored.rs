//! What the cases that score parents share. In: a run. Out: whether it is as it has to be.

use anyhow::{ensure, Result};
use spanlet_e2e::accuracy::Run;

/// No span has another's parent.
pub fn none_wrong(run: &Run) -> Result<()> {
    let mut all = run.total(|_| true);
    all += run.strays.clone();
    let wrong = all.wrong;
    ensure!(wrong.is_empty(), "{:?}: wrong: {wrong:?}", run.setting);
    Ok(())
}

/// Of each row, so many of the parents within processes were found at least.
pub fn found(run: &Run, least: f64) -> Result<()> {
    for (row, score) in &run.scores {
        let recall = score.process.recall();
        ensure!(
            recall >= least,
            "{:?}: {row:?}: within processes {recall:.4} of the parents were found",
            run.setting
        );
    }
    Ok(())
}
