//! Which probes there are, what each is for, and which belong together: the explicit list.
//!
//! Pure: (what the kernel has, what was asked) → what to attach, and for what is not attached, why.

use super::golang::{client, tls};
use super::{libuv, openssl, python, tokio};

/// How calls that move bytes are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackEnd {
    SocketTracepoints,
    SysExit,
}

impl BackEnd {
    /// Cheapest first.
    pub const ALL: [Self; 2] = [Self::SocketTracepoints, Self::SysExit];

    /// As `--io-backend` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::SocketTracepoints => "socket-tracepoints",
            Self::SysExit => "sys-exit",
        }
    }

    /// The probes without which it sees nothing.
    pub fn probes(self) -> &'static [Probe] {
        match self {
            Self::SocketTracepoints => &SOCKET_TRACEPOINTS,
            Self::SysExit => &SYS_EXIT,
        }
    }
}

/// One kernel program and where it is hooked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    pub name: &'static str,
    pub hook: Hook,
    /// What it lets the agent see.
    pub enables: &'static str,
    /// What is missing without it.
    pub without: &'static str,
    /// The first kernel that has what it needs.
    pub since: &'static str,
}

/// Where a program is hooked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// The raw tracepoint of the program's name.
    RawTracepoint,
    /// In that function of each executable that has it.
    Uprobe(&'static str),
    /// At the return of that function.
    Uretprobe(&'static str),
}

impl Probe {
    /// As libraries of the kernel spell it.
    pub fn at(&self) -> String {
        match self.hook {
            Hook::RawTracepoint => format!("raw_tp/{}", self.name),
            Hook::Uprobe(function) => format!("uprobe/{function}"),
            Hook::Uretprobe(function) => format!("uretprobe/{function}"),
        }
    }

    /// The function that it is in.
    pub fn function(&self) -> &'static str {
        match self.hook {
            Hook::RawTracepoint => self.name,
            Hook::Uprobe(function) | Hook::Uretprobe(function) => function,
        }
    }
}

const fn probe(
    name: &'static str,
    enables: &'static str,
    without: &'static str,
    since: &'static str,
) -> Probe {
    Probe {
        name,
        hook: Hook::RawTracepoint,
        enables,
        without,
        since,
    }
}

const SOCKET_TRACEPOINTS: [Probe; 2] = [
    probe(
        "sock_send_length",
        "writes to sockets",
        "every system call of the node pays a little (sys_exit is used)",
        "6.3",
    ),
    probe(
        "sock_recv_length",
        "reads from sockets",
        "every system call of the node pays a little (sys_exit is used)",
        "6.3",
    ),
];

const SYS_EXIT: [Probe; 1] = [probe(
    "sys_exit",
    "reads from and writes to sockets",
    "nothing is seen",
    "4.17",
)];

/// Births and deaths: nothing works without them.
pub const LIFE: [Probe; 5] = [
    probe(
        "inet_sock_set_state",
        "when connections begin and end",
        "nothing is traced",
        "4.16",
    ),
    probe(
        "tcp_destroy_sock",
        "when connections end",
        "nothing is traced",
        "4.15",
    ),
    probe(
        "sched_process_exec",
        "new programs, from their first instruction",
        "nothing is traced",
        "4.17",
    ),
    probe(
        "sched_process_fork",
        "children of traced processes",
        "nothing is traced",
        "4.17",
    ),
    probe(
        "sched_process_exit",
        "when processes end",
        "nothing is traced",
        "4.17",
    ),
];

/// How long a request lay unread.
pub const READ_WAIT: Probe = probe(
    "sk_data_ready",
    "spanlet.read_wait",
    "spans do not say how long a request waited before it was read",
    "6.3",
);

/// When a write began.
pub const WRITE_BEGIN: Probe = probe(
    "tcp_sendmsg_locked",
    "the true start of a long write",
    "a client span starts, and a time to first byte ends, when the first write ends, not when it begins",
    "6.16",
);

/// Who asked for a request.
pub const GO_CLIENT: Probe = Probe {
    name: "go_client_request",
    hook: Hook::Uprobe(client::FUNCTION),
    enables: "Go: parents of calls over reused connections",
    without: "Go: calls over reused connections have no parent while requests overlap",
    since: "5.15",
};

/// Which task started which. Attached once a call's own task did not tell for which request it was made.
pub const PYTHON_TASK: Probe = Probe {
    name: "python_task_born",
    hook: Hook::Uretprobe(python::COPY_CONTEXT),
    enables: "asyncio: parents of calls by tasks that a request started",
    without: "asyncio: calls by tasks that a request started (gather, task groups) have no parent while requests overlap",
    since: "5.15",
};

