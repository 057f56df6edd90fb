//! Which kernel fields the programs read: one line a field. In: BTF. Out: the [`Offsets`] constants.

use spanlet_abi::settings::{Offsets, ABSENT};

use super::btf::Btf;

/// `BPF_FUNC_get_current_task_btf` (include/uapi/linux/bpf.h).
const GET_CURRENT_TASK_BTF: usize = 158;

/// The offsets of the running kernel; what it does not have is [`ABSENT`].
pub fn offsets(btf: &Btf) -> Offsets {
    let at = |structure: &str, path: &[&str]| btf.offset(structure, path).unwrap_or(ABSENT);
    let common = |field: &str| at("sock", &["__sk_common", field]);
    Offsets {
        task_files: at("task_struct", &["files"]),
        files_fdt: at("files_struct", &["fdt"]),
        fdtable_max_fds: at("fdtable", &["max_fds"]),
        fdtable_fd: at("fdtable", &["fd"]),
        file_inode: at("file", &["f_inode"]),
        file_private_data: at("file", &["private_data"]),
        inode_mode: at("inode", &["i_mode"]),
        inode_number: at("inode", &["i_ino"]),
        socket_sk: at("socket", &["sk"]),
        socket_inode: at("socket_alloc", &["vfs_inode"]),
        sock_socket: at("sock", &["sk_socket"]),
        sock_family: common("skc_family"),
        sock_local_port: common("skc_num"),
        sock_remote_port: common("skc_dport"),
        sock_local_address: common("skc_rcv_saddr"),
        sock_remote_address: common("skc_daddr"),
        sock_local_address_6: common("skc_v6_rcv_saddr"),
        sock_remote_address_6: common("skc_v6_daddr"),
        sock_net: at("sock", &["__sk_common", "skc_net", "net"]),
        net_inode: at("net", &["ns", "inum"]),
        sock_type: at("sock", &["sk_type"]),
        sock_protocol: at("sock", &["sk_protocol"]),
        sock_shutdown: at("sock", &["sk_shutdown"]),
        sock_state: common("skc_state"),
        sock_error: at("sock", &["sk_err"]),
        tcp_copied: at("tcp_sock", &["copied_seq"]),
        tcp_written: at("tcp_sock", &["write_seq"]),
        tcp_received: at("tcp_sock", &["rcv_nxt"]),
        unix_peer: at("unix_sock", &["peer"]),
        task_fsbase: at("task_struct", &["thread", "fsbase"]),
        task_runtime: at("task_struct", &["se", "sum_exec_runtime"]),
        task_exec_start: at("task_struct", &["se", "exec_start"]),
        task_run_delay: at("task_struct", &["sched_info", "run_delay"]),
        task_exit_code: at("task_struct", &["exit_code"]),
        task_signal: at("task_struct", &["signal"]),
        signal_live: at("signal_struct", &["live", "counter"]),
        task_tgid: at("task_struct", &["tgid"]),
        task_pid: at("task_struct", &["pid"]),
        program_path: at("linux_binprm", &["interp"]),
        task_is_typed: u32::from(btf.values("bpf_func_id") > GET_CURRENT_TASK_BTF),
    }
}

/// Fields without which nothing can be traced, by name; empty when all are there.
pub fn missing(offsets: &Offsets) -> Vec<&'static str> {
    [
        (offsets.sock_family, "sock.skc_family"),
        (offsets.sock_type, "sock.sk_type"),
        (offsets.sock_protocol, "sock.sk_protocol"),
        (offsets.sock_socket, "sock.sk_socket"),
        (offsets.inode_number, "inode.i_ino"),
        (offsets.task_tgid, "task_struct.tgid"),
    ]
    .into_iter()
    .filter(|(offset, _)| *offset == ABSENT)
    .map(|(_, name)| name)
    .collect()
}

/// Fields that the fall-back back end needs to find the socket behind a descriptor; empty when all are there.
pub fn missing_for_descriptors(offsets: &Offsets) -> Vec<&'static str> {
    [
        (offsets.task_files, "task_struct.files"),
        (offsets.files_fdt, "files_struct.fdt"),
        (offsets.fdtable_max_fds, "fdtable.max_fds"),
        (offsets.fdtable_fd, "fdtable.fd"),
        (offsets.file_inode, "file.f_inode"),
        (offsets.file_private_data, "file.private_data"),
        (offsets.inode_mode, "inode.i_mode"),
        (offsets.socket_sk, "socket.sk"),
    ]
    .into_iter()
    .filter(|(offset, _)| *offset == ABSENT)
    .map(|(_, name)| name)
    .collect()
}
