//! The result of a tool: its value for programs, its text for people, its images and sounds as files.
//!
//! Refuses to drop a block silently, and to write over a file.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::{Error, Kind, Result};
use crate::protocol::http::{STATUS, TRACE};
use crate::ui::json::Json;

/// Endings by media type; others end in `.bin`.
const ENDINGS: &[(&str, &str)] = &[
    ("image/png", "png"),
    ("image/jpeg", "jpg"),
    ("image/gif", "gif"),
    ("image/webp", "webp"),
    ("image/svg+xml", "svg"),
    ("audio/wav", "wav"),
    ("audio/x-wav", "wav"),
    ("audio/mpeg", "mp3"),
    ("audio/ogg", "ogg"),
    ("audio/webm", "webm"),
    ("application/pdf", "pdf"),
    ("application/json", "json"),
    ("application/zip", "zip"),
    ("text/plain", "txt"),
    ("text/markdown", "md"),
    ("text/html", "html"),
    ("text/csv", "csv"),
];
/// Maximum number in a file name; past it no name is looked for any more.
const MOST_FILES: usize = 1 << 30;

/// A result, read.
#[derive(Debug)]
pub struct Outcome {
    /// The result as it came.
    pub whole: Json,
    /// The tool says that it failed.
    pub is_error: bool,
    /// One line or more for each block.
    pub text: String,
    /// As a program reads it.
    pub value: Json,
    /// The value is JSON, so the text says the same.
    pub is_json: bool,
    /// Blocks that are in neither the value nor a file.
    pub unseen: Vec<String>,
}

/// The parts of a result, whatever is in them.
#[derive(Default, serde::Deserialize)]
struct Parts<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "structuredContent")]
    structured: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "isError")]
    is_error: Option<&'a RawValue>,
}

impl Outcome {
    /// Returns the failure that the tool reports, with what asistry has added to a failure of a service without MCP.
    pub fn error(&self) -> Error {
        let error = Error::new(Kind::ServiceError, self.text.clone());
        let whole: Value = serde_json::from_str(&self.whole.line()).unwrap_or_default();
        let meta = &whole["_meta"];
        let error = error.trace_id(meta[TRACE].as_str().map(str::to_owned));
        match meta[STATUS].as_u64().and_then(|status| u16::try_from(status).ok()) {
            Some(status) => error.http_status(status),
            None => error,
        }
    }

    /// Reads a result; images, sounds and binary resources go into files in `save`.
    ///
    /// # Errors
    /// [`Kind::Output`] where they cannot be written.
    pub fn read(whole: Json, save: Option<&Path>) -> Result<Self> {
        let json = whole.line();
        let parts: Parts<'_> = serde_json::from_str(&json).unwrap_or_default();
        let blocks = parts.content.and_then(|raw| serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok());
        let (mut lines, mut texts, mut unseen) = (Vec::new(), Vec::new(), Vec::new());
        for raw in blocks.unwrap_or_default() {
            let (line, is_text) = match serde_json::from_str::<Value>(raw.get()) {
                Ok(block) => Block(&block).shown(save)?,
                Err(_) => (format!("[block] {}", raw.get()), false),
            };
            if is_text {
                texts.push(line.clone());
            } else {
                unseen.push(line.clone());
            }
            lines.push(line);
        }
        let structured = parts.structured.filter(|raw| raw.get() != "null");
        let parsed = match (structured, texts.as_slice()) {
            (Some(structured), _) => Json::read(structured.get()).ok(),
            (_, [only]) => Json::read(only).ok(),
            _ => None,
        };
        let is_error = parts.is_error.is_some_and(|raw| raw.get() == "true");
        let text = match (lines.join("\n"), &parsed) {
            (text, _) if !is_error || !text.trim().is_empty() => text,
            // A failure needs a sentence.
            (_, Some(structured)) => structured.line(),
            (_, None) => "the tool failed, and does not say why".to_owned(),
        };
        let is_json = match &parsed {
            Some(Json::Value(value)) => value.is_object() || value.is_array(),
            Some(Json::Text(_)) => true,
            None => false,
        };
        let value = parsed.unwrap_or_else(|| Json::Value(text.as_str().into()));
        if !is_json {
            unseen.clear();
        }
        Ok(Self { whole, is_error, text, value, is_json, unseen })
    }
}

struct Block<'a>(&'a Value);

