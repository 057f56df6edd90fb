//! Spanlet's kernel programs: they filter, copy bounded bytes and count losses. User space understands.
//!
//! In: tracepoints and a uprobe. Out: records of `spanlet-abi` on the `EVENTS` ring buffer.
//!
//! ```text
//! back ends          seeing                     telling
//! socket.rs   ──►  select  ─► connection ─► copy ─► emit ─► EVENTS
//! syscall.rs  ──►    (traced?)   (state)   (bytes)
//! life.rs, process.rs: births and deaths of connections and processes
//! tls.rs, go_tls.rs: what OpenSSL and Go encrypt; plain.rs tells it; session.rs: on which connection
//! goroutine.rs, births.rs: which goroutine calls, and which were not born yet
//! route.rs: by which pattern Go routed a request
//! asker.rs, uvloop.rs: who asked for what a connection sends next; lineage.rs: which task started which
//! turn.rs: in which turn of an event loop a call is made
//! tokio.rs: which of its tasks calls, and which answers
//! ```
#![no_std]
#![no_main]

mod asker;
mod births;
mod connection;
mod constants;
mod copy;
mod descriptor;
mod emit;
mod go_tls;
mod goroutine;
mod kernel;
mod life;
mod lineage;
mod log;
mod maps;
mod observe;
mod plain;
mod process;
mod python;
mod registers;
mod route;
mod select;
mod session;
mod socket;
mod syscall;
mod thread;
mod tls;
mod tokio;
mod turn;
mod uvloop;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

// Dual licence, see Cargo.toml; the verifier lets only programs that declare the GPL call the tracing helpers.
#[link_section = "license"]
#[no_mangle]
static LICENSE: [u8; 4] = *b"GPL\0";
