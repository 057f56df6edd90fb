//! What is held is bounded by what the limits say, counted by the allocator itself and not by what the rooms believe.
//! In: more connections, heads and exchanges than fit; a large executable. Out: the most bytes that were allocated at once.

#[allow(dead_code)]
#[path = "decode/kernel.rs"]
mod kernel;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use flate2::write::ZlibEncoder;
use flate2::Compression;
use spanlet::attach::golang::dwarf::{self, Stored};
use spanlet::attach::golang::programs;
use spanlet::attach::golang::Sources;
use spanlet::attach::openssl;
use spanlet::attach::plan::{TLS, TOKIO};
use spanlet::attach::runtime::inspect;
use spanlet::attach::tokio;
use spanlet::attach::window::Extent;
use spanlet::capture::convert::convert;
use spanlet::capture::event::{ConnectionId, HostPid, HostTid};
use spanlet::clock::{Monotonic, WallOffset};
use spanlet::decode::exchange::Side;
use spanlet::decode::limits::{CONNECTIONS_MAX, MEMORY_BYTES_MAX};
use spanlet::decode::{Config, Decoder, Step};
use spanlet::enrich::{self, Enricher};
use spanlet::pods::model::{Addresses, Namespace, Peer};
use spanlet::pods::{Changes, Index, Kind, Update};

use kernel::{Talk, ID};

/// More than any table holds.
const CONNECTIONS: u64 = 100_000;
/// What a connection costs in its table, whatever it carries.
const CONNECTION_BYTES: usize = 640;
/// What is held may be in buffers that have grown to twice of it.
const GROWTH: usize = 2;

struct Counting;

// Of each thread its own: the test harness allocates beside the tests.
thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(more: isize) {
    // A thread that ends has none any more.
    let _ = NOW.try_with(|now| {
        now.set(now.get() + more);
        let _ = MOST.try_with(|most| most.set(most.get().max(now.get())));
    });
}

/// Bytes that this thread has allocated by now.
fn now() -> isize {
    NOW.get()
}

// SAFETY: every call goes to the system's allocator as it is; beside it only numbers change.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes allocated at once by some work, beyond what was there before.
fn most(work: impl FnOnce()) -> usize {
    let before = now();
    MOST.set(before);
    work();
    (MOST.get() - before) as usize
}

/// What is read of an executable at once, whatever it has: this one has more than 1 MiB of symbols.
const LOOK_BYTES: usize = 512 << 10;

#[test]
fn a_look_into_an_executable_takes_little_however_large_it_is() {
    let path = Path::new("/proc/self/exe");
    let file = File::open(path).unwrap();
    let sources = Sources::default();
    let what_it_is = most(|| drop(inspect(path, "memory", &[], &sources)));
    let places = most(|| {
        programs::look(&file, &sources);
        openssl::sites(&file, true, &TLS);
        tokio::sites(&file, &TOKIO);
        tokio::of(path);
    });
    assert!(
        what_it_is < LOOK_BYTES && places < LOOK_BYTES,
        "{what_it_is}, {places}"
    );
}

/// What is held of debug information, whatever there is: two sections' windows, and what unpacking them takes.
const DEBUG_BYTES: usize = 512 << 10;

