//! Edits the text of `config.toml` in place.
//!
//! Finds the bytes to replace by the spans of `toml_edit` and keeps all others. Refuses an edit whose result would
//! parse to anything but the requested values. Tried: writing with `toml_edit::DocumentMut`. Half of the tests fail
//! even with LF line ends: it drops the comment above a removed table, puts a new table before the last comment of
//! the file and a new key below nothing, and moving each of these takes as much code as the splices.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, InlineTable, Item, Key, Table, Value};

use crate::error::{Error, Kind, Result};
use crate::service::parse;

const BOM: char = '\u{feff}';
/// Depth of `profiles.NAME`, which gets its own table header.
const PROFILE_DEPTH: usize = 2;

/// The text of a configuration.
#[derive(Clone, Debug)]
pub struct Document {
    path: PathBuf,
    text: String,
    has_bom: bool,
}

/// A byte range and its replacement.
type Splice = (Range<usize>, String);

/// The item at a path.
enum Found<'a> {
    /// A value on its own lines: start of the key, and range of the value.
    Value(usize, Range<usize>),
    /// A table, with headers or with dotted keys.
    Table(&'a Table),
    /// A path into this inline table, which is at this depth.
    Inline(Range<usize>, usize),
    /// Nothing: the path ends in this table at `depth`; the table's header is at depth `header`.
    Missing { table: &'a Table, depth: usize, header: usize },
}

impl Document {
    /// Parses a text; `path` is for errors only.
    ///
    /// # Errors
    /// [`Kind::Config`] with the line of a syntax error.
    pub fn read(text: &str, path: &Path) -> Result<Self> {
        let bare = text.strip_prefix(BOM);
        let document =
            Self { path: path.to_owned(), text: bare.unwrap_or(text).to_owned(), has_bom: bare.is_some() };
        document.says()?;
        Ok(document)
    }

    /// Returns the text.
    pub fn text(&self) -> String {
        let bom = if self.has_bom { BOM.to_string() } else { String::new() };
        format!("{bom}{}", self.text)
    }

    /// Returns the keys of the table at a path.
    pub fn names(&self, path: &[&str]) -> Vec<String> {
        let says = self.says().unwrap_or_default();
        let (first, rest) = path.split_first().unwrap_or((&"", &[]));
        let found = rest.iter().try_fold(says.get(*first), |at, name| Some(at?.get(*name))).flatten();
        let names = found.and_then(toml::Value::as_table).map(|table| table.keys().cloned().collect());
        names.unwrap_or_default()
    }

    /// Sets or adds a value.
    ///
    /// # Errors
    /// [`Kind::Config`] if the text has a form that cannot be edited.
    pub fn set(&mut self, path: &[&str], value: Value) -> Result<()> {
        let parsed = toml_edit::Document::parse(self.text.as_str()).map_err(|_| self.refused(path))?;
        let splice = match find(parsed.as_table(), path).ok_or_else(|| self.refused(path))? {
            Found::Value(_, at) => (at, value.to_string()),
            Found::Inline(at, depth) => self.inline(at, &path[depth..], Some(&value)),
            Found::Missing { depth, .. } if depth < PROFILE_DEPTH && path.len() > depth + 1 => {
                self.appended(&path[..PROFILE_DEPTH], &line(&path[PROFILE_DEPTH..], &value))
            }
            Found::Missing { table, depth, header } => {
                let line = line(&path[header..], &value);
                match own_end(table).or_else(|| header_of(table).filter(|_| depth > 0).map(|span| span.end)) {
                    Some(end) => self.below(end, &line),
                    None if depth == 0 => self.at_the_top(&line),
                    None => self.appended(&path[..depth], &self::line(&path[depth..], &value)),
                }
            }
            Found::Table(_) => return Err(self.refused(path)),
        };
        self.replace(vec![splice], path, Some(&value))
    }

    /// Removes a value or a table, if it exists.
    ///
    /// # Errors
    /// [`Kind::Config`] if the text has a form that cannot be edited.
    pub fn unset(&mut self, path: &[&str]) -> Result<()> {
        let parsed = toml_edit::Document::parse(self.text.as_str()).map_err(|_| self.refused(path))?;
        let splices = match find(parsed.as_table(), path).ok_or_else(|| self.refused(path))? {
            Found::Missing { .. } => return Ok(()),
            Found::Value(key, at) => vec![self.without_lines(key..at.end)],
            Found::Inline(at, depth) => vec![self.inline(at, &path[depth..], None)],
            Found::Table(table) => {
                let mut splices = Vec::new();
                self.without_table(table, &mut splices);
                splices
            }
        };
        self.replace(splices, path, None)
    }

    /// Applies the splices and checks that the result parses to the requested values.
    fn replace(&mut self, mut splices: Vec<Splice>, path: &[&str], value: Option<&Value>) -> Result<()> {
        let mut wanted = self.says()?;
        match value {
            Some(value) => put(&mut wanted, path, value),
            None => take(&mut wanted, path),
        }
        let mut edited = Self { text: String::new(), ..self.clone() };
        splices.sort_by_key(|(at, _)| at.start);
        let mut done = 0;
        for (at, text) in splices {
            // Two removed tables may share the blank line between them.
            edited.text.push_str(self.text.get(done..at.start).unwrap_or_default());
            edited.text.push_str(&text);
            done = at.end.max(done);
        }
        edited.text.push_str(&self.text[done..]);
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            let open = edited.text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text));
            edited.text.truncate(open.unwrap_or(&edited.text).len());
        }
        match edited.says() {
            Ok(says) if bare(says.clone()) == bare(wanted) => {
                *self = edited;
                Ok(())
            }
            _ => Err(self.refused(path)),
        }
    }

    fn says(&self) -> Result<toml::Table> {
        parse(&self.text, &self.path)
    }

    fn refused(&self, path: &[&str]) -> Error {
        let shown = self.path.display();
        let why = format!("{} in {shown} has a form that cannot be edited from here", path.join("."));
        Error::new(Kind::Config, why).hint("edit the file by hand; it was not changed")
    }

    /// Returns the document's line end.
    fn newline(&self) -> &'static str {
        match self.text.split_once('\n') {
            Some((first, _)) if first.ends_with('\r') => "\r\n",
            _ => "\n",
        }
    }

    fn line_start(&self, at: usize) -> usize {
        self.text[..at].rfind('\n').map_or(0, |line| line + 1)
    }

    /// Returns the start of the next line.
    fn line_end(&self, at: usize) -> usize {
        self.text[at..].find('\n').map_or(self.text.len(), |line| at + line + 1)
    }

    /// Returns the start and the text of the line above.
    fn line_above(&self, start: usize) -> Option<(usize, &str)> {
        let above = self.line_start(start.checked_sub(1)?);
        Some((above, self.text[above..start].trim()))
    }

    fn is_blank(&self, start: usize) -> bool {
        start < self.text.len() && self.text[start..self.line_end(start)].trim().is_empty()
    }

    /// Inserts a line below the one at this byte.
    fn below(&self, at: usize, line: &str) -> Splice {
        let (end, newline) = (self.line_end(at), self.newline());
        let line = match self.text[..end].ends_with('\n') {
            true => format!("{line}{newline}"),
            false => format!("{newline}{line}"),
        };
        (end..end, line)
    }

    /// Inserts a line before all tables, below the comment at the start of the file.
    fn at_the_top(&self, line: &str) -> Splice {
        let newline = self.newline();
        let mut at = 0;
        while self.text[at..].starts_with('#') {
            at = self.line_end(at);
        }
        at = if at > 0 && self.is_blank(at) { self.line_end(at) } else { 0 };
        let gap = if at == self.text.len() || self.is_blank(at) { "" } else { newline };
        (at..at, format!("{line}{newline}{gap}"))
    }

    /// Appends a table.
    fn appended(&self, path: &[&str], line: &str) -> Splice {
        let (end, newline) = (self.text.len(), self.newline());
        let gap = match (self.text.is_empty(), self.text.ends_with('\n')) {
            (true, _) => String::new(),
            (_, true) => newline.to_owned(),
            (_, false) => newline.repeat(2),
        };
        (end..end, format!("{gap}[{}]{newline}{line}{newline}", key(path)))
    }

    /// Removes the lines of a value, and one of two blank lines that would meet.
    fn without_lines(&self, at: Range<usize>) -> Splice {
        let (start, end) = (self.line_start(at.start), self.line_end(at.end));
        let blank_above = self.line_above(start).is_none_or(|(_, above)| above.is_empty());
        let end = if blank_above && self.is_blank(end) { self.line_end(end) } else { end };
        (start..end, String::new())
    }

    /// Removes a table, its subtables and the comment directly above its header, but not a comment that belongs to the
    /// table above or to the start of the file.
    fn without_table(&self, table: &Table, splices: &mut Vec<Splice>) {
        let header = header_of(table);
        if let Some(header) = &header {
            let end = self.line_end(own_end(table).unwrap_or(header.end));
            let mut start = self.line_start(header.start);
            let own_start = start;
            while let Some((above, _)) = self.line_above(start).filter(|(_, text)| text.starts_with('#')) {
                start = above;
            }
            let stands_alone = self.line_above(start).is_some_and(|(_, above)| above.is_empty());
            start = if stands_alone { start } else { own_start };
            let end = match self.line_above(start) {
                None if self.is_blank(end) => self.line_end(end),
                Some((above, "")) => {
                    start = above;
                    end
                }
                _ => end,
            };
            splices.push((start..end, String::new()));
        }
        for (name, item) in table {
            match item {
                Item::Table(inner) if header.is_none() || !inner.is_dotted() => {
                    self.without_table(inner, splices)
                }
                Item::Value(value) if header.is_none() => {
                    let start = table.key(name).and_then(Key::span).unwrap_or_default().start;
                    splices.push(self.without_lines(start..value.span().unwrap_or_default().end));
                }
                _ => {}
            }
        }
    }

    /// Sets or removes a value in an inline table.
    fn inline(&self, at: Range<usize>, path: &[&str], value: Option<&Value>) -> Splice {
        let snippet = &self.text[at.clone()];
        let mut holder: DocumentMut = format!("x = {snippet}").parse().unwrap_or_default();
        if let Some(table) = holder.get_mut("x").and_then(Item::as_inline_table_mut) {
            edit_inline(table, path, value);
        }
        let mut text = holder.to_string();
        if snippet.contains("\r\n") {
            text = text.replace('\n', "\r\n");
        }
        (at, text.trim_end().strip_prefix("x = ").unwrap_or_default().to_owned())
    }
}

