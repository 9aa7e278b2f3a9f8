//! One line of a batch's output, as it is written and as a later run reads it:
//! `{"line":1,"call":"…","tool":"…","result":…}`, or `"error":{…}` instead of the result.
//!
//! Refuses a file that no batch wrote.

use std::collections::{HashMap, HashSet};
use std::fs::{File, TryLockError};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize as _;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::input::Wanted;
use super::stdout;
use crate::commands::call::result::Outcome;
use crate::error::{Error, Executed, Kind, Result};
use crate::ui::{self, json::Json};

/// How each line begins.
const BEGINNING: &[u8] = b"{\"line\":";

/// The outcome of a call in an earlier run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It has not run: it is to be called.
    Open,
    /// It may have run.
    InDoubt,
    /// The service said no.
    Failed,
    /// It is done.
    Done,
}

/// Says what became of a call whose failure is this.
pub fn fate_of(error: &Error) -> Fate {
    match (error.details().executed, error.kind()) {
        (Some(Executed::No), _) => Fate::Open,
        (Some(Executed::Maybe), _) => Fate::InDoubt,
        (None, kind) if kind.is_unsent() => Fate::Open,
        (None, Kind::ServiceError) => Fate::Failed,
        (None, _) => Fate::InDoubt,
    }
}

/// Returns the line for what became of a call.
pub fn written(line: usize, wanted: Option<&Wanted>, became: &Result<Json>) -> String {
    #[derive(serde::Serialize)]
    struct Entry<'a> {
        line: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        call: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        tool: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        result: Option<&'a Json>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<Map<String, Value>>,
    }
    let entry = Entry {
        line,
        call: wanted.map(|wanted| wanted.call.as_str()),
        tool: wanted.map(|wanted| wanted.tool.as_str()),
        result: became.as_ref().ok(),
        error: became.as_ref().err().map(ui::failure_fields),
    };
    // A text that was read as JSON before, numbers and names: nothing here fails to be written.
    ui::json::harmless(&serde_json::to_string(&entry).unwrap_or_default())
}

/// Says whether a result of the protocol, which `--full` writes, is the no of its tool.
pub fn says_no(result: &Json) -> bool {
    match result {
        Json::Value(result) => result["isError"] == true && result["content"].is_array(),
        Json::Text(_) => Outcome::read(result.clone(), None).is_ok_and(|outcome| outcome.is_error),
    }
}

/// What an earlier output says.
#[derive(Debug, Default)]
pub struct Earlier {
    fates: HashMap<String, Fate>,
    /// Usage errors: the call, or the number of a line that was none, and the message.
    usage_errors: HashSet<(String, String)>,
    /// Its last line is not whole.
    torn: bool,
    /// Locked, so that no other run goes on from it at the same time.
    file: Option<File>,
}

impl Earlier {
    /// Reads an earlier output.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a file that cannot be read or that no batch wrote, and where stdout writes over it.
    pub fn read(path: &Path) -> Result<Self> {
        let fail = |why: String| Error::new(Kind::Usage, format!("--resume {}: {why}", path.display()));
        let mut file = File::open(path).map_err(|e| {
            fail(e.to_string()).hint("name the file that the earlier run wrote its output into")
        })?;
        // On Windows a lock would keep ourselves from appending to it.
        if cfg!(unix) && matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(fail("another asistry goes on from it at this moment".into())
                .hint("wait for its end: it may be making the same calls"));
        }
        if stdout::is(&file) == Some(stdout::Writes::Over) {
            return Err(fail("the output would be written over it".into())
                .hint(format!("append to it: --resume {0} >>{0}", path.display())));
        }
        let mut earlier = Self::default();
        for (at, line) in BufReader::new(&file).split(b'\n').enumerate() {
            let line = line.map_err(|e| fail(e.to_string()))?;
            earlier.take(&line).map_err(|()| {
                fail(format!("line {} is not from the output of a batch", at + 1))
                    .hint("name the file that the earlier run wrote its output into")
            })?;
        }
        earlier.torn = ends_torn(&mut file).map_err(|e| fail(e.to_string()))?;
        earlier.file = Some(file);
        Ok(earlier)
    }

    /// Says what became of a call.
    pub fn fate(&self, call: &str) -> Fate {
        self.fates.get(call).copied().unwrap_or(Fate::Open)
    }

    /// Says whether it has this usage error of this line: then it is not written again.
    pub fn has_usage_error(&self, line: usize, call: Option<&str>, error: &Error) -> bool {
        let key = call.map_or_else(|| line.to_string(), str::to_owned);
        error.kind() == Kind::Usage && self.usage_errors.contains(&(key, error.message().to_owned()))
    }

    /// Says whether it says nothing at all.
    pub fn is_empty(&self) -> bool {
        self.fates.is_empty()
    }

    /// Says whether its last line must be ended before more is appended.
    pub fn is_torn_at_stdout(&self) -> bool {
        self.torn && self.is_at_stdout()
    }

    /// Says whether this run appends to it.
    pub fn is_at_stdout(&self) -> bool {
        self.file.as_ref().is_some_and(|file| stdout::is(file).is_some())
    }

    fn take(&mut self, line: &[u8]) -> Result<(), ()> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        match serde_json::from_slice::<Written>(line) {
            Ok(Written { line: Some(number), call, result, error }) => {
                if error["kind"] == Kind::Usage.name() {
                    let key = call.clone().unwrap_or_else(|| number.to_string());
                    self.usage_errors.insert((key, error["message"].as_str().unwrap_or_default().to_owned()));
                }
                match (call, read_fate(result.as_deref(), &error)) {
                    (Some(call), fate) => {
                        self.know(&call, fate);
                        Ok(())
                    }
                    // Of a line that was no call.
                    (None, Fate::Open) => Ok(()),
                    (None, _) => Err(()),
                }
            }
            // A kill or a full disk can leave any part of a line: whatever it names was called.
            Err(_) if line.starts_with(BEGINNING) || BEGINNING.starts_with(line) => {
                let text = String::from_utf8_lossy(line);
                for named in text.split("\"call\":\"").skip(1) {
                    if let Some((call, _)) = named.split_once('"') {
                        self.know(call, Fate::InDoubt);
                    }
                }
                Ok(())
            }
            _ => Err(()),
        }
    }

    fn know(&mut self, call: &str, fate: Fate) {
        let known = self.fates.entry(call.to_owned()).or_insert(fate);
        *known = fate.max(*known);
    }
}

