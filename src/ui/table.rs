//! Rows as tables, for people and for programs.
//!
//! Refuses to split a word, an identifier or a URI: a column that has no room for its own is left out, and named.

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Map, Value};
use unicode_width::UnicodeWidthStr;

use super::clean;

/// Columns between two columns.
const GAP: usize = 2;
/// The narrowest column in which cut text still says something.
const NARROWEST: usize = 16;
/// Names of columns that say what a row is, then how it is.
const TELLING: [&[&str]; 2] = [
    &["name", "title", "tool", "prompt", "subject", "field", "value", "profile", "about"],
    &["status", "state", "priority", "due", "due_date", "duedate", "message", "error"],
];

/// Columns of asistry's own tables that are never left out.
const DECIDING: &[&str] = &["profile", "name", "field", "where", "value", "key"];

/// A list of objects, or other rows under their heads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// The heads: all names that occur, in the order in which they first do.
    pub columns: Vec<String>,
    /// The cells; an absent value is empty.
    pub rows: Vec<Vec<String>>,
    /// Which columns stay where there is no room for all.
    keep: Keep,
    /// What becomes of a text that is wider than its column.
    overlong: Overlong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    /// Those that say most.
    Telling,
    /// The first ones.
    First,
    /// All, because they were asked for; as records where they do not fit.
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overlong {
    Cut,
    Wrap,
}

/// A table, and what it has no room for.
#[derive(Debug, PartialEq, Eq)]
pub struct Drawn {
    /// The lines.
    pub text: String,
    /// The columns that are left out.
    pub omitted: Vec<String>,
}

impl Rows {
    /// Reads a list of objects; `None` for anything else, and for an empty list.
    pub fn read(value: &Value) -> Option<Self> {
        let items = value.as_array().filter(|items| !items.is_empty())?;
        let mut columns: Vec<String> = Vec::new();
        for item in items {
            for name in item.as_object()?.keys() {
                if !columns.iter().any(|known| known == name) {
                    columns.push(name.clone());
                }
            }
        }
        let row = |item: &Value| columns.iter().map(|name| cell(&item[name.as_str()])).collect();
        let rows = items.iter().map(row).collect();
        Some(Self { columns, rows, keep: Keep::Telling, overlong: Overlong::Cut })
    }

    /// Makes a row of each field of an object.
    pub fn of_object(fields: &Map<String, Value>) -> Self {
        let rows = fields.iter().map(|(name, value)| vec![name.clone(), cell(value)]).collect();
        Self::under(&["field", "value"], rows)
    }

    /// Makes a row of each item of a list.
    pub fn of_items(items: &[Value]) -> Self {
        Self::under(&["value"], items.iter().map(|item| vec![cell(item)]).collect())
    }

    /// Takes rows as they are, under these heads; where there is little room, the last columns are left out.
    pub fn under(heads: &[&str], rows: Vec<Vec<String>>) -> Self {
        let columns = heads.iter().map(|head| (*head).to_owned()).collect();
        Self { columns, rows, keep: Keep::First, overlong: Overlong::Wrap }
    }

    /// Returns these columns, if there are all of them.
    pub fn only(&self, fields: &[String]) -> Option<Self> {
        let plain = |name: &str| name.to_lowercase().replace(['_', '-'], " ");
        let place = |field: &String| self.columns.iter().position(|head| plain(head) == plain(field));
        let places: Vec<usize> = fields.iter().map(place).collect::<Option<_>>()?;
        let chosen = |row: &Vec<String>| places.iter().map(|at| row[*at].clone()).collect();
        let (columns, rows) = (chosen(&self.columns), self.rows.iter().map(chosen).collect());
        Some(Self { columns, rows, ..*self }.keeping_all())
    }

    /// Shows every column, however narrow the terminal is.
    #[must_use]
    pub fn keeping_all(self) -> Self {
        Self { keep: Keep::All, ..self }
    }