#[test]
fn debug_information_takes_little_however_large_it_is() {
    // A unit of Go, and in it numbers with names; then, the names' lengths, how many bytes are there, and nothing more.
    let abbreviations = [
        1, 0x11, 1, 0x13, 0x0b, 0, 0, 2, 0x24, 0, 0x03, 0x08, 0, 0, 0,
    ];
    let mut unit = vec![4, 0, 0, 0, 0, 0, 8, 1, 0x16];
    for number in 0..1_500_000 {
        unit.extend(format!("\x02type.number{number}\0").bytes());
    }
    unit.push(0);
    let entries = [&(unit.len() as u32).to_le_bytes(), &unit[..]].concat();
    let file = [packed(&entries), packed(&abbreviations)];
    let (offset, bytes) = (file[0].len() as u64, file[1].len() as u64);
    let stored = |offset, bytes| Stored {
        extent: Extent { offset, bytes },
        is_packed: true,
    };
    let (its, others) = (stored(0, offset), stored(offset, bytes));
    let file = file.concat();
    let mut found = Ok(Vec::new());
    let most = most(|| found = dwarf::fields_in(&file[..], its, others));
    assert!(found.unwrap().iter().all(|(_, offset)| offset.is_none()));
    println!("{most} bytes of {}", entries.len());
    assert!(most < DEBUG_BYTES, "{most} bytes of {}", entries.len());
    // This program's own is of another language.
    let own = File::open("/proc/self/exe").unwrap();
    let most = self::most(|| drop(dwarf::fields(&own)));
    assert!(most < DEBUG_BYTES, "{most} bytes of this program's");
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packing = ZlibEncoder::new(Vec::new(), Compression::fast());
    packing.write_all(bytes).unwrap();
    packing.finish().unwrap()
}

/// A decoder that is told of so many connections, each of which says the same.
fn crowd(connections: u64, side: Side, say: impl Fn(&mut Talk)) -> usize {
    most(|| {
        let mut decoder = Decoder::new(Config::default());
        let mut steps = Vec::new();
        for socket in 0..connections {
            let mut talk = Talk::new(side);
            talk.id = ConnectionId { socket, ..ID };
            talk.records.clear();
            say(&mut talk);
            for record in &talk.records {
                record.apply(&mut decoder, &mut steps);
            }
            steps.clear();
        }
        assert!(decoder.counts().evicted > 0, "everything fitted");
    })
}

fn assert_bounded(most: usize, what: &str) {
    let bound = GROWTH * MEMORY_BYTES_MAX + CONNECTIONS_MAX * CONNECTION_BYTES;
    assert!(most <= bound, "{what}: {most} bytes, not {bound}");
}

#[test]
fn open_requests_of_a_hundred_thousand_connections() {
    for side in [Side::Server, Side::Client] {
        let most = crowd(CONNECTIONS, side, |talk| {
            talk.request("GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
        });
        assert_bounded(most, "open requests");
    }
}

#[test]
fn heads_without_an_end() {
    let head = format!("GET /a HTTP/1.1\r\nX: {}", "x".repeat(8000));
    let most = crowd(CONNECTIONS, Side::Server, |talk| {
        talk.request(&head);
    });
    assert_bounded(most, "half heads");
}

#[test]
fn answers_ahead_of_their_requests() {
    let answer = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1500));
    let most = crowd(CONNECTIONS, Side::Client, |talk| {
        talk.answer(&answer);
    });
    assert_bounded(most, "held answers");
}

#[test]
fn connections_that_are_not_http() {
    let most = crowd(CONNECTIONS, Side::Server, |talk| {
        talk.request([0x16, 3, 1, 0, 0]);
    });
    assert!(most <= 2 * CONNECTIONS_MAX * CONNECTION_BYTES, "{most}");
}

#[test]
fn pipelines_as_long_as_they_may_be() {
    let requests = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(30)).repeat(150);
    let most = crowd(2000, Side::Server, |talk| {
        talk.request(&requests);
    });
    assert_bounded(most, "pipelines");
}

