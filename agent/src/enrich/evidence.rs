//! Why a span has the parent it has, or has none. Plain words.

/// What a parent is known by: the attribute `spanlet.parent.evidence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// W3C Trace Context.
    TraceParent,
    /// b3, in one header or several.
    B3,
    /// Jaeger.
    Uber,
    /// AWS X-Ray.
    Amazon,
    /// Both ends of the connection are on this node.
    Connection,
    /// The thread, which waits for its calls, works for exactly one open server exchange.
    Thread,
    /// The goroutine, or the one it descends from, serves exactly one open exchange.
    Goroutine,
    /// The task that called answered the request.
    Task,
    /// The event loop called in the turn in which it read the request, or read its answer in the turn that answered the request.
    Turn,
    /// The process serves exactly one open exchange. Right only if it does nothing else.
    Process,
}

impl Evidence {
    /// The value of the attribute when there is no parent.
    pub const NONE: &'static str = "none";

    /// Whether the request's own headers name the parent.
    pub fn is_context(self) -> bool {
        matches!(
            self,
            Self::TraceParent | Self::B3 | Self::Uber | Self::Amazon
        )
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::TraceParent => "traceparent",
            Self::B3 => "b3",
            Self::Uber => "uber-trace-id",
            Self::Amazon => "x-amzn-trace-id",
            Self::Connection => "connection",
            Self::Thread => "thread",
            Self::Goroutine => "goroutine",
            Self::Task => "task",
            Self::Turn => "turn",
            Self::Process => "process",
        }
    }
}

/// Why a parent that there is some evidence for was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// There is more than one that it could be.
    Ambiguous,
    /// The process has inbound connections that are not understood.
    Opaque,
    /// Records of the process were lost.
    Loss,
    /// The process calls this endpoint by itself.
    Background,
    /// The goroutine descends from none that serves, or from before its request.
    Lineage,
    /// The goroutine descends from one that serves, but an earlier request may have started it.
    Birth,
    /// The two ends of the connection carry different trace contexts.
    Context,
    /// The parent was not open when its child started.
    Closed,
    /// The trace of the child has been told.
    Sealed,
    /// The parent is older than [`super::Limits::parent_age`].
    Age,
    /// The tree is as deep as [`super::Limits::depth`].
    Depth,
    /// The parent has [`super::Limits::children`] children.
    Children,
}
