//! Asistry's search: the same results as comparing every task, from databases of every version, and in time.

use super::*;
use rusqlite::{Connection, params};

/// How long `list_tasks` and `search_tasks` may take with 10,000 tasks. The tests allow ten times as long: they are
/// not optimized, and the machine is busy.
const DEADLINE: Duration = Duration::from_millis(10);

/// Folds as the sandbox does; written again, so that one mistake is not made twice.
fn folded(text: &str) -> String {
    text.chars().map(|c| c.to_uppercase().collect::<String>().to_lowercase()).collect()
}

/// Makes a database as version 2 was, with these tasks: title and description.
async fn version_2(home: &Path, tasks: &[(String, Option<String>)]) {
    directory(home).await.stop().await;
    let mut database = Connection::open(home.join("sandbox.db")).unwrap();
    let change = database.transaction().unwrap();
    change
        .execute_batch(
            "DROP TRIGGER asistry_search_insert; DROP TRIGGER asistry_search_update;
             DROP TRIGGER asistry_search_delete; DROP TABLE asistry_search; DROP INDEX asistry_task_newest;
             DROP INDEX asistry_task_assignee; DROP INDEX asistry_task_board; DROP TABLE recent_call; PRAGMA user_version = 2;",
        )
        .unwrap();
    let mut insert = change
        .prepare(
            "INSERT INTO asistry_task (id, workspace_id, board_id, column_id, title, description, status, priority,
                 assignee, labels)
             SELECT ?1, b.workspace_id, b.id, c.id, ?2, ?3, c.status, 'medium', ?4, '[]'
             FROM asistry_board b JOIN asistry_column c ON c.board_id = b.id
             WHERE b.position = 0 AND c.position = ?5",
        )
        .unwrap();
    for (n, (title, description)) in tasks.iter().enumerate() {
        let id = format!("00000000-0000-4000-8000-{n:012}");
        let assignee = if n % 1_000 == 0 { "ana" } else { "ben" };
        insert.execute(params![id, title, description, assignee, (n % 3) as i64]).unwrap();
    }
    drop(insert);
    change.commit().unwrap();
}

fn many(count: usize) -> Vec<(String, Option<String>)> {
    let words =
        ["Login", "payment", "Straße", "ΟΔΟΣ", "Приветствие", "ärger", "invoice", "東京タワー", "İstanbul"];
    let word = |n: usize| words[n % words.len()];
    (0..count)
        .map(|n| {
            let description =
                format!("<p>{} {} {} of run {n}</p>", word(n / 7), word(n / 3), word(n * 5 + 2));
            (format!("Task {n}: {} {}", word(n), word(n / 9)), (n % 4 != 0).then_some(description))
        })
        .collect()
}

#[tokio::test]
async fn a_search_finds_what_comparing_every_task_finds() {
    let home = tempfile::tempdir().unwrap();
    let mut tasks = many(300);
    let odd = [
        "a\0bcd",
        "\u{fffd}\u{ffff}xy",
        "\"quoted\" AND NOT",
        "ﬁnal ﬂow",
        "Ǆ ǅ ǆ",
        "e\u{301}t\u{e9}",
        "K kelvin",
        "x% _y* ^z",
    ];
    tasks.extend(odd.iter().map(|text| ((*text).to_owned(), None)));
    version_2(home.path(), &tasks).await;
    let sandbox = directory(home.path()).await;
    let queries = [
        "login",
        "OGI",
        "STRASSE",
        "straße",
        "aße",
        "οδος",
        "ΔΟΣ",
        "привет",
        "ÄRG",
        "京タワ",
        "i̇st",
        "ist",
        "o",
        "in",
        "ru",
        "of run 29",
        "a\0b",
        "bcd",
        "\u{fffd}",
        "\"quoted\"",
        "AND NOT",
        "\" and",
        "final",
        "ﬁn",
        "ǆ ǆ",
        "éte",
        "e\u{301}t",
        "k kel",
        "% _y*",
        "^z",
        "_",
        "nowhere",
        "*",
        "task 1",
        ": payment p",
    ];
    for query in queries {
        let wanted = folded(query);
        let holds = |text: &str| folded(text).contains(&wanted);
        let expected: Vec<&String> = tasks
            .iter()
            .rev()
            .filter(|(title, description)| holds(title) || description.as_deref().is_some_and(holds))
            .map(|(title, _)| title)
            .take(100)
            .collect();
        let found = titles(&sandbox, "search_tasks", json!({"query": query, "limit": 100})).await;
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{query}");
        assert!(["nowhere", "éte", "ist"].contains(&query) || !found.is_empty(), "{query} is in some text");
    }
}

