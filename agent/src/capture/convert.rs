//! Checked conversion: one record's bytes in, one [`Event`] out, or the reason why not.

use std::mem::offset_of;

use spanlet_abi::golang::NUMBERS_AT_ONCE;
use spanlet_abi::record::{self, flag, kind, Header, Numbers};
use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::event::{
    Closed, ConnectionId, Direction, Endpoint, Event, Goroutine, HostPid, HostTid, Initiator, Io,
    Opened, Origin, RouteName, Task, TaskBirth, ThreadClock, TlsVersion, Turn, Unborn,
};
use crate::clock::Monotonic;

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Why a record was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// Fewer bytes than its kind, or it itself, says.
    Short,
    /// A kind this agent does not know.
    UnknownKind(u16),
}

/// The event that a record tells of. `record` is one item of the ring buffer.
pub fn convert(record: &[u8]) -> Result<Event<'_>, Skipped> {
    let (header, _) = read::<Header>(record)?;
    let origin = Origin {
        time: Monotonic(header.time_ns),
        process: HostPid(header.process),
        thread: HostTid(header.thread),
    };
    Ok(match header.kind {
        kind::IO => Event::Io(io(origin, record)?),
        kind::OPENED => Event::Opened(opened(origin, record)?),
        kind::CLOSED => Event::Closed(closed(record)?),
        kind::EXEC => Event::Exec {
            origin,
            path: path(record)?,
        },
        kind::FORK => Event::Fork {
            origin,
            child: HostPid(read::<record::Process>(record)?.0.value),
        },
        kind::EXIT => Event::Exit {
            origin,
            status: read::<record::Process>(record)?.0.value,
        },
        kind::THREAD_BORN => Event::ThreadBorn {
            origin,
            child: HostTid(read::<record::Process>(record)?.0.value),
        },
        kind::TASK_BORN => {
            let (told, _) = read::<record::TaskBorn>(record)?;
            let birth = TaskBirth {
                task: told.task,
                born: Monotonic(told.born_ns),
                ancestors: told
                    .ancestors
                    .map(|above| (above.task, time(above.born_ns))),
            };
            Event::TaskBorn { origin, birth }
        }
        kind::UNBORN => Event::Unborn {
            origin,
            unborn: unborn(record)?,
        },
        kind::ROUTE => {
            let (name, pattern) = route(record)?;
            Event::Route {
                origin,
                name,
                pattern,
            }
        }
        kind::THREAD_ENDED => Event::ThreadEnded { origin },
        kind::LISTEN => {
            let (listen, _) = read::<record::Listen>(record)?;
            Event::Listen {
                origin,
                port: listen.port,
                network_namespace: listen.network_namespace,
            }
        }
        kind::IO_URING => Event::IoUring { origin },
        other => return Err(Skipped::UnknownKind(other)),
    })
}

/// Recordings of before have none.
fn path(record: &[u8]) -> Result<&[u8], Skipped> {
    let (_, path) = read::<record::Process>(record)?;
    Ok(path.split(|byte| *byte == 0).next().unwrap_or_default())
}

fn read<T: FromBytes + KnownLayout + Immutable>(record: &[u8]) -> Result<(T, &[u8]), Skipped> {
    T::read_from_prefix(record).map_err(|_| Skipped::Short)
}

fn tls_version(flags: u16) -> TlsVersion {
    match flags & (flag::TLS_1_2 | flag::TLS_1_3) {
        flag::TLS_1_2 => TlsVersion::V1_2,
        flag::TLS_1_3 => TlsVersion::V1_3,
        _ => TlsVersion::Unknown,
    }
}

