//! libuv, in Node.js: the functions by which turns of its event loop are known, and the library where it is one.
//!
//! The loop calls [`TURN`] ahead of each callback for what it polled, and once more after it has called back for other reasons. What
//! it calls back for these begins when [`POLL`] returns.

/// `void uv__metrics_update_idle_time(uv_loop_t*)`: measures nothing unless it is told to.
pub const TURN: &str = "uv__metrics_update_idle_time";
/// `void uv__io_poll(uv_loop_t*, int)`
pub const POLL: &str = "uv__io_poll";
/// `int uv_tcp_init(uv_loop_t*, uv_tcp_t*)`: Node.js makes a handle when a connection is asked for, ahead of looking up a name.
pub const MAKE: &str = "uv_tcp_init";
/// `int uv_tcp_connect(uv_connect_t*, uv_tcp_t*, const struct sockaddr*, uv_connect_cb)`
pub const CONNECT: &str = "uv_tcp_connect";

/// Whether a library is libuv's own: distributions link to it.
pub fn is_library(name: &str) -> bool {
    name.starts_with("libuv.so")
}
