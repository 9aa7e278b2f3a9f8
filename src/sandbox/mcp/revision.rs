//! The revisions of MCP that the sandbox speaks, as facts.
//!
//! Refuses 2026-07-28: the services that it stands for are of the handshake era.

/// One dated revision, and what differs on this server's wire.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::sandbox) struct Revision {
    pub date: &'static str,
    /// Whether a body may be an array of messages.
    pub batches: bool,
    /// Whether tools carry annotations.
    pub annotations: bool,
    /// Whether there are `structuredContent` and titles.
    pub structured: bool,
}

/// From the oldest to the newest.
pub(in crate::sandbox) static ALL: [Revision; 4] = [
    Revision { date: "2024-11-05", batches: false, annotations: false, structured: false },
    Revision { date: "2025-03-26", batches: true, annotations: true, structured: false },
    Revision { date: "2025-06-18", batches: false, annotations: true, structured: true },
    Revision { date: "2025-11-25", batches: false, annotations: true, structured: true },
];

/// What is assumed of a request that names no revision and no session (2025-06-18, "Protocol Version Header").
pub(in crate::sandbox) static ASSUMED: &Revision = &ALL[1];

/// What `initialize` answers when it is asked for a revision that is not known.
pub(in crate::sandbox) static NEWEST: &Revision = &ALL[3];

/// Finds a revision by its date.
pub(in crate::sandbox) fn find(date: &str) -> Option<&'static Revision> {
    ALL.iter().find(|revision| revision.date == date)
}
