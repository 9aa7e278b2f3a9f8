//! The lines of a batch: `{"tool": …, "arguments": {…}}`, from a file or from standard input as they come.
//!
//! Refuses a line that is no such object; the others go on without it.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::stdout;
use crate::error::{Error, Kind, Result};
use crate::profile::nearest;
use crate::protocol::MAX_MESSAGE;
use crate::state::short_hash;

const FIELDS: [&str; 2] = ["tool", "arguments"];
/// Lines that are read ahead; each can be very long.
const AHEAD: usize = 1;
const SHAPE: &str = r#"write one call per line, such as {"tool": "list_tasks", "arguments": {"limit": 5}}"#;

/// One line.
#[derive(Debug)]
pub struct Line {
    /// Counted from 1, empty lines too.
    pub number: usize,
    /// What it asks for.
    pub wanted: Result<Wanted>,
}

/// One call.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The tool.
    pub tool: String,
    /// The JSON text of an object, as it was written.
    pub arguments: String,
    /// The same, read.
    pub given: Map<String, Value>,
    /// What tells this call from all others of the batch: a digest of the tool, the arguments and how often
    /// they came before.
    pub call: String,
}

/// The lines that are still to come.
#[derive(Debug)]
pub struct Lines {
    from_reader: mpsc::Receiver<io::Result<Vec<u8>>>,
    number: usize,
    seen: HashMap<String, usize>,
}

impl Lines {
    /// Begins to read a file, or standard input for `-`; says how many calls there are where that is known.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a file that cannot be read.
    pub fn open(path: &Path) -> Result<(Self, Option<u64>)> {
        if path.as_os_str() == "-" {
            if stdout::is_stdin() {
                return Err(endless(path));
            }
            return Ok((Self::read(io::stdin()), None));
        }
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
        let (about, file) = opened.map_err(|e| unreadable(path, &e))?;
        if stdout::is(&file).is_some() {
            return Err(endless(path));
        }
        let count = match about.is_file() {
            true => Some(count(path).map_err(|e| unreadable(path, &e))?),
            false if about.is_dir() => return Err(unreadable(path, &io::ErrorKind::IsADirectory.into())),
            false => None,
        };
        Ok((Self::read(file), count))
    }

    fn read(source: impl Read + Send + 'static) -> Self {
        let (to_batch, from_reader) = mpsc::channel(AHEAD);
        // A read of standard input cannot be called off, so it has a thread of its own.
        std::thread::spawn(move || {
            for line in lines_of(source, MAX_MESSAGE) {
                if to_batch.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        Self { from_reader, number: 0, seen: HashMap::new() }
    }

    /// Waits for the next line that is not empty; may be dropped while it waits.
    ///
    /// # Errors
    /// [`Kind::Usage`] where no more can be read.
    pub async fn next(&mut self) -> Result<Option<Line>> {
        while let Some(line) = self.from_reader.recv().await {
            let line = line.map_err(|e| {
                Error::new(Kind::Usage, format!("the batch cannot be read beyond line {}: {e}", self.number))
                    .caused_by(e)
            })?;
            self.number += 1;
            let line = line.strip_prefix(b"\xef\xbb\xbf").filter(|_| self.number == 1).unwrap_or(&line);
            if is_empty(line) {
                continue;
            }
            let wanted = Wanted::read(line).map(|wanted| self.told_apart(wanted));
            return Ok(Some(Line { number: self.number, wanted }));
        }
        Ok(None)
    }

    fn told_apart(&mut self, mut wanted: Wanted) -> Wanted {
        let times = self.seen.entry(wanted.call.clone()).or_default();
        *times += 1;
        if *times > 1 {
            wanted.call = format!("{}-{times}", wanted.call);
        }
        wanted
    }
}

impl Wanted {
    fn read(line: &[u8]) -> Result<Self> {
        let wrong = |why: String| Error::new(Kind::Usage, why).hint(SHAPE);
        let text = std::str::from_utf8(line).map_err(|_| wrong("the line is not UTF-8".into()))?;
        let fields: BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(text).map_err(|e| wrong(format!("the line is not a JSON object: {e}")))?;
        if let Some(other) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
            let why = format!("the line has a field “{other}”");
            return Err(match nearest(other, FIELDS.into_iter()) {
                Some(near) => Error::new(Kind::Usage, why).hint(format!("did you mean {near}?")),
                None => wrong(why),
            });
        }
        let tool = fields.get("tool").and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
        let tool = tool.ok_or_else(|| wrong("the line names no tool".into()))?;
        let arguments = fields.get("arguments").map_or("{}", |raw| raw.get());
        let Ok(Value::Object(given)) = serde_json::from_str(arguments) else {
            return Err(wrong("the arguments are no JSON object".into()));
        };
        let call = short_hash(&format!("{tool}\n{}", canonical(&Value::Object(given.clone()))));
        Ok(Self { tool, arguments: arguments.to_owned(), given, call })
    }
}

/// Returns the JSON of a value with its names in order: who makes the lines anew may write them in another one.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<_> = fields.iter().collect();
            names.sort_by_key(|(name, _)| *name);
            let fields = names
                .into_iter()
                .map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), canonical(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        value => value.to_string(),
    }
}