fn find<'a>(root: &'a Table, path: &[&str]) -> Option<Found<'a>> {
    let (mut table, mut header) = (root, 0);
    for (depth, name) in path.iter().enumerate() {
        let last = depth + 1 == path.len();
        match table.get_key_value(name) {
            None => return Some(Found::Missing { table, depth, header }),
            Some((key, Item::Value(value))) if last => {
                return Some(Found::Value(key.span()?.start, value.span()?));
            }
            Some((_, Item::Value(Value::InlineTable(inline)))) => {
                return Some(Found::Inline(inline.span()?, depth + 1));
            }
            Some((_, Item::Table(next))) => {
                table = next;
                if !next.is_dotted() && !next.is_implicit() {
                    header = depth + 1;
                }
            }
            Some(_) => return None,
        }
    }
    Some(Found::Table(table))
}

/// Returns the range of a table's `[header]`, if it has one.
fn header_of(table: &Table) -> Option<Range<usize>> {
    table.span().filter(|_| !table.is_dotted() && !table.is_implicit())
}

/// Returns the end of a table's lines below its own header.
fn own_end(table: &Table) -> Option<usize> {
    let end = |item: &Item| match item {
        Item::Value(value) => value.span().map(|span| span.end),
        Item::Table(inner) if inner.is_dotted() => own_end(inner),
        _ => None,
    };
    table.iter().filter_map(|(_, item)| end(item)).max()
}

