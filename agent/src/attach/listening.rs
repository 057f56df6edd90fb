//! Touches procfs: where processes listen. In: a process. Out: its places.
//!
//! The tables of a network namespace are read once, however many processes are asked about: the kernel walks every
//! socket of the node to write them. They show who listened then, so each value serves for one look over processes.

use std::collections::hash_map::Entry;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;

use crate::capture::event::HostPid;

/// Where a socket listens: the inode of its network namespace, and the port.
pub type Place = (u32, u16);

/// The listening sockets of the network namespaces that were asked about, as they were when each was first.
#[derive(Debug, Default)]
pub struct Listening {
    /// By network namespace; in it, by inode of the socket.
    namespaces: HashMap<u32, HashMap<u64, u16>>,
}

impl Listening {
    /// Where a process listens. What cannot be read is left out.
    pub fn of(&mut self, pid: HostPid) -> Vec<Place> {
        let sockets = sockets(pid);
        if sockets.is_empty() {
            return Vec::new();
        }
        let Some(namespace) = network_namespace(pid) else {
            return Vec::new();
        };
        let Some(ports) = self.ports(namespace, pid) else {
            return Vec::new();
        };
        let ports = sockets.iter().filter_map(|inode| ports.get(inode));
        ports.map(|port| (namespace, *port)).collect()
    }

    /// `None`: the process is gone, and with it the way to its namespace.
    fn ports(&mut self, namespace: u32, pid: HostPid) -> Option<&HashMap<u64, u16>> {
        match self.namespaces.entry(namespace) {
            Entry::Occupied(known) => Some(known.into_mut()),
            Entry::Vacant(unknown) => {
                let four = File::open(format!("/proc/{}/net/tcp", pid.0)).ok()?;
                // Not there where the kernel was started without IPv6.
                let six = File::open(format!("/proc/{}/net/tcp6", pid.0)).ok();
                let tables = [Some(four), six].into_iter().flatten();
                let sockets = tables.flat_map(|table| listening(BufReader::new(table)));
                Some(unknown.insert(sockets.collect()))
            }
        }
    }
}

/// The places of ports that a process is known to listen on.
pub fn places_of(pid: HostPid, ports: &[u16]) -> Vec<Place> {
    if ports.is_empty() {
        return Vec::new();
    }
    let namespace = network_namespace(pid).into_iter();
    let places = namespace.flat_map(|namespace| ports.iter().map(move |port| (namespace, *port)));
    places.collect()
}

/// The ports of places, in order, each once.
pub fn ports_of(places: &[Place]) -> Vec<u16> {
    let mut ports: Vec<u16> = places.iter().map(|(_, port)| *port).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// The inodes of a process's sockets.
fn sockets(pid: HostPid) -> Vec<u64> {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", pid.0));
    let socket = |entry: fs::DirEntry| {
        let target = fs::read_link(entry.path()).ok()?;
        let inode = target.to_str()?.strip_prefix("socket:[")?;
        inode.strip_suffix(']')?.parse().ok()
    };
    let entries = descriptors.into_iter().flatten().flatten();
    entries.filter_map(socket).collect()
}

fn network_namespace(pid: HostPid) -> Option<u32> {
    let namespace = fs::metadata(format!("/proc/{}/ns/net", pid.0)).ok()?;
    Some(namespace.ino() as u32)
}

/// Inode and port of the listening sockets in a table of the format of `/proc/net/tcp`. The kernel lists them before
/// all connections (`tcp_get_idx` in net/ipv4/tcp_ipv4.c), of which there may be very many: those are not read.
fn listening(table: impl BufRead) -> Vec<(u64, u16)> {
    const LISTEN: &str = "0A";
    let socket = |line: String| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, local, _, state, _, _, _, _, _, inode, ..] = fields.as_slice() else {
            return None;
        };
        let (_, port) = local.rsplit_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        (*state == LISTEN).then_some((inode.parse().ok()?, port))
    };
    let lines = table.lines().skip(1).map_while(Result::ok);
    lines.map_while(socket).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn own() -> HostPid {
        HostPid(std::process::id())
    }

    fn port(listener: &TcpListener) -> u16 {
        listener.local_addr().unwrap().port()
    }

    #[test]
    fn connections_after_the_listening_sockets_are_not_read() {
        struct Table(std::io::Cursor<&'static str>);
        impl std::io::Read for Table {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                match self.0.read(buffer)? {
                    0 => panic!("read on after the listening sockets"),
                    bytes => Ok(bytes),
                }
            }
        }
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:46A0 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 78127 1 0 100 0 0 10 0
   1: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   2: 0100007F:46A0 0100007F:9C40 06 00000000:00000000 03:00000F5A 00000000     0        0 0 3 0
";
        let sockets = listening(BufReader::new(Table(std::io::Cursor::new(table))));
        assert_eq!(sockets, [(78127, 18080), (4711, 22)]);
    }

    #[test]
    fn the_ports_of_this_process_are_found() {
        let listeners =
            ["127.0.0.1:0", "[::1]:0"].map(|address| TcpListener::bind(address).unwrap());
        let ports = ports_of(&Listening::default().of(own()));
        for port in listeners.each_ref().map(port) {
            assert!(ports.contains(&port), "{port} is not in {ports:?}");
        }
    }

    #[test]
    fn the_tables_of_a_namespace_are_read_once() {
        let before = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut listening = Listening::default();
        assert!(ports_of(&listening.of(own())).contains(&port(&before)));
        let after = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(!ports_of(&listening.of(own())).contains(&port(&after)));
        assert!(ports_of(&Listening::default().of(own())).contains(&port(&after)));
    }
}