    /// Returns the rows separated by tabs, without heads; a tab or a line break in a cell is escaped.
    pub fn tsv(&self) -> String {
        let escaped = |cell: &String| {
            cell.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r")
        };
        let line = |row: &Vec<String>| row.iter().map(escaped).collect::<Vec<_>>().join("\t");
        self.rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Draws the columns that say most in `width`; as records where there is no room.
    pub fn table(&self, width: usize) -> Drawn {
        let columns: Vec<Column> = (0..self.columns.len()).map(|at| self.column(at)).collect();
        let is_shown = |at: &usize| !columns[*at].is_empty || self.keep == Keep::All;
        let mut order: Vec<usize> = (0..columns.len()).filter(is_shown).collect();
        // What decides is shown however wide it is: a terminal wraps it, and it can be copied whole.
        let decides = |at: usize| self.decides(at, &columns[at]);
        order.sort_by_key(|at| (!decides(*at), columns[*at].rank));
        let (mut chosen, mut used) = (Vec::new(), 0);
        for &at in &order {
            let gap = if chosen.is_empty() { 0 } else { GAP };
            if decides(at) || used + gap + columns[at].least <= width {
                used += gap + columns[at].least;
                chosen.push(at);
            }
        }
        if chosen.is_empty() || self.keep == Keep::All && chosen.len() < order.len() {
            return Drawn { text: self.records(), omitted: Vec::new() };
        }
        chosen.sort_unstable();
        let omitted = (0..columns.len()).filter(|at| is_shown(at) && !chosen.contains(at));
        let omitted = omitted.map(|at| self.columns[at].clone()).collect();
        let widths =
            widened(&chosen.iter().map(|at| &columns[*at]).collect::<Vec<_>>(), width.saturating_sub(used));
        Drawn { text: self.drawn(&chosen, &widths), omitted }
    }

    fn decides(&self, at: usize, column: &Column) -> bool {
        let head = &*self.columns[at].to_lowercase();
        // Such as the one of the current key.
        let are_marks = head.is_empty() && column.natural == 1;
        match self.keep {
            // Names and values without heads are nothing without the values.
            Keep::First => are_marks || DECIDING.contains(&head) || self.columns.iter().all(String::is_empty),
            Keep::Telling => head == "uri",
            Keep::All => false,
        }
    }

    fn drawn(&self, chosen: &[usize], widths: &[usize]) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        let heads: Vec<String> = chosen.iter().map(|at| head(&self.columns[*at])).collect();
        if heads.iter().any(|head| !head.is_empty()) {
            table.set_header(heads);
        }
        for row in &self.rows {
            let cells = chosen.iter().zip(widths).map(|(at, width)| match self.overlong {
                Overlong::Cut => cut(&row[*at], *width),
                Overlong::Wrap => wrapped(&row[*at], *width).join("\n"),
            });
            table.add_row(cells.collect::<Vec<_>>());
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, GAP as u16));
        }
        table.trim_fmt()
    }

    fn column(&self, at: usize) -> Column {
        let name = &self.columns[at];
        let cells = || self.rows.iter().map(move |row| row[at].as_str());
        let head_width = head(name).width();
        let natural = cells().map(|cell| self.natural(cell)).max().unwrap_or(0).max(head_width);
        let least = cells().map(|cell| self.least(cell)).max().unwrap_or(0).max(head_width);
        let is_empty = cells().all(str::is_empty);
        let rank = match self.keep {
            Keep::First | Keep::All => 0,
            Keep::Telling => self.rank(name, at, least),
        };
        Column { natural, least: least.min(natural), is_empty, rank }
    }

    fn natural(&self, cell: &str) -> usize {
        match self.overlong {
            Overlong::Cut => one_line(cell).width(),
            Overlong::Wrap => clean(cell).lines().map(UnicodeWidthStr::width).max().unwrap_or(0),
        }
    }

    /// Returns the width below which something would be split.
    fn least(&self, cell: &str) -> usize {
        let words = cell.split_whitespace();
        match self.overlong {
            Overlong::Cut if !is_whole(cell) => NARROWEST,
            Overlong::Cut => one_line(cell).width(),
            Overlong::Wrap if is_json(cell) => NARROWEST,
            Overlong::Wrap => words.filter(|word| !breaks_anywhere(word)).map(str::width).max().unwrap_or(1),
        }
    }

    /// The lower, the more a column says.
    fn rank(&self, name: &str, at: usize, least: usize) -> usize {
        let lower = name.to_lowercase();
        let mut cells = self.rows.iter().map(|row| &row[at]);
        if cells.clone().any(|cell| is_json(cell)) {
            return 7;
        }
        let told = TELLING.iter().position(|names| names.contains(&lower.as_str()));
        let rank = match told {
            Some(rank) => rank,
            None if lower == "id" && least <= NARROWEST => 0,
            None if matches!(lower.as_str(), "id" | "key" | "uri" | "uritemplate" | "url" | "slug") => 2,
            None if lower.ends_with("id") => 4,
            None => 3,
        };
        // A column with the same value in each row says little.
        let first = cells.next();
        let same = self.rows.len() > 1 && cells.all(|cell| Some(cell) == first);
        if same && rank > 0 { rank + 2 } else { rank }
    }

    fn records(&self) -> String {
        let width = self.columns.iter().map(|name| clean(name).width()).max().unwrap_or(0);
        let record = |row: &Vec<String>| {
            let fields = self.columns.iter().zip(row);
            let fields = fields.filter(|(_, cell)| !cell.is_empty() || self.keep == Keep::All);
            let lines = fields.map(|(name, cell)| format!("{:width$}  {}", clean(name), clean(cell)));
            lines.map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
        };
        self.rows.iter().map(record).collect::<Vec<_>>().join("\n\n")
    }
}