/// Exchanges that start, and those that end and are not asked for: each table has its own bound.
#[test]
fn exchanges_that_nobody_takes() {
    const EXCHANGES: u64 = 200_000;
    // A node, an exchange that waits and its names.
    const EXCHANGE_BYTES: usize = 1832;
    let mut counts = enrich::Counts::default();
    let most = most(|| {
        let mut decoder = Decoder::new(Config::default());
        let mut enricher = Enricher::new(enrich::Config::default(), 1);
        let mut steps = Vec::new();
        for number in 0..EXCHANGES {
            let mut talk = Talk::new(Side::Server);
            talk.id.generation = number + 1;
            talk.process = HostPid(number as u32);
            talk.thread = HostTid(number as u32);
            talk.records.clear();
            talk.request(format!("GET /{number} HTTP/1.1\r\n\r\n"));
            talk.answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                .close();
            for record in &talk.records {
                record.apply(&mut decoder, &mut steps);
            }
            steps.drain(..).for_each(|step: Step| enricher.apply(step));
        }
        let mut spans = Vec::new();
        enricher.flush(WallOffset(0), &mut spans);
        counts = enricher.counts();
        assert_eq!(counts.spans + counts.dropped_waiting_full, EXCHANGES);
    });
    let limits = enrich::Limits::default();
    assert_eq!(counts.spans, limits.waiting as u64);
    let bound = limits.waiting * EXCHANGE_BYTES;
    assert!(most <= bound, "{most} bytes, not {bound}");
}

/// What a usual request takes from its end until its span is sent, with all that refers to it, where tables are nearly
/// full.
#[test]
fn spans_that_wait() {
    const SPANS: usize = 16_000;
    const SPAN_BYTES: usize = 714;
    let mut talks: Vec<Talk> = (0..64).map(talk_of).collect();
    let mut decoder = Decoder::new(Config::default());
    let mut enricher = Enricher::new(enrich::Config::default(), 1);
    let (mut steps, mut spans) = (Vec::new(), Vec::new());
    let mut say = |talk: &mut Talk, steps: &mut Vec<Step>| {
        let talk = talk.request("GET /orders/17 HTTP/1.1\r\nHost: shop.example:8080\r\n\r\n");
        talk.answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        let records = talk.records.drain(..);
        records.for_each(|record| record.apply(&mut decoder, steps));
    };
    let before = now();
    for number in 0..SPANS {
        say(&mut talks[number % 64], &mut steps);
        steps.drain(..).for_each(|step: Step| enricher.apply(step));
    }
    let waiting = (now() - before) as usize / SPANS;
    enricher.flush(WallOffset(0), &mut spans);
    assert_eq!(spans.len(), SPANS);
    assert!(waiting <= SPAN_BYTES, "{waiting} bytes, not {SPAN_BYTES}");
}

fn talk_of(socket: u64) -> Talk {
    let mut talk = Talk::new(Side::Server);
    talk.id.socket = socket;
    talk
}

/// A record says how long things are; nothing is set aside for what it says.
#[test]
fn records_that_boast_cost_nothing() {
    let mut record = vec![0xff; 4096];
    let most = most(|| {
        for kind in 0..16_u16 {
            record[..2].copy_from_slice(&kind.to_le_bytes());
            for end in [0, 1, 23, 24, 104, 128, 4096] {
                let _ = convert(&record[..end]);
            }
        }
    });
    assert_eq!(most, 0, "bytes");
    let mut decoder = Decoder::new(Config::default());
    let mut steps = Vec::new();
    let mut talk = Talk::new(Side::Server);
    talk.request("POST / HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n");
    for _ in 0..1000 {
        // Each call says that it moved four gibibytes, over the end of its stream.
        talk.request_bulk(u32::MAX as usize);
    }
    let most = self::most(|| {
        for record in &talk.records {
            record.apply(&mut decoder, &mut steps);
        }
        decoder.stop(Monotonic(u64::MAX), &mut steps);
    });
    assert!(most < 64 << 10, "{most} bytes");
}