#[tokio::test]
async fn a_search_sees_every_change_of_a_task() {
    let home = tempfile::tempdir().unwrap();
    let sandbox = directory(home.path()).await;
    let search = async |query: &str| titles(&sandbox, "search_tasks", json!({"query": query})).await;
    let id = call(&sandbox, "create_task", json!({"title": "Größe", "description": "Maßband"})).await["id"]
        .clone();
    assert_eq!(
        (search("GRÖSSE").await, search("massb").await),
        (vec!["Größe".to_owned()], vec!["Größe".into()])
    );
    call(&sandbox, "update_task", json!({"id": id, "title": "Länge"})).await;
    assert_eq!((search("grösse").await, search("massb").await), (vec![], vec!["Länge".to_owned()]));
    call(&sandbox, "update_task", json!({"id": id, "description": "Zollstock", "status": "done"})).await;
    assert_eq!((search("massb").await, search("ZOLL").await), (vec![], vec!["Länge".to_owned()]));
    let in_review = json!({"query": "länge", "status": "review"});
    assert!(titles(&sandbox, "search_tasks", in_review).await.is_empty());
    let database = Connection::open(home.path().join("sandbox.db")).unwrap();
    database.execute("DELETE FROM asistry_task", []).unwrap();
    assert!(search("län").await.is_empty() && search("lä").await.is_empty());
    database.execute("INSERT INTO asistry_search (asistry_search) VALUES ('integrity-check')", []).unwrap();
}

#[tokio::test]
async fn a_reset_empties_the_index_too() {
    let home = tempfile::tempdir().unwrap();
    let sandbox = start(Data::Directory(home.path().into()), true).await;
    call(&sandbox, "create_task", json!({"title": "before the reset"})).await;
    sandbox.stop().await;
    reset(home.path()).unwrap();
    let sandbox = start(Data::Directory(home.path().into()), true).await;
    assert!(titles(&sandbox, "search_tasks", json!({"query": "reset"})).await.is_empty());
    call(&sandbox, "create_task", json!({"title": "after the reset"})).await;
    assert_eq!(titles(&sandbox, "search_tasks", json!({"query": "RESET"})).await, ["after the reset"]);
}

#[tokio::test]
async fn a_megabyte_of_text_is_found_by_a_megabyte_of_query() {
    let sandbox = memory().await;
    let text = "Ærø ".repeat(150_000);
    call(&sandbox, "create_task", json!({"title": "long", "description": text})).await;
    for (query, found) in [(text.to_uppercase(), 1), (format!("{text}x"), 0), ("x".repeat(1 << 20), 0)] {
        let found_now = titles(&sandbox, "search_tasks", json!({"query": query.trim()})).await.len();
        assert_eq!(found_now, found);
    }
}

#[tokio::test]
async fn ten_thousand_tasks_are_listed_and_searched_in_time() {
    let home = tempfile::tempdir().unwrap();
    version_2(home.path(), &many(10_000)).await;
    let sandbox = directory(home.path()).await;
    for (tool, arguments, count) in [
        ("list_tasks", json!({}), 50),
        ("list_tasks", json!({"limit": 100}), 100),
        ("list_tasks", json!({"status": "todo", "limit": 100}), 100),
        ("list_tasks", json!({"status": "done"}), 0),
        ("list_tasks", json!({"assignee": "ana", "limit": 100}), 10),
        ("list_tasks", json!({"assignee": "nobody"}), 0),
        ("search_tasks", json!({"query": "login"}), 50),
        ("search_tasks", json!({"query": "login", "status": "done"}), 0),
        ("search_tasks", json!({"query": "RUN 9999"}), 1),
        ("search_tasks", json!({"query": "nowhere to be found"}), 0),
        ("search_tasks", json!({"query": "东京"}), 0),
        ("search_tasks", json!({"query": "京タ"}), 50),
    ] {
        let mut quickest = Duration::MAX;
        for _ in 0..5 {
            let begun = Instant::now();
            assert_eq!(titles(&sandbox, tool, arguments.clone()).await.len(), count, "{tool} {arguments}");
            quickest = quickest.min(begun.elapsed());
        }
        println!("{tool} {arguments}: {quickest:?}");
        assert!(quickest < DEADLINE * 10, "{tool} {arguments}: {quickest:?}");
    }
}