impl Block<'_> {
    /// Returns what a person sees of a block, and whether that is all of it.
    fn shown(&self, save: Option<&Path>) -> Result<(String, bool)> {
        let word = |name: &str| self.0[name].as_str().unwrap_or_default();
        match word("type") {
            "text" => Ok((word("text").to_owned(), true)),
            kind @ ("image" | "audio") => Ok((binary(kind, word("mimeType"), word("data"), save)?, false)),
            "resource_link" => {
                let about = [word("title"), word("name"), word("description")];
                let about: Vec<&str> = about.into_iter().filter(|text| !text.is_empty()).collect();
                Ok((format!("[link {}] {}", word("uri"), about.join(", ")).trim_end().to_owned(), false))
            }
            "resource" => self.resource(save),
            other => Ok((format!("[{other}] {}", self.0), false)),
        }
    }

    fn resource(&self, save: Option<&Path>) -> Result<(String, bool)> {
        let resource = &self.0["resource"];
        let word = |name: &str| resource[name].as_str().unwrap_or_default();
        let line = match resource["text"].as_str() {
            Some(text) => format!("[resource {}]\n{text}", word("uri")),
            None => {
                let shown = binary("resource", word("mimeType"), word("blob"), save)?;
                format!("{shown} {}", word("uri"))
            }
        };
        Ok((line, false))
    }
}

/// Checks, before anything is sent, that files can be saved in a directory; makes it where it is missing.
///
/// # Errors
/// [`Kind::Usage`] where they cannot.
pub fn check_save(directory: Option<&Path>) -> Result<()> {
    let Some(directory) = directory else { return Ok(()) };
    let tried = std::fs::create_dir_all(directory).and_then(|()| tempfile::tempfile_in(directory));
    tried.map(drop).map_err(|e| {
        Error::new(Kind::Usage, format!("--save {}: nothing can be saved there: {e}", directory.display()))
            .caused_by(e)
            .hint("name a directory that can be written")
    })
}

/// Writes base64 data into a file of its own, or says that it is there.
fn binary(kind: &str, media: &str, data: &str, save: Option<&Path>) -> Result<String> {
    let Ok(bytes) = BASE64_STANDARD.decode(data) else {
        return Ok(format!("[{kind} {media}, not readable as base64]"));
    };
    let Some(directory) = save else {
        return Ok(format!("[{kind} {media}, {} bytes; --save DIR keeps it]", bytes.len()));
    };
    let ending = ENDINGS.iter().find(|(known, _)| media.split(';').next() == Some(*known));
    let path =
        write_new(directory, kind, ending.map_or("bin", |(_, ending)| ending), &bytes).map_err(|e| {
            Error::new(
                Kind::Output,
                format!("{kind} {media} cannot be saved in {}: {e}", directory.display()),
            )
            .hint("the call itself was made: look before you repeat it")
        })?;
    Ok(format!("[{kind} {media}, {} bytes: {}]", bytes.len(), path.display()))
}

/// Writes a file under a name that is free: the first one, where no earlier one was taken away.
fn write_new(directory: &Path, kind: &str, ending: &str, bytes: &[u8]) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(directory)?;
    let named = |number: usize| directory.join(format!("{kind}-{number}.{ending}"));
    let first = first_free(|number| named(number).symlink_metadata().is_ok());
    write_from(first, named, bytes)
}