/// Which task asked for what uvloop writes.
pub const UVLOOP_WRITE: Probe = Probe {
    name: "uvloop_write",
    hook: Hook::Uprobe(python::INITIATE_WRITE),
    enables: "uvloop: parents by task",
    without: "uvloop: calls have no parent while requests overlap",
    since: "5.15",
};

/// Which turn of its event loop Node.js is in. Attached once it makes a call.
const UV_TURN: Probe = of_loop("uv_turn", Hook::Uprobe(libuv::TURN));
const UV_POLLED: Probe = of_loop("uv_polled", Hook::Uretprobe(libuv::POLL));
/// In which one a connection was made.
pub const UV_TCP_INIT: Probe = of_loop("uv_tcp_init", Hook::Uprobe(libuv::MAKE));
pub const UV_TCP_CONNECT: Probe = of_loop("uv_tcp_connect", Hook::Uprobe(libuv::CONNECT));

/// Those in libuv.
pub const LOOP: [Probe; 4] = [UV_TURN, UV_POLLED, UV_TCP_INIT, UV_TCP_CONNECT];

const fn of_loop(name: &'static str, hook: Hook) -> Probe {
    Probe {
        name,
        hook,
        enables: "Node.js: parents by turn of the event loop",
        without: "Node.js: calls have no parent while requests overlap",
        since: "5.15",
    }
}

/// Which task of tokio's woke another, as who asks for a call wakes the task that writes it. Attached once a process calls.
pub const TOKIO_WAKE_BY_VALUE: Probe =
    of_tokio("tokio_wake_by_val", Hook::Uprobe(tokio::WAKE_BY_VALUE));
pub const TOKIO_WAKE_BY_REFERENCE: Probe =
    of_tokio("tokio_wake_by_ref", Hook::Uprobe(tokio::WAKE_BY_REFERENCE));
/// Which started which, in runtimes with many threads and with one.
pub const TOKIO_SPAWN: Probe = of_tokio("tokio_spawn", Hook::Uprobe(tokio::SPAWN));
pub const TOKIO_SCHEDULE: Probe = of_tokio("tokio_schedule", Hook::Uprobe(tokio::SCHEDULE));

pub const TOKIO_WAKES: [Probe; 2] = [TOKIO_WAKE_BY_VALUE, TOKIO_WAKE_BY_REFERENCE];

/// Those in tokio, in the order in which they are attached: what is scheduled is new if it was not woken.
pub const TOKIO: [Probe; 4] = [
    TOKIO_WAKE_BY_VALUE,
    TOKIO_WAKE_BY_REFERENCE,
    TOKIO_SPAWN,
    TOKIO_SCHEDULE,
];

const fn of_tokio(name: &'static str, hook: Hook) -> Probe {
    Probe {
        name,
        hook,
        enables: "tokio: parents by task",
        without: "tokio: calls have no parent while requests overlap",
        since: "5.15",
    }
}

/// What OpenSSL has decrypted.
pub const TLS_READ: Probe = of_openssl("tls_read", Hook::Uprobe(openssl::READ));
const TLS_READ_DONE: Probe = of_openssl("tls_read_done", Hook::Uretprobe(openssl::READ));
/// What it is given to encrypt.
const TLS_WRITE: Probe = of_openssl("tls_write", Hook::Uprobe(openssl::WRITE));
const TLS_WRITE_DONE: Probe = of_openssl("tls_write_done", Hook::Uretprobe(openssl::WRITE));
/// Which connection a session is on.
const TLS_HANDSHAKE: Probe = of_openssl("tls_handshake", Hook::Uprobe(openssl::HANDSHAKE));
const TLS_HANDSHAKE_DONE: Probe =
    of_openssl("tls_handshake_done", Hook::Uretprobe(openssl::HANDSHAKE));
/// No longer.
const TLS_FREE: Probe = of_openssl("tls_free", Hook::Uprobe(openssl::FREE));

/// Those in OpenSSL.
pub const TLS: [Probe; 7] = [
    TLS_READ,
    TLS_READ_DONE,
    TLS_WRITE,
    TLS_WRITE_DONE,
    TLS_HANDSHAKE,
    TLS_HANDSHAKE_DONE,
    TLS_FREE,
];

const fn of_openssl(name: &'static str, hook: Hook) -> Probe {
    Probe {
        name,
        hook,
        enables: "HTTP over TLS by OpenSSL, a library or in the program itself (Node)",
        without: "what OpenSSL encrypts is not seen",
        since: "5.15",
    }
}

