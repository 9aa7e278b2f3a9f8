//! Audio recordings of the current user.

use super::records::read;
use super::tables::RECORDING;
use super::{INTERNAL, READS};
use crate::sandbox::arguments::{Arguments, Form, Param};
use crate::sandbox::keys::Caller;
use crate::sandbox::service::{Outcome, Tool};
use rusqlite::Connection;
use serde_json::{Value, json};

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "list_recordings",
        title: "List recordings",
        description: "List the current user's newest audio recordings.",
        access: INTERNAL,
        params: &[Param::optional(
            "limit",
            Form::Integer { least: 1, most: 10, default: 10 },
            "Maximum number of recordings.",
        )],
        run: list,
        ..READS
    },
    Tool {
        name: "get_recording",
        title: "Get a recording",
        description: "Return a recording with its summary, action items, notes and transcription.",
        access: INTERNAL,
        params: &[Param::required("recordingId", Form::Uuid, "The recording's UUID.")],
        run: get,
        ..READS
    },
];

fn list(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    read(connection, caller, |view| {
        let most = arguments.integer("limit");
        let found = view.list(&RECORDING, "true ORDER BY createdAt DESC, rowid DESC LIMIT ?4", &[&most])?;
        let shown = found.iter().map(|recording| {
            json!({
                "id": recording["id"],
                "title": recording["title"],
                "durationSeconds": recording["durationSeconds"],
                "createdAt": recording["createdAt"],
            })
        });
        Ok(Value::Array(shown.collect()))
    })
}

fn get(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    read(connection, caller, |view| {
        let id = arguments.text("recordingId").unwrap_or_default();
        Ok(view.one(&RECORDING, "recordingId", id)?.into())
    })
}