/// Writes a file under the first name that is free by now: another asistry may save there too.
fn write_from(first: usize, named: impl Fn(usize) -> PathBuf, bytes: &[u8]) -> std::io::Result<PathBuf> {
    for number in first..=MOST_FILES {
        let path = named(number);
        match File::create_new(&path) {
            Ok(mut file) => return file.write_all(bytes).map(|()| path),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
    Err(std::io::Error::new(ErrorKind::AlreadyExists, "it is full of files of these names"))
}

/// Finds a number that is not taken, in few looks: a batch can save very many files.
fn first_free(taken: impl Fn(usize) -> bool) -> usize {
    let (mut below, mut free) = (0, 1);
    while free < MOST_FILES && taken(free) {
        (below, free) = (free, free * 2);
    }
    while below + 1 < free {
        let middle = below.midpoint(free);
        if taken(middle) { below = middle } else { free = middle }
    }
    free
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(result: Value) -> Outcome {
        Outcome::read(Json::Value(result), None).unwrap()
    }

    #[test]
    fn the_value_is_structured_content_else_json_else_text() {
        let structured =
            read(json!({"content": [{"type": "text", "text": "five"}], "structuredContent": {"n": 5}}));
        assert_eq!(structured.value, Json::Value(json!({"n": 5})));
        let parsed = read(json!({"content": [{"type": "text", "text": "[{\"n\":5}]"}]}));
        assert_eq!((parsed.value, parsed.is_json), (Json::Value(json!([{"n": 5}])), true));
        let text = read(json!({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}));
        assert_eq!((text.value, text.is_json), (Json::Value(json!("a\nb")), false));
        let number = read(json!({"content": [{"type": "text", "text": "5"}]}));
        assert_eq!((number.value, number.is_json), (Json::Value(json!(5)), false));
        assert_eq!(read(json!({})).text, "");
    }

    #[test]
    fn a_failure_has_a_sentence() {
        let blank = json!([{"type": "text", "text": " "}]);
        for (content, text) in
            [(json!([]), "the tool failed, and does not say why"), (blank, "the tool failed")]
        {
            let told = read(json!({"isError": true, "content": content}));
            assert!(told.is_error && told.text.starts_with(text), "{told:?}");
        }
        let told = read(json!({"isError": true, "structuredContent": {"reason": "closed"}, "content": []}));
        assert_eq!(told.text, r#"{"reason":"closed"}"#);
        assert_eq!(read(json!({"content": []})).text, "");
    }

    #[test]
    fn no_block_is_dropped_silently() {
        let outcome = read(json!({"structuredContent": {"a": 1}, "content": [
            {"type": "text", "text": "t"},
            {"type": "image", "mimeType": "image/png", "data": "AAAA"},
            {"type": "resource_link", "uri": "file:///a", "name": "A"},
            {"type": "resource", "resource": {"uri": "file:///b", "text": "body"}},
            {"type": "resource", "resource": {"uri": "file:///c", "mimeType": "x/y", "blob": "AA=="}},
            {"type": "later", "x": 1},
        ]}));
        assert_eq!(outcome.unseen.len(), 5);
        for part in
            ["3 bytes; --save", "[link file:///a] A", "[resource file:///b]\nbody", "1 bytes", "[later]"]
        {
            assert!(outcome.text.contains(part), "{part}: {}", outcome.text);
        }
    }

    #[test]
    fn files_get_names_of_their_own() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("new");
        let result = json!({"content": [
            {"type": "image", "mimeType": "image/png", "data": "AAAA"},
            {"type": "audio", "mimeType": "audio/wav", "data": "AAAA"},
            {"type": "image", "mimeType": "image/png; x=../../etc", "data": "////"},
            {"type": "image", "mimeType": "../evil", "data": "AAAA"},
            {"type": "image", "mimeType": "image/png", "data": "no base64!"},
        ]});
        let outcome = Outcome::read(Json::Value(result), Some(&directory)).unwrap();
        let mut names: Vec<_> = std::fs::read_dir(&directory)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["audio-1.wav", "image-1.bin", "image-1.png", "image-2.png"]);
        assert_eq!(std::fs::read(directory.join("image-2.png")).unwrap(), [255, 255, 255]);
        assert!(outcome.text.contains("not readable as base64"));
    }

    #[test]
    fn a_file_that_came_meanwhile_is_not_written_over() {
        let home = tempfile::tempdir().unwrap();
        let named = |number: usize| home.path().join(format!("image-{number}.png"));
        std::fs::write(named(1), "theirs").unwrap();
        assert_eq!(write_from(1, named, b"ours").unwrap(), named(2));
        assert_eq!(std::fs::read(named(1)).unwrap(), b"theirs");
    }

    #[test]
    fn a_result_that_is_nested_too_deeply_is_passed_through_whole() {
        let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
        for (result, is_error) in [
            (format!(r#"{{"structuredContent":{deep},"content":[{{"type":"text","text":"t"}}]}}"#), false),
            (format!(r#"{{"content":[{{"type":"text","text":"{deep}"}}]}}"#), false),
            (format!(r#"{{"content":[{{"type":"later","x":{deep}}}],"isError":true}}"#), true),
        ] {
            let outcome = Outcome::read(Json::read(&result).unwrap(), None).unwrap();
            assert_eq!(outcome.whole.line(), result);
            assert_eq!(outcome.is_error, is_error);
            if is_error {
                assert!(outcome.text.contains(&deep));
            } else {
                assert_eq!((outcome.value, outcome.is_json), (Json::Text(deep.clone()), true));
            }
        }
    }

    #[test]
    fn a_free_number_is_found_in_few_looks() {
        for taken in [0, 1, 2, 3, 9_999, 10_000, 1_000_000] {
            let looks = std::cell::Cell::new(0);
            let free = first_free(|number| {
                looks.set(looks.get() + 1);
                number <= taken
            });
            assert_eq!(free, taken + 1);
            assert!(looks.get() < 50, "{} looks", looks.get());
        }
    }
}
