//! The messages of the conversation, the same through the bridge and straight.

/// Opens the session.
pub const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#;
/// Confirms it.
pub const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
/// Asks for the tools.
pub const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;

/// The session that the service opens.
pub const SESSION: &str = "4f0c9c52-bench";
/// What most calls are given.
pub const TASK: &str = "T-42";
/// As [`TASK`].
pub const NOTE: &str = "as short as most calls are";
/// What they are answered.
pub const ANSWER: &str = "T-42 is in progress; next step: write the tests, then tell the owner";

/// How many progress notifications one call of [`Tool::Progress`] or [`Tool::PackedProgress`] brings.
pub const EVENTS: usize = 200_000;
/// The size of the text in a large answer, in bytes.
pub const LARGE: usize = 64 * 1000 * 1000;

/// What is called, and so how the service answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// One JSON body.
    Json,
    /// One event of a stream.
    Sse,
    /// One JSON body of 64 MB.
    LargeJson,
    /// One event of 64 MB.
    LargeSse,
    /// Many progress notifications, each in an HTTP chunk of its own, then the result.
    Progress,
    /// The same in HTTP chunks of 16 KiB.
    PackedProgress,
    /// The same with CRLF as the end of a line, as Python's servers write.
    CrlfProgress,
}

/// Every tool with its name.
pub const TOOLS: &[(Tool, &str)] = &[
    (Tool::Json, "json"),
    (Tool::Sse, "sse"),
    (Tool::LargeJson, "large-json"),
    (Tool::LargeSse, "large-sse"),
    (Tool::Progress, "progress"),
    (Tool::PackedProgress, "packed-progress"),
    (Tool::CrlfProgress, "crlf-progress"),
];

/// Draws one call.
pub fn call(tool: Tool, id: u64) -> String {
    let name = TOOLS.iter().find(|(known, _)| *known == tool).map_or("", |(_, name)| name);
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{name}","arguments":{{"task":"{TASK}","note":"{NOTE}"}},"_meta":{{"progressToken":"p"}}}}}}"#
    )
}

/// The envelope of a client without a handshake, as fields of `_meta`.
const ENVELOPE: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"}"#;

/// Which era a client is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    Handshake,
    Stateless,
}

impl Client {
    /// What it says before its first call.
    pub fn opening(self) -> Vec<String> {
        match self {
            Self::Handshake => [INITIALIZE, INITIALIZED, LIST].map(str::to_owned).to_vec(),
            Self::Stateless => ["server/discover", "tools/list"]
                .map(|method| {
                    format!(r#"{{"jsonrpc":"2.0","id":0,"method":"{method}","params":{{"_meta":{{{ENVELOPE}}}}}}}"#)
                })
                .to_vec(),
        }
    }

    /// A call with an argument of a kilobyte.
    pub fn kilobyte(self, id: u64) -> String {
        let envelope = if self == Self::Stateless { ENVELOPE } else { r#""progressToken":"p""# };
        let note = NOTE.repeat(40);
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"json","arguments":{{"task":"{TASK}","note":"{note}"}},"_meta":{{{envelope}}}}}}}"#
        )
    }
}

/// Reads the id of a request or an answer of this conversation, where it is a number.
pub fn id_of(text: &[u8]) -> Option<u64> {
    id_text(text)?.parse().ok()
}

/// Reads the id of a message as it stands there, near the beginning or at the end.
pub fn id_text(text: &[u8]) -> Option<&str> {
    let name = b"\"id\":";
    let ends = text.len().saturating_sub(64);
    let at_end = || Some(ends + memchr::memmem::rfind(&text[ends..], name)?);
    let start = memchr::memmem::find(&text[..text.len().min(64)], name).or_else(at_end)? + name.len();
    let length = text[start..].iter().position(|byte| matches!(byte, b',' | b'}'))?;
    std::str::from_utf8(&text[start..start + length]).ok()
}