fn io(origin: Origin, record: &[u8]) -> Result<Io<'_>, Skipped> {
    let (io, rest) = read::<record::Io>(record)?;
    let has = |bit: u16| io.header.flags & bit != 0;
    Ok(Io {
        origin,
        connection: ConnectionId {
            socket: io.socket,
            generation: io.generation,
        },
        direction: if has(flag::EGRESS) {
            Direction::Egress
        } else {
            Direction::Ingress
        },
        position: io.position,
        size: io.size,
        data: rest.get(..io.captured.into()).ok_or(Skipped::Short)?,
        tail: has(flag::TAIL).then_some(io.tail),
        turn_start: has(flag::TURN_START),
        end_of_stream: has(flag::END_OF_STREAM),
        already_open: has(flag::ALREADY_OPEN),
        tls: has(flag::TLS).then(|| tls_version(io.header.flags)),
        goroutine: goroutine(io.goroutine, io.parent_goroutine)
            .filter(|_| !has(flag::TASK | flag::ROUTED | flag::TURN)),
        task: has(flag::TASK).then_some(Task {
            id: io.goroutine,
            born: time(io.parent_goroutine),
        }),
        turn: has(flag::TURN).then_some(Turn {
            running: time(io.goroutine),
            dialed: time(io.parent_goroutine),
        }),
        asked: has(flag::ASKED),
        route: has(flag::ROUTED).then_some(RouteName {
            address: io.goroutine,
            length: io.parent_goroutine,
        }),
        thread_clock: (io.cpu_ns != 0).then_some(ThreadClock {
            cpu_ns: io.cpu_ns,
            run_queue_wait_ns: io.run_queue_wait_ns,
        }),
        ready: time(io.ready_ns),
        process_losses: io.process_losses,
        system_call: io.system_call,
    })
}

fn route(record: &[u8]) -> Result<(RouteName, &[u8]), Skipped> {
    let (route, _) = read::<record::Route>(record)?;
    let text = record.get(offset_of!(record::Route, pattern)..);
    let length = usize::try_from(route.length).ok();
    let pattern = text
        .zip(length)
        .and_then(|(text, length)| text.get(..length));
    let name = RouteName {
        address: route.address,
        length: route.length,
    };
    Ok((name, pattern.ok_or(Skipped::Short)?))
}

fn unborn(record: &[u8]) -> Result<Unborn, Skipped> {
    let (words, mut rest) = read::<record::Unborn>(record)?;
    let given = Some(words.given).filter(|given| *given != 0);
    let mut left = Vec::new();
    for _ in 0..words.count {
        let (Numbers { next, end }, others) = read(rest)?;
        rest = others;
        // Anything else was read while it changed, or is something else.
        let is_left = next < end && end - next <= NUMBERS_AT_ONCE;
        if is_left && given.is_none_or(|given| end - 1 <= given) {
            left.push(next..end);
        }
    }
    Ok(Unborn {
        connection: ConnectionId {
            socket: words.socket,
            generation: words.generation,
        },
        goroutine: words.goroutine,
        position: words.position,
        given,
        left,
    })
}

fn opened(origin: Origin, record: &[u8]) -> Result<Opened, Skipped> {
    let (opened, _) = read::<record::Opened>(record)?;
    Ok(Opened {
        origin,
        connection: ConnectionId {
            socket: opened.socket,
            generation: opened.generation,
        },
        local: endpoint(opened.family, opened.local_address, opened.local_port),
        remote: endpoint(opened.family, opened.remote_address, opened.remote_port),
        initiator: match opened.header.flags {
            flag::CONNECTED => Initiator::Here,
            flag::ACCEPTED => Initiator::There,
            _ => Initiator::Unknown,
        },
        established: time(opened.established_ns),
        accepted: time(opened.accepted_ns),
        peer_socket: (opened.peer_socket != 0).then_some(opened.peer_socket),
        goroutine: goroutine(opened.goroutine, opened.parent_goroutine),
        network_namespace: opened.network_namespace,
    })
}

fn closed(record: &[u8]) -> Result<Closed, Skipped> {
    let (closed, _) = read::<record::Closed>(record)?;
    Ok(Closed {
        time: Monotonic(closed.header.time_ns),
        connection: ConnectionId {
            socket: closed.socket,
            generation: closed.generation,
        },
        reset: closed.header.flags & flag::RESET != 0,
        process_losses: Some(closed.process_losses).filter(|losses| *losses != record::NOT_KNOWN),
    })
}

fn endpoint(family: u16, address: [u8; 16], port: u16) -> Endpoint {
    match family {
        AF_INET => {
            let [a, b, c, d, ..] = address;
            Endpoint::tcp_v4([a, b, c, d], port)
        }
        AF_INET6 => Endpoint::tcp_v6(address, port),
        AF_UNIX => Endpoint::Unix,
        _ => Endpoint::Unknown,
    }
}

fn goroutine(id: u64, parent: u64) -> Option<Goroutine> {
    (id != 0).then_some(Goroutine { id, parent })
}

fn time(nanoseconds: u64) -> Option<Monotonic> {
    (nanoseconds != 0).then_some(Monotonic(nanoseconds))
}
