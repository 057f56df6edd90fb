//! Every map, in one place: what it holds, who writes it, how large it gets.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{HashMap, LruHashMap, PerCpuArray, RingBuf};
use spanlet_abi::{golang, limit, loss, record, state, tls};

/// Records for the agent.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(limit::RING_BYTES, 0);

/// Traced processes by thread group id. Written by the agent and by births.
#[map]
pub static PROCESSES: HashMap<u32, state::Process> =
    HashMap::with_max_entries(limit::PROCESSES_MAX, 0);

/// Open TCP connections of traced processes by socket address. An entry leaves when its process closes, at the latest
/// when its socket is destroyed.
#[map]
pub static CONNECTIONS: HashMap<u64, state::Connection> =
    HashMap::with_max_entries(limit::CONNECTIONS_MAX, 0);

/// Unix sockets have no tracepoint for their end: the least recently used entry makes room.
#[map]
pub static UNIX_CONNECTIONS: LruHashMap<u64, state::Connection> =
    LruHashMap::with_max_entries(limit::UNIX_CONNECTIONS_MAX, 0);

/// Tasks of CPython and tokio processes that other tasks started. Written by [`crate::lineage`].
#[map]
pub static TASKS: LruHashMap<state::TaskName, state::TaskBirth> =
    LruHashMap::with_max_entries(limit::TASKS_MAX, 0);

/// Who woke tasks of tokio's. Written by [`crate::tokio`].
#[map]
pub static WAKERS: LruHashMap<state::TaskName, state::Waker> =
    LruHashMap::with_max_entries(limit::WAKERS_MAX, 0);

/// The event loops of traced processes. Written by [`crate::turn`]; an entry leaves with the process, or its program.
#[map]
pub static LOOPS: LruHashMap<u32, state::Loop> =
    LruHashMap::with_max_entries(limit::PROCESSES_MAX, 0);

/// In which turn of its loop a TCP handle was made. Written by [`crate::turn`].
#[map]
pub static HANDLES: LruHashMap<state::Handle, u64> =
    LruHashMap::with_max_entries(limit::HANDLES_MAX, 0);

/// How many sockets of traced processes listen in a place: see [`crate::life::place`]. Written by the agent too, for
/// listeners that were there before it.
#[map]
pub static LISTENERS: HashMap<u64, u32> = HashMap::with_max_entries(limit::LISTENERS_MAX, 0);

/// The places of listening sockets, by socket address: at its end a socket no longer knows its port.
#[map]
pub static PLACES: HashMap<u64, u64> = HashMap::with_max_entries(limit::LISTENERS_MAX, 0);

/// Ports that `--port` named. Written by the agent.
#[map]
pub static PORTS: HashMap<u16, u32> = HashMap::with_max_entries(limit::PORTS_MAX, 0);

/// How much was lost, by reason.
#[map]
pub static LOSSES: PerCpuArray<u64> = PerCpuArray::with_max_entries(loss::COUNT, 0);

/// How many requests to traced processes were lost with what was lost, by the same reasons: those whose first bytes
/// the agent does not get.
#[map]
pub static LOST_REQUESTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(loss::COUNT, 0);

/// What became of Go's client requests, by `golang::asker`.
#[map]
pub static ASKERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(golang::asker::COUNT, 0);

/// Go processes whose births are asked for. Written by the agent; which `runtime.p`s there are, by [`crate::births`].
#[map]
pub static BIRTHS: HashMap<u32, golang::Births> = HashMap::with_max_entries(limit::BIRTHS_MAX, 0);

/// Patterns of routes that were told. Written by [`crate::route`].
#[map]
pub static ROUTES: LruHashMap<golang::RouteName, u32> =
    LruHashMap::with_max_entries(limit::ROUTES_MAX, 0);

/// What became of what TLS sessions moved, by `tls::outcome`.
#[map]
pub static TLS: PerCpuArray<u64> = PerCpuArray::with_max_entries(tls::outcome::COUNT, 0);

/// The call of OpenSSL that a thread is in. An entry stays for the thread's next call.
#[map]
pub static TLS_CALLS: LruHashMap<u32, tls::Call> =
    LruHashMap::with_max_entries(limit::TLS_CALLS_MAX, 0);

/// The connections of TLS sessions. Gone with the session, or when its address serves another.
#[map]
pub static TLS_SESSIONS: LruHashMap<tls::Session, tls::Bound> =
    LruHashMap::with_max_entries(limit::TLS_SESSIONS_MAX, 0);

/// TLS records that were received on connections whose session is not known.
#[map]
pub static TLS_RECEIVED: LruHashMap<tls::Beginning, tls::Carrier> =
    LruHashMap::with_max_entries(limit::TLS_RECEIVED_MAX, 0);

/// See [`Scratch`]. Only tracepoints' programs that run in a process use it, so it is
/// never in use twice on one CPU.
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// What the programs keep for each CPU, above all the record that is being put together. Of its bytes there is three
/// times the room that is used, because the verifier bounds an offset and a length one by one and to a power of two.
#[repr(C)]
pub struct Scratch {
    pub clock: ClockOffset,
    pub goroutine: Goroutine,
    pub io: record::Io,
    pub bytes: [u8; 3 * limit::TURN_BYTES_MAX as usize],
}

/// Part of a `runtime.g`, see [`crate::goroutine`].
#[repr(C)]
pub struct Goroutine {
    pub words: [u64; limit::GOROUTINE_WORDS],
}

/// See [`crate::thread`]. The scheduler's clock minus the monotonic one: the largest seen in this window and in the one before.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ClockOffset {
    pub window_began_ns: u64,
    pub largest: i64,
    pub largest_before: i64,
}