/// What Go is given to encrypt, and what it has decrypted.
pub const GO_TLS: [Probe; 2] = [
    of_go("go_tls_write", Hook::Uprobe(tls::WRITE)),
    of_go("go_tls_read", Hook::Uprobe(tls::READ)),
];

const fn of_go(name: &'static str, hook: Hook) -> Probe {
    Probe {
        name,
        hook,
        enables: "Go: HTTP over TLS",
        without: "Go: what crypto/tls encrypts is not seen",
        since: "5.15",
    }
}

/// Those in Go programs.
pub const GO: [Probe; 3] = [GO_CLIENT, GO_TLS[0], GO_TLS[1]];

/// Those in executables and libraries.
pub const UPROBES: [Probe; 20] = [
    GO_CLIENT,
    GO_TLS[0],
    GO_TLS[1],
    PYTHON_TASK,
    UVLOOP_WRITE,
    UV_TURN,
    UV_POLLED,
    UV_TCP_INIT,
    UV_TCP_CONNECT,
    TOKIO_WAKE_BY_VALUE,
    TOKIO_WAKE_BY_REFERENCE,
    TOKIO_SPAWN,
    TOKIO_SCHEDULE,
    TLS_READ,
    TLS_READ_DONE,
    TLS_WRITE,
    TLS_WRITE_DONE,
    TLS_HANDSHAKE,
    TLS_HANDSHAKE_DONE,
    TLS_FREE,
];

/// What the user asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// `None`: the cheapest that works.
    pub back_end: Option<BackEnd>,
    pub read_wait: bool,
}

/// A probe that will not be attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    pub probe: Probe,
    pub reason: String,
}

/// What to attach besides [`LIFE`].
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Plan {
    /// Back ends to try, in this order.
    pub back_ends: Vec<BackEnd>,
    /// Attached where the kernel lets them.
    pub extras: Vec<Probe>,
    pub left: Vec<Left>,
}

/// Plans what to attach on a kernel that has the tracepoints that `has` names.
pub fn plan(wish: Wish, has: impl Fn(&str) -> bool) -> Plan {
    let mut plan = Plan::default();
    for back_end in BackEnd::ALL {
        let lacking = back_end.probes().iter().find(|probe| !has(probe.name));
        match (wish.back_end, lacking) {
            (Some(other), _) if other != back_end => {}
            (_, Some(probe)) => plan.left.push(not_there(*probe)),
            _ => plan.back_ends.push(back_end),
        }
    }
    extra(&mut plan, READ_WAIT, wish.read_wait, &has);
    extra(&mut plan, WRITE_BEGIN, true, &has);
    plan
}

fn extra(plan: &mut Plan, probe: Probe, wanted: bool, has: impl Fn(&str) -> bool) {
    if !wanted {
        plan.left.push(Left {
            probe,
            reason: "turned off".to_owned(),
        });
    } else if has(probe.name) {
        plan.extras.push(probe);
    } else {
        plan.left.push(not_there(probe));
    }
}

fn not_there(probe: Probe) -> Left {
    Left {
        probe,
        reason: format!(
            "this kernel has no such tracepoint (Linux {} and later do)",
            probe.since
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Wish = Wish {
        back_end: None,
        read_wait: true,
    };

    #[test]
    fn a_new_kernel_gets_the_cheapest_back_end_first() {
        let plan = plan(ANY, |_| true);
        assert_eq!(plan.back_ends, BackEnd::ALL);
        assert_eq!(plan.extras, [READ_WAIT, WRITE_BEGIN]);
        assert_eq!(plan.left, []);
    }

    #[test]
    fn an_old_kernel_gets_sys_exit_and_is_told_what_it_misses() {
        let plan = plan(ANY, |name| name == "sys_exit");
        assert_eq!(plan.back_ends, [BackEnd::SysExit]);
        let left: Vec<_> = plan.left.iter().map(|left| left.probe.name).collect();
        assert_eq!(
            left,
            ["sock_send_length", "sk_data_ready", "tcp_sendmsg_locked"]
        );
        assert!(plan.left[0].reason.contains("6.3"));
    }

    #[test]
    fn a_forced_back_end_is_the_only_one_tried() {
        let wish = Wish {
            back_end: Some(BackEnd::SysExit),
            read_wait: false,
        };
        let plan = plan(wish, |_| true);
        assert_eq!(plan.back_ends, [BackEnd::SysExit]);
        assert_eq!(plan.left[0].reason, "turned off");
    }
}