struct Column {
    natural: usize,
    least: usize,
    is_empty: bool,
    rank: usize,
}

/// Shares the room that is left among the columns that want more.
fn widened(columns: &[&Column], mut left: usize) -> Vec<usize> {
    let mut widths: Vec<usize> = columns.iter().map(|column| column.least).collect();
    let mut wanting: Vec<usize> = (0..columns.len()).collect();
    wanting.sort_by_key(|at| columns[*at].natural - columns[*at].least);
    for (done, &at) in wanting.iter().enumerate() {
        let share = left / (wanting.len() - done);
        let more = (columns[at].natural - columns[at].least).min(share);
        widths[at] += more;
        left -= more;
    }
    widths
}

fn head(name: &str) -> String {
    clean(name).to_uppercase()
}

fn is_json(cell: &str) -> bool {
    cell.starts_with('{') || cell.starts_with("[{") || cell.starts_with("[[")
}

/// Says whether a character belongs to a script without spaces, whose texts break after any character.
fn is_ideograph(c: char) -> bool {
    c >= '\u{2e80}'
}

fn breaks_anywhere(word: &str) -> bool {
    word.contains(is_ideograph)
}

/// Says whether a cell is one word, such as an identifier or a URI, that makes no sense when it is cut.
fn is_whole(cell: &str) -> bool {
    !breaks_anywhere(cell) && !cell.contains(char::is_whitespace) && !is_json(cell)
}

