//! t
use anyhow::Result;
use spanlet_e2e::bench_options::Settings;
pub fn measure(_: &Settings) -> Result<()> {
    Ok(())
}