fn key(path: &[&str]) -> String {
    path.iter().map(|name| Key::new(*name).to_string()).collect::<Vec<_>>().join(".")
}

fn line(path: &[&str], value: &Value) -> String {
    format!("{} = {}", key(path), value.to_string().trim())
}

/// Sets or removes a value, keeping the space before the closing brace.
fn edit_inline(table: &mut InlineTable, path: &[&str], value: Option<&Value>) {
    let Some((name, rest)) = path.split_first() else { return };
    if let Some(inner) = table.get_mut(name) {
        match (inner.as_inline_table_mut(), value) {
            (Some(inner), _) if !rest.is_empty() => return edit_inline(inner, rest, value),
            (_, Some(value)) => {
                let decor = inner.decor().clone();
                *inner = value.clone();
                *inner.decor_mut() = decor;
                return;
            }
            _ => {}
        }
    }
    let space = table.iter_mut().last().map(|(_, last)| last.decor().clone());
    match value {
        Some(value) => {
            let mut value = value.clone();
            for name in rest.iter().rev() {
                let mut inner = InlineTable::new();
                inner.insert(*name, value);
                value = inner.into();
            }
            if let Some((_, last)) = table.iter_mut().last() {
                last.decor_mut().set_suffix("");
            }
            table.insert(*name, value);
        }
        None => drop(table.remove(name)),
    }
    if let (Some(space), Some((_, last))) = (space, table.iter_mut().last()) {
        last.decor_mut().set_suffix(space.suffix().cloned().unwrap_or_default());
    }
}

/// Sets a value in a parsed document.
fn put(table: &mut toml::Table, path: &[&str], value: &Value) {
    let Some((name, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        let holder: toml::Table = toml::from_str(&format!("x = {value}")).unwrap_or_default();
        table.extend(holder.into_iter().map(|(_, value)| ((*name).to_owned(), value)));
        return;
    }
    let inner = table.entry(*name).or_insert_with(|| toml::Table::new().into());
    if let Some(inner) = inner.as_table_mut() {
        put(inner, rest, value);
    }
}

/// Removes a value from a parsed document.
fn take(table: &mut toml::Table, path: &[&str]) {
    match path {
        [] => {}
        [name] => drop(table.remove(*name)),
        [name, rest @ ..] => {
            if let Some(inner) = table.get_mut(*name).and_then(toml::Value::as_table_mut) {
                take(inner, rest);
            }
        }
    }
}

/// Removes empty tables: whether one exists can depend on how its last value was written.
fn bare(table: toml::Table) -> toml::Table {
    let inner = |(name, value)| match value {
        toml::Value::Table(table) => (name, toml::Value::Table(bare(table))),
        other => (name, other),
    };
    let is_empty = |value: &toml::Value| value.as_table().is_some_and(toml::Table::is_empty);
    table.into_iter().map(inner).filter(|(_, value)| !is_empty(value)).collect()
}

#[cfg(test)]
mod tests;