fn one_line(cell: &str) -> String {
    clean(&cell.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Cuts a text after its last word that fits; a script without spaces, and JSON, after a character.
fn cut(text: &str, width: usize) -> String {
    let line = one_line(text);
    if line.width() <= width {
        return line;
    }
    let mut end = 0;
    for (at, c) in line.char_indices() {
        let next = at + c.len_utf8();
        if line[..at].width() >= width {
            break;
        }
        let before_space = line[next..].starts_with(' ');
        let breakable = before_space || is_json(text) || is_ideograph(c);
        let room = width - usize::from(before_space);
        if breakable && line[..next].width() < room {
            end = next;
        }
    }
    let kept = line[..end].trim_end();
    if line[end..].starts_with(' ') { format!("{kept} …") } else { format!("{kept}…") }
}

/// Breaks a text between words into lines of at most `width`; a longer word stands alone. Line breaks stay.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in clean(text).replace('\t', " ").lines() {
        let indent: String = paragraph.chars().take_while(|c| *c == ' ').collect();
        let mut line = indent.clone();
        for word in paragraph.split_whitespace().flat_map(|word| pieces(word, width)) {
            if line.len() > indent.len() {
                if line.width() + 1 + word.width() > width {
                    lines.push(std::mem::replace(&mut line, indent.clone()));
                } else {
                    line.push(' ');
                }
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

/// A word of a script without spaces, and JSON, may be broken where it must.
fn pieces(word: &str, width: usize) -> Vec<&str> {
    if word.width() <= width || (!breaks_anywhere(word) && !is_json(word)) {
        return vec![word];
    }
    let (mut pieces, mut begin) = (Vec::new(), 0);
    for (at, c) in word.char_indices() {
        if at > begin && word[begin..at + c.len_utf8()].width() > width {
            pieces.push(&word[begin..at]);
            begin = at;
        }
    }
    pieces.push(&word[begin..]);
    pieces
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(|item| item.is_string() || item.is_number()) => {
            items.iter().map(cell).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(value: &Value) -> Rows {
        Rows::read(value).unwrap()
    }

    fn tasks() -> Rows {
        let id = |n: u32| format!("3f2504e0-4f89-41d3-9a0c-0305e82c33{n:02}");
        let task = |n: u32, title: &str, status: &str| {
            json!({"id": id(n), "title": title, "workspace_id": "w-17", "status": status, "assignee": null,
                "notes": null, "url": format!("https://tasks.example/workspaces/w-17/tasks/{}", id(n)),
                "meta": {"created": "2026-11-01", "by": "someone"}, "labels": []})
        };
        rows(&json!([
            task(1, "Write down what the new invoices need before they can be sent", "in_progress"),
            task(2, "Tea", "todo"),
        ]))
    }

    #[test]
    fn what_decides_is_shown_however_narrow_it_is() {
        let url = "https://api-bobstudio.original.land/mcp";
        let row = ["bob-studio", "bob-studio", url, "default"].map(str::to_owned).to_vec();
        let drawn = Rows::under(&["PROFILE", "SERVICE", "WHERE", ""], vec![row]).table(40);
        assert!(drawn.text.contains(url) && drawn.text.contains("bob-studio"), "{}", drawn.text);
        assert_eq!(drawn.omitted, ["SERVICE", ""]);
        let pairs = vec![vec!["origin".to_owned(), url.to_owned()]];
        assert!(Rows::under(&["", ""], pairs).table(40).text.contains(url));
        let heads = ["", "PROFILE", "NAME", "KEY", "ORIGIN"];
        let row = |mark: &str, name: &str| [mark, "agentstack", name, "anon_ask_…x9", url].map(str::to_owned);
        let drawn =
            Rows::under(&heads, vec![row("*", "default").into(), row("", "default.session_token").into()])
                .table(40);
        assert!(drawn.text.contains("\n*  agentstack") && drawn.omitted == ["ORIGIN"], "{}", drawn.text);
        let uri = "file:///a/very/long/path/to/a/resource.md";
        let list =
            serde_json::json!([{"name": "A resource with a name", "uri": uri, "type": "text/markdown"}]);
        assert!(Rows::read(&list).is_some_and(|rows| rows.table(40).text.contains(uri)));
    }

    #[test]
    fn a_list_of_objects_is_read_as_rows() {
        let list = rows(&json!([
            {"id": 1, "title": "a\tb\nc", "labels": ["x", "y"], "open": true},
            {"id": 2, "more": {"k": null}, "title": null},
        ]));
        assert_eq!(list.columns, ["id", "title", "labels", "open", "more"]);
        assert_eq!(list.tsv(), "1\ta\\tb\\nc\tx, y\ttrue\t\n2\t\t\t\t{\"k\":null}");
        for other in [json!([]), json!([1]), json!({}), json!([{"a": 1}, 2]), json!("x")] {
            assert_eq!(Rows::read(&other), None, "{other}");
        }
        assert_eq!(list.only(&["title".into(), "ID".into()]).unwrap().columns, ["title", "id"]);
        assert_eq!(list.only(&["nothing".into()]), None);
    }

    #[test]
    fn at_every_width_the_columns_that_say_most_are_whole() {
        let narrow = tasks().table(40);
        assert_eq!(
            narrow.text,
            "TITLE                      STATUS\nWrite down what the new …  in_progress\nTea                        todo"
        );
        assert_eq!(narrow.omitted, ["id", "workspace_id", "url", "meta"]);
        let usual = tasks().table(80);
        assert!(usual.text.starts_with("ID ") && usual.text.contains("  TITLE"), "{}", usual.text);
        assert!(usual.text.contains("3f2504e0-4f89-41d3-9a0c-0305e82c3301  Write down"), "{}", usual.text);
        let wide = tasks().table(200);
        assert!(wide.text.contains("/tasks/3f2504e0-4f89-41d3-9a0c-0305e82c3302"), "{}", wide.text);
        for (drawn, width) in [(narrow, 40), (usual, 80), (tasks().table(120), 120), (wide, 200)] {
            assert!(drawn.text.lines().all(|line| line.width() <= width), "{width}: {}", drawn.text);
            for empty in ["ASSIGNEE", "NOTES", "LABELS"] {
                assert!(!drawn.text.contains(empty), "{width}: {}", drawn.text);
            }
        }
    }

    #[test]
    fn what_has_no_room_at_all_is_shown_as_records() {
        let long = "https://tasks.example/".repeat(3);
        let drawn = rows(&json!([{"url": long, "empty": null}])).table(40);
        assert_eq!(drawn.text, format!("url    {long}"));
        let escape = rows(&json!([{"text": "\u{1b}[31mred"}])).table(40).text;
        assert!(!escape.contains('\u{1b}'), "{escape}");
    }

    #[test]
    fn texts_break_between_words() {
        assert_eq!(wrapped("one two  three\nfour", 8), ["one two", "three", "four"]);
        assert_eq!(wrapped("see https://h.example/a/b now", 10), ["see", "https://h.example/a/b", "now"]);
        assert_eq!(wrapped("茶を入れる", 4), ["茶を", "入れ", "る"]);
        assert_eq!(wrapped("  a b", 4), ["  a", "  b"]);
        for (text, width, shown) in [
            ("one two three", 13, "one two three"),
            ("one two three", 12, "one two …"),
            ("one two three", 8, "one …"),
            ("one two three", 2, "…"),
            ("茶を入れる", 6, "茶を…"),
            ("one\ntwo", 10, "one two"),
        ] {
            assert_eq!(cut(text, width), shown, "{text} {width}");
        }
    }

    #[test]
    fn rows_of_ours_wrap_and_leave_their_last_columns_out() {
        let row = vec!["work".into(), "added by hand a week ago".into(), "3f2504e0-4f89-41d3".into()];
        let rows = Rows::under(&["NAME", "NOTE", "ITEM"], vec![row]);
        assert_eq!(
            rows.table(40).text,
            "NAME  NOTE           ITEM\nwork  added by hand  3f2504e0-4f89-41d3\n      a week ago"
        );
        assert_eq!(rows.table(24).omitted, ["ITEM"]);
    }
}