/// A line, as far as it matters here.
#[derive(serde::Deserialize)]
struct Written {
    #[serde(default)]
    line: Option<u64>,
    #[serde(default)]
    call: Option<String>,
    /// However deeply it is nested; `null` is a result too.
    #[serde(default, deserialize_with = "present")]
    result: Option<Box<RawValue>>,
    #[serde(default)]
    error: Value,
}

fn present<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> std::result::Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(from).map(Some)
}

fn read_fate(result: Option<&RawValue>, error: &Value) -> Fate {
    let result = result.map(|raw| Json::read(raw.get()));
    match (result, error["mayHaveExecuted"].as_bool(), error["kind"].as_str()) {
        (Some(Ok(result)), ..) if says_no(&result) => Fate::Failed,
        (Some(_), ..) => Fate::Done,
        (_, Some(maybe), _) => {
            if maybe {
                Fate::InDoubt
            } else {
                Fate::Open
            }
        }
        (_, None, kind) => match kind.and_then(Kind::from_name) {
            Some(kind) => fate_of(&Error::new(kind, "")),
            None => Fate::InDoubt,
        },
    }
}

fn ends_torn(file: &mut File) -> std::io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn earlier(text: &str) -> Result<Earlier> {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("output");
        std::fs::write(&path, text).unwrap();
        Earlier::read(&path)
    }

    #[test]
    fn an_earlier_output_says_what_became_of_each_call() {
        let known = earlier(concat!(
            r#"{"line":1,"call":"done","tool":"t","result":null}"#, "\n",
            r#"{"line":2,"call":"failed","tool":"t","error":{"kind":"service_error","message":"no"}}"#, "\n",
            r#"{"line":3,"call":"limited","tool":"t","error":{"kind":"rate_limited","mayHaveExecuted":false}}"#, "\n",
            r#"{"line":4,"call":"lost","tool":"t","error":{"kind":"connection_lost","mayHaveExecuted":true}}"#, "\n",
            r#"{"line":4,"call":"no","tool":"t","result":{"content":[],"isError":true}}"#, "\n",
            r#"{"line":5,"error":{"kind":"usage","message":"no JSON"}}"#, "\n\n",
            r#"{"line":6,"call":"later","tool":"t","error":{"kind":"a kind of a later version"}}"#, "\n",
            r#"{"line":3,"call":"limited","tool":"t","result":{"a":1}}"#, "\n",
            r#"{"line":1,"call":"done","tool":"t","error":{"kind":"timeout","mayHaveExecuted":true}}"#, "\n",
        ))
        .unwrap();
        for (call, fate) in [
            ("done", Fate::Done),
            ("failed", Fate::Failed),
            ("limited", Fate::Done),
            ("lost", Fate::InDoubt),
            ("no", Fate::Failed),
            ("later", Fate::InDoubt),
            ("never", Fate::Open),
        ] {
            assert_eq!(known.fate(call), fate, "{call}");
        }
        assert!(!known.torn && !known.is_empty());
    }

    #[test]
    fn half_a_line_is_a_call_in_doubt() {
        let known = earlier(concat!(
            r#"{"line":1,"call":"half","tool":"t","resu{"line":2,"call":"behind","tool":"t","result":1}"#,
            "\n",
            r#"{"line":3,"call":"last","tool":"t","result":[1,"#,
        ))
        .unwrap();
        assert!(["half", "behind", "last"].iter().all(|call| known.fate(call) == Fate::InDoubt));
        assert!(known.torn);
        assert_eq!(earlier(r#"{"line":1,"ca"#).unwrap().fate(""), Fate::Open);
        for cut in ["{", "{\"li", "{\"line\":"] {
            assert!(earlier(cut).unwrap().torn, "{cut}");
        }
    }

    #[test]
    fn a_file_of_something_else_is_refused() {
        for foreign in [
            "title,status\n",
            r#"{"tool":"t","arguments":{}}"#,
            "[1]",
            "{\n  \"line\": 1\n}",
            r#"{"line":1,"result":1}"#,
        ] {
            assert_eq!(earlier(foreign).unwrap_err().kind(), Kind::Usage, "{foreign}");
        }
        assert!(Earlier::read(Path::new("/")).is_err());
        assert_eq!(Earlier::read(Path::new("/no/such/file")).unwrap_err().kind(), Kind::Usage);
    }
}
