//! Asistry's search: folded copies of the tasks' texts, and an index of their trigrams.
//!
//! FTS5's own folding is not that of [`folded`](crate::sandbox::text::folded): `ß` does not match `SS`. So it indexes
//! folded copies as they are. Triggers keep them right whatever writes a task; they need the SQL function `folded`.

/// The index, the indexes that lists use, and the index's content for the tasks that there are.
pub(in crate::sandbox) const SCHEMA: &str = "
CREATE VIRTUAL TABLE asistry_search USING fts5 (
    folded_title, folded_description, tokenize = 'trigram case_sensitive 1'
);
INSERT INTO asistry_search (rowid, folded_title, folded_description)
    SELECT rowid, folded(title), folded(description) FROM asistry_task;
CREATE TRIGGER asistry_search_insert AFTER INSERT ON asistry_task BEGIN
    INSERT OR REPLACE INTO asistry_search (rowid, folded_title, folded_description)
        VALUES (new.rowid, folded(new.title), folded(new.description));
END;
CREATE TRIGGER asistry_search_update AFTER UPDATE OF title, description ON asistry_task
WHEN old.title IS NOT new.title OR old.description IS NOT new.description BEGIN
    INSERT OR REPLACE INTO asistry_search (rowid, folded_title, folded_description)
        VALUES (new.rowid, folded(new.title), folded(new.description));
END;
CREATE TRIGGER asistry_search_delete AFTER DELETE ON asistry_task BEGIN
    DELETE FROM asistry_search WHERE rowid = old.rowid;
END;
CREATE INDEX asistry_task_newest ON asistry_task (workspace_id);
CREATE INDEX asistry_task_assignee ON asistry_task (workspace_id, assignee);
CREATE INDEX asistry_task_board ON asistry_task (board_id);
";

/// How much of a query is looked up; the rest is only compared. Each trigram costs time.
const LOOKED_UP: usize = 64;

/// Returns the FTS5 expression that finds all candidates of a folded query; `None` if only a scan finds them.
///
/// The index has nothing shorter than three characters. An expression ends at a NUL.
pub(super) fn expression(query: &str) -> Option<String> {
    let start: String = query.chars().take(LOOKED_UP).collect();
    if start.contains('\0') || start.chars().count() < 3 {
        return None;
    }
    Some(format!("\"{}\"", start.replace('"', "\"\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_looked_up_as_one_phrase_and_no_character_is_an_operator() {
        assert_eq!(expression("a\" or b*").as_deref(), Some("\"a\"\" or b*\""));
        assert_eq!(expression("äöü").as_deref(), Some("\"äöü\""));
        assert_eq!((expression("äö"), expression("ab\0c")), (None, None));
        assert_eq!(expression(&"x".repeat(1 << 20)).unwrap().len(), LOOKED_UP + 2);
    }
}
