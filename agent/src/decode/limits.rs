//! Every limit of this room: its unit, and what happens when it is reached. Only numbers.

/// Connections followed at once. Full: the sixteenth that has been idle longest is let go and counted
/// (`evicted`); what was open on it finishes as `EndUnseen`.
pub const CONNECTIONS_MAX: usize = 65_536;

/// Bytes held by all connections together: cut heads, held answers, open exchanges. Full: as above.
pub const MEMORY_BYTES_MAX: usize = 64 << 20;

/// Requests of one connection waiting for their answers. Full: further requests of the turn are not seen, and
/// counted (`pipeline_full`).
pub const PIPELINED_MAX: usize = 128;

/// Bytes of one head put together from several calls, or of the parameters of a FastCGI request. Longer: understood as far as it
/// goes, `head_incomplete`.
pub const HEAD_BYTES_MAX: usize = 16_384;

/// Header fields of one head that are parsed without allocating. More: parsed again with room for all.
pub const FIELDS_USUAL: usize = 96;

/// Bytes kept of a request target. Longer: cut.
pub const TARGET_BYTES_MAX: usize = 8192;

/// Bytes kept of a method or a header value. Longer: cut.
pub const TEXT_BYTES_MAX: usize = 1024;

/// Trace-context fields kept of one head. Further ones are left out.
pub const CONTEXT_FIELDS_MAX: usize = 16;

/// Reads of an answer that came ahead of the record of its request, held until that comes. More: the answer is
/// taken for one whose request was not seen (`answers_without_request`).
pub const HELD_EVENTS_MAX: usize = 4;

/// Bytes of those reads. More: as above.
pub const HELD_BYTES_MAX: usize = 8192;

/// Processes whose losses are remembered. Full: forgotten, and exchanges cut by a loss may say that the
/// connection was closed.
pub const PROCESSES_MAX: usize = 8192;