/// Returns the lines of a source without their ends; one that is longer than `longest` bytes is the last, and a
/// failure.
fn lines_of(source: impl Read, longest: usize) -> impl Iterator<Item = io::Result<Vec<u8>>> {
    let mut source = Some(BufReader::new(source));
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        match source.as_mut()?.take(longest as u64 + 1).read_until(b'\n', &mut line) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(e) => {
                source = None;
                return Some(Err(e));
            }
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.len() > longest {
            source = None;
            let why = format!("the next one is longer than {} MiB", longest >> 20);
            return Some(Err(io::Error::new(io::ErrorKind::InvalidData, why)));
        }
        Some(Ok(line))
    })
}

fn is_empty(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

fn count(path: &Path) -> io::Result<u64> {
    let mut count = 0;
    for line in lines_of(File::open(path)?, MAX_MESSAGE) {
        count += u64::from(!is_empty(&line?));
    }
    Ok(count)
}

/// Each line of the output would be a line of the batch.
fn endless(path: &Path) -> Error {
    Error::new(Kind::Usage, format!("the batch {}: the output is written into it", path.display()))
        .hint("write the output into a file of its own")
}

fn unreadable(path: &Path, e: &io::Error) -> Error {
    Error::new(Kind::Usage, format!("the batch {} cannot be read: {e}", path.display()))
        .hint("name a file, or - for standard input")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Wanted> {
        Wanted::read(line.as_bytes())
    }

    #[test]
    fn a_call_is_the_same_however_its_line_is_written() {
        let one = read(r#"{"tool":"t","arguments":{"a":1,"b":[{"c":2,"d":3}]}}"#).unwrap();
        let other = read(r#" {"arguments": {"b": [{"d":3,"c":2}], "a":1}, "tool": "t"} "#).unwrap();
        assert_eq!(one.call, other.call);
        assert_eq!(other.arguments, r#"{"b": [{"d":3,"c":2}], "a":1}"#);
        assert_eq!(
            read(r#"{"tool":"t"}"#).unwrap().call,
            read(r#"{"tool":"t","arguments":{}}"#).unwrap().call
        );
        for another in [r#"{"tool":"u","arguments":{"a":1}}"#, r#"{"tool":"t","arguments":{"a":"1"}}"#] {
            assert_ne!(
                read(another).unwrap().call,
                read(r#"{"tool":"t","arguments":{"a":1}}"#).unwrap().call
            );
        }
    }

    #[test]
    fn what_is_no_call_says_what_one_looks_like() {
        for (line, said) in [
            ("nonsense", "not a JSON object"),
            (r#"[{"tool":"t"}]"#, "not a JSON object"),
            (r#"{"arguments":{}}"#, "names no tool"),
            (r#"{"tool":5}"#, "names no tool"),
            (r#"{"tool":"t","arguments":[1]}"#, "arguments are no JSON object"),
            (r#"{"tool":"t","arguments":null}"#, "arguments are no JSON object"),
            (r#"{"tool":"t","args":{}}"#, "a field “args”"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.kind() == Kind::Usage && error.message().contains(said), "{line}: {error}");
        }
        assert!(Wanted::read(b"{\"tool\":\"\xff\"}").unwrap_err().message().contains("UTF-8"));
        let near = read(r#"{"tool":"t","argument":{}}"#).unwrap_err();
        assert_eq!(near.advice(), Some("did you mean arguments?"));
    }

    #[test]
    fn a_line_without_an_end_does_not_fill_the_memory() {
        let mut lines = lines_of(b"abc\n\nabc".as_slice(), 3);
        assert!(["abc", "", "abc"].iter().all(|line| lines.next().unwrap().unwrap() == line.as_bytes()));
        assert!(lines.next().is_none());
        let mut lines = lines_of(std::io::repeat(0), 1 << 20);
        assert!(lines.next().unwrap().unwrap_err().to_string().contains("longer than 1 MiB"));
        assert!(lines.next().is_none());
    }

    #[tokio::test]
    async fn lines_are_counted_and_equal_ones_told_apart() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("batch");
        std::fs::write(&path, "\u{feff}{\"tool\":\"t\"}\r\n\n{\"tool\":\"t\"}\nx\n{\"tool\":\"t\"}").unwrap();
        let (mut lines, count) = Lines::open(&path).unwrap();
        assert_eq!(count, Some(4));
        let mut seen = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            seen.push((line.number, line.wanted.ok().map(|wanted| wanted.call)));
        }
        let first = seen[0].1.clone().unwrap();
        let again = |times: usize| Some(format!("{first}-{times}"));
        assert_eq!(seen, [(1, Some(first.clone())), (3, again(2)), (4, None), (5, again(3))]);
        assert!(Lines::open(home.path()).is_err());
    }
}