/// What a cluster has beside this node: its services and namespaces.
#[test]
fn a_large_cluster() {
    const SERVICES: u64 = 5000;
    const NAMESPACES: usize = 500;
    const SERVICE_BYTES: usize = 256;
    const NAMESPACE_BYTES: usize = 256;
    let mut index = Index::default();
    let mut changes = Changes::default();
    let most = most(|| {
        // Told twice: who is told again takes no more.
        for _ in 0..2 {
            index.apply(Update::Begin(Kind::Namespaces), &mut changes);
            for number in 0..NAMESPACES {
                let namespace = Namespace {
                    name: format!("a-namespace-of-a-team-{number}").into(),
                    ..Namespace::default()
                };
                index.apply(Update::Namespace(namespace), &mut changes);
            }
            index.apply(Update::Complete(Kind::Namespaces), &mut changes);
            index.apply(Update::Begin(Kind::Services), &mut changes);
            for number in 0..SERVICES {
                let bytes = (number as u32).to_be_bytes();
                let addresses = Addresses {
                    holder: number,
                    addresses: vec![[10, 96, bytes[2], bytes[3]].into()],
                    peer: Peer {
                        name: format!("a-service-with-a-name-{number}").into(),
                        namespace: "a-namespace-of-a-team".into(),
                    },
                };
                let update = Update::Addresses(Kind::Services, addresses);
                index.apply(update, &mut changes);
            }
            index.apply(Update::Complete(Kind::Services), &mut changes);
        }
    });
    assert_eq!(index.kept(Kind::Services).objects, SERVICES as usize);
    assert_eq!(index.kept(Kind::Namespaces).objects, NAMESPACES);
    let bound = SERVICES as usize * SERVICE_BYTES + NAMESPACES * NAMESPACE_BYTES;
    println!("{most} bytes");
    assert!(most <= bound, "{most} bytes, not {bound}");
}

/// Pods of this node, and many more that were deleted.
#[test]
fn pods_that_come_and_go() {
    const PODS: usize = 1000;
    // Of its tables, one may have grown once more: where keys fall is chance.
    const POD_BYTES: usize = 4672;
    let limits = spanlet::pods::Limits::default();
    let mut index = Index::default();
    let mut changes = Changes::default();
    let most = most(|| {
        for number in 0..PODS {
            let uid = format!("00000000-0000-4000-8000-{number:012}");
            let update = Update::Pod(Box::new(usual_pod(&uid)));
            index.apply(update, &mut changes);
            changes.pods.clear();
            if number >= 200 {
                let pod = usual_pod(&uid);
                index.apply(Update::PodGone(pod.key, pod.uid), &mut changes);
            }
        }
    });
    let kept = index.kept(Kind::Pods).objects;
    assert_eq!(kept, 200);
    let kept = kept + limits.gone;
    println!("{most} bytes for {kept} pods");
    assert!(most <= kept * POD_BYTES, "{most} bytes for {kept} pods");
}

fn usual_pod(uid: &str) -> spanlet::pods::model::Pod {
    use spanlet::pods::model::{Container, ContainerRun, Owner, Pod};
    use spanlet::pods::{ContainerId, PodUid};
    let run = |number: u32| ContainerRun {
        id: ContainerId(format!("{number:064}").into()),
        runtime: "containerd".into(),
        image_id: format!("registry.example/team/application@sha256:{number:064}").into(),
        restarts: number,
    };
    let container = |number: u32| Container {
        name: format!("container-{number}").into(),
        image: "registry.example/team/application:v1.2.3".into(),
        run: Some(run(number)),
        before: None,
    };
    let pair = |number: u32| {
        (
            format!("app.kubernetes.io/key-{number}"),
            format!("value-{number}"),
        )
    };
    Pod {
        key: PodUid(uid.into()),
        uid: uid.into(),
        namespace: "a-namespace-of-a-team".into(),
        name: "an-application-5d8f7c6b9d-x7k2p".into(),
        labels: (0..5).map(pair).collect(),
        annotations: (0..3).map(pair).collect(),
        controller: Some(Owner {
            kind: "ReplicaSet".into(),
            name: "an-application-5d8f7c6b9d".into(),
            uid: uid.into(),
        }),
        addresses: vec![[10, 244, 0, 7].into()],
        started: "2026-11-21T20:00:00Z".into(),
        containers: (0..2).map(container).collect(),
        ..Pod::default()
    }
}
