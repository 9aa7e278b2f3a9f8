//! The MCP revisions that the sandbox supports.
//!
//! Not 2026-07-28: the services that it simulates belong to the handshake era.

/// One dated revision and its differences on the wire.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::sandbox) struct Revision {
    pub date: &'static str,
    /// Whether a body may be an array of messages.
    pub batches: bool,
    /// Whether tools carry annotations.
    pub annotations: bool,
    /// Whether there are `structuredContent` and titles.
    pub structured: bool,
    /// Whether an event stream may open with an id and empty data.
    pub opens_streams: bool,
}

/// Oldest first.
pub(in crate::sandbox) static ALL: [Revision; 4] = [
    Revision {
        date: "2024-11-05",
        batches: false,
        annotations: false,
        structured: false,
        opens_streams: false,
    },
    Revision {
        date: "2025-03-26",
        batches: true,
        annotations: true,
        structured: false,
        opens_streams: false,
    },
    Revision {
        date: "2025-06-18",
        batches: false,
        annotations: true,
        structured: true,
        opens_streams: false,
    },
    Revision { date: "2025-11-25", batches: false, annotations: true, structured: true, opens_streams: true },
];

/// Assumed without a revision and a session (2025-06-18, "Protocol Version Header").
pub(in crate::sandbox) static ASSUMED: &Revision = &ALL[1];

/// Finds a revision by its date.
pub(in crate::sandbox) fn find(date: &str) -> Option<&'static Revision> {
    ALL.iter().find(|revision| revision.date == date)
}
