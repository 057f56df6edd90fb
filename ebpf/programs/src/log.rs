//! Debug lines from a probe, through aya-log. Compiled only with the feature `probe-log` (`cargo xtask build
//! --probe-log`); without it the calls are not there at all.

/// `probe_log!(&context, "format", arguments…)`, as aya-log-ebpf has it.
macro_rules! probe_log {
    ($($argument:expr),+ $(,)?) => {
        #[cfg(feature = "probe-log")]
        aya_log_ebpf::debug!($($argument),+)
    };
}
pub(crate) use probe_log;
