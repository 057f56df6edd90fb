//! What the agent tells the programs at load time: constants that the verifier folds away.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A field offset that the running kernel does not have: the feature that needs it is off.
pub const ABSENT: u32 = u32::MAX;

/// Byte offsets of kernel fields, from the running kernel's BTF. [`ABSENT`] where there is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Offsets {
    /// `task_struct.files`, `files_struct.fdt`, `fdtable.max_fds`, `fdtable.fd`
    pub task_files: u32,
    pub files_fdt: u32,
    pub fdtable_max_fds: u32,
    pub fdtable_fd: u32,
    /// `file.f_inode`, `file.private_data`, `inode.i_mode`, `inode.i_ino`
    pub file_inode: u32,
    pub file_private_data: u32,
    pub inode_mode: u32,
    pub inode_number: u32,
    /// `socket.sk`, `socket_alloc.vfs_inode` (from the start of the socket)
    pub socket_sk: u32,
    pub socket_inode: u32,
    /// `sock.sk_socket`, and in `sock_common`: family, ports, addresses, network namespace
    pub sock_socket: u32,
    pub sock_family: u32,
    pub sock_local_port: u32,
    pub sock_remote_port: u32,
    pub sock_local_address: u32,
    pub sock_remote_address: u32,
    pub sock_local_address_6: u32,
    pub sock_remote_address_6: u32,
    pub sock_net: u32,
    pub net_inode: u32,
    /// `sock.sk_type`, `sock.sk_protocol` and `sock.sk_shutdown` where they are whole fields
    pub sock_type: u32,
    pub sock_protocol: u32,
    pub sock_shutdown: u32,
    /// `sock.skc_state` and `sock.sk_err`
    pub sock_state: u32,
    pub sock_error: u32,
    /// `tcp_sock.copied_seq`, `tcp_sock.write_seq`, `tcp_sock.rcv_nxt`
    pub tcp_copied: u32,
    pub tcp_written: u32,
    pub tcp_received: u32,
    /// `unix_sock.peer`
    pub unix_peer: u32,
    /// `task_struct.thread.fsbase`
    pub task_fsbase: u32,
    /// `task_struct.se.sum_exec_runtime`, `.se.exec_start`, `.sched_info.run_delay`
    pub task_runtime: u32,
    pub task_exec_start: u32,
    pub task_run_delay: u32,
    /// `task_struct.exit_code`, `.signal`, `signal_struct.live`, `task_struct.tgid`, `.pid`
    pub task_exit_code: u32,
    pub task_signal: u32,
    pub signal_live: u32,
    pub task_tgid: u32,
    pub task_pid: u32,
    /// `linux_binprm.interp`
    pub program_path: u32,
    /// Not an offset: 1 where the kernel gives the running task as a pointer of known type, whose fields are loaded
    /// and not copied (`bpf_get_current_task_btf`, Linux 5.11 and later).
    pub task_is_typed: u32,
}

/// Constants other than offsets. 0 is off.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Settings {
    /// New programs (`exec`) are traced until the agent decides.
    pub provisional_exec: u32,
    /// The agent's own thread group: never traced.
    pub agent_process: u32,
    /// `PORTS` names ports whose listeners are traced.
    pub select_ports: u32,
    /// Read CPU time and run-queue wait at every call.
    pub thread_clocks: u32,
    /// Records lost on purpose, in 1/1000: what tests use to see what loss does.
    pub forced_loss_per_mille: u32,
    /// Copied bytes of a turn; at most [`crate::limit::TURN_BYTES_MAX`].
    pub turn_bytes: u32,
    /// Copied bytes of an answer's turn; at most [`crate::limit::TURN_BYTES_MAX`].
    pub answer_bytes: u32,
}
