//! Lists of objects as tables, for people and for programs.
//!
//! Refuses to cut anything off: what does not fit into a column is wrapped, and what does not fit into a table
//! at all is shown as records.

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use super::clean;

/// A column that is narrower makes a table hard to read.
const NARROWEST: usize = 12;

/// A list of objects, seen as rows.
#[derive(Debug, PartialEq, Eq)]
pub struct Rows {
    /// All names that occur, in the order in which they first do.
    pub columns: Vec<String>,
    /// The cells; an absent value is empty.
    pub rows: Vec<Vec<String>>,
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
        Some(Self { columns, rows })
    }

    /// Returns the rows separated by tabs, without heads; a tab or a line break in a cell is escaped.
    pub fn tsv(&self) -> String {
        let escaped = |cell: &String| {
            cell.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r")
        };
        let line = |row: &Vec<String>| row.iter().map(escaped).collect::<Vec<_>>().join("\t");
        self.rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Returns a table that is `width` wide at the most, or records where a table would be too narrow.
    pub fn table(&self, width: usize) -> String {
        let used = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let needed: usize = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, head)| used(at).max(head.chars().count()).min(NARROWEST) + 2)
            .sum();
        if needed > width {
            return self.records();
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
        table.set_header(self.columns.iter().map(|name| clean(name).to_uppercase()));
        for row in &self.rows {
            // A tab would shift the columns behind it.
            table.add_row(row.iter().map(|cell| clean(cell).replace('\t', " ")));
        }
        table.trim_fmt()
    }

    fn records(&self) -> String {
        let width = self.columns.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let record = |row: &Vec<String>| {
            let fields = self.columns.iter().zip(row).filter(|(_, cell)| !cell.is_empty());
            let lines = fields.map(|(name, cell)| format!("{:width$}  {}", clean(name), clean(cell)));
            lines.collect::<Vec<_>>().join("\n")
        };
        self.rows.iter().map(record).collect::<Vec<_>>().join("\n\n")
    }
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

    fn rows() -> Rows {
        let value = json!([
            {"id": 1, "title": "a\tb\nc", "labels": ["x", "y"], "open": true},
            {"id": 2, "more": {"k": null}, "title": null},
        ]);
        Rows::read(&value).unwrap()
    }

    #[test]
    fn a_list_of_objects_is_read_as_rows() {
        assert_eq!(rows().columns, ["id", "title", "labels", "open", "more"]);
        assert_eq!(rows().tsv(), "1\ta\\tb\\nc\tx, y\ttrue\t\n2\t\t\t\t{\"k\":null}");
        for other in [json!([]), json!([1]), json!({}), json!([{"a": 1}, 2]), json!("x")] {
            assert_eq!(Rows::read(&other), None, "{other}");
        }
    }

    #[test]
    fn nothing_is_cut_off() {
        let value =
            json!([{"id": 1, "text": "word ".repeat(40).trim_end()}, {"id": 2, "text": "\u{1b}[31mred"}]);
        let rows = Rows::read(&value).unwrap();
        let table = rows.table(40);
        assert_eq!(table.matches("word").count(), 40, "{table}");
        assert!(table.lines().all(|line| line.chars().count() <= 40), "{table}");
        assert!(table.starts_with("ID") || table.starts_with(" ID"), "{table}");
        assert!(!table.contains('\u{1b}'), "{table}");
        let records = rows.table(15);
        assert!(records.contains("id    1\ntext  word word"), "{records}");
        assert_eq!(records.matches("word").count(), 40);
    }
}
