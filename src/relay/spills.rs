//! Large results: written to private files on other threads, so that a slow disk delays no other answer.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::protocol::effect::Spilled;
use crate::protocol::message::{Message, quote};

/// Maximum large results being written at once.
const MOST: usize = 2;
/// Size of the excerpt that the client gets, in characters.
const HEAD: usize = 2_000;

/// The results that are being written.
#[derive(Debug)]
pub(super) struct Spills {
    running: JoinSet<(Spilled, Bytes)>,
    turns: Arc<Semaphore>,
}

impl Default for Spills {
    fn default() -> Self {
        Self { running: JoinSet::new(), turns: Arc::new(Semaphore::new(MOST)) }
    }
}

impl Spills {
    /// Starts to write the result of a response.
    pub fn start(&mut self, message: Message, to: Spilled) {
        let turns = self.turns.clone();
        self.running.spawn(async move {
            let _turn = turns.acquire_owned().await;
            let written = message.clone();
            let shorter = tokio::task::spawn_blocking(move || spill(&written)).await;
            // If the writing task failed, the answer is delivered unchanged.
            (to, shorter.unwrap_or_else(|_| message.text().clone()))
        });
    }

    /// Waits for the next shortened response; `None` at once if nothing is being written.
    pub async fn next(&mut self) -> Option<(Spilled, Bytes)> {
        self.running.join_next().await?.ok()
    }

    /// Returns how many results are being written.
    pub fn len(&self) -> usize {
        self.running.len()
    }
}

/// Writes a too large result to a private file, and tells the client its beginning and its path.
fn spill(message: &Message) -> Bytes {
    let (Some(id), Some(result)) = (message.id(), message.result_text()) else {
        return message.text().clone();
    };
    let head: String = result.chars().take(HEAD).collect();
    let told = match keep(result.as_bytes()) {
        Ok(path) => format!("the whole result, {} bytes of JSON, is in {}", result.len(), path.display()),
        Err(e) => format!(
            "the result, {} bytes of JSON, is too large, and no file could be written: {e}",
            result.len()
        ),
    };
    #[derive(serde::Deserialize)]
    struct Flag {
        #[serde(default, rename = "isError")]
        is_error: bool,
    }
    let is_error = serde_json::from_str::<Flag>(result).is_ok_and(|flag| flag.is_error);
    let text = quote(&format!("{head}…\n\n[asistry: {told}]"));
    let shorter = format!(r#"{{"content":[{{"type":"text","text":{text}}}],"isError":{is_error}}}"#);
    Message::result(id, &shorter).text().clone()
}

fn keep(bytes: &[u8]) -> std::io::Result<PathBuf> {
    let mut file = tempfile::Builder::new().prefix("asistry-result-").suffix(".json").tempfile()?;
    file.write_all(bytes)?;
    let (_, path) = file.keep().map_err(|e| e.error)?;
    Ok(path)
}
