//! The changes that an edit makes, and what it leaves alone.
//!
//! Refuses to be lenient: every comparison is of bytes.

use proptest::prelude::*;

use super::*;

const RICH: &str = include_str!("rich.toml");

fn document(text: &str) -> Document {
    Document::read(text, Path::new("config.toml")).unwrap()
}

fn set(text: &str, path: &[&str], value: &str) -> String {
    let mut document = document(text);
    document.set(path, value.into()).unwrap();
    document.text()
}

fn unset(text: &str, path: &[&str]) -> String {
    let mut document = document(text);
    document.unset(path).unwrap();
    document.text()
}

/// The same text as Windows writes it.
fn windows(text: &str) -> String {
    format!("\u{feff}{}", text.replace('\n', "\r\n"))
}

/// An edit of the rich configuration replaces this by that and nothing else, whatever the line ends are.
fn edits(edit: impl Fn(&str) -> String, this: &str, that: &str) {
    assert_eq!(RICH.matches(this).count(), 1, "{this:?} stands there once");
    let wanted = RICH.replace(this, that);
    assert_eq!(edit(RICH), wanted);
    assert_eq!(edit(&windows(RICH)), windows(&wanted));
    let (open, open_wanted) = (RICH.trim_end(), wanted.trim_end());
    assert_eq!(edit(open), open_wanted);
}

#[test]
fn a_value_is_changed_where_it_stands() {
    let timeout = |text: &str| set(text, &["profiles", "work", "timeout"], "30s");
    edits(timeout, "timeout   =  '5m'   # patient", "timeout   =  \"30s\"   # patient");
    let header = |text: &str| set(text, &["profiles", "work", "headers", "X-Project-ID"], "8");
    edits(header, "X-Project-ID = \"7\"", "X-Project-ID = \"8\"");
    let inline = |text: &str| set(text, &["profiles", "short", "url"], "https://b");
    edits(inline, "url = 'https://a' }", "url = \"https://b\" }");
    let dotted = |text: &str| set(text, &["profiles", "dotted", "url"], "https://b");
    edits(dotted, "dotted.url = 'https://d'", "dotted.url = \"https://b\"");
    let quoted = |text: &str| set(text, &["profiles", "na.me", "url"], "https://b");
    edits(quoted, "url = 'https://n'", "url = \"https://b\"");
    let default = |text: &str| set(text, &["profile"], "short");
    edits(default, "profile = \"work\"", "profile = \"short\"");
    let list = |text: &str| {
        let mut document = document(text);
        document.set(&["profiles", "na.me", "deny_tools"], ["a"].into_iter().collect()).unwrap();
        document.text()
    };
    edits(list, "[\n  'a_*', # one\n  'b_*',\n]", "[\"a\"]");
}

#[test]
fn a_new_value_stands_below_the_last_one_of_its_table() {
    let table = |text: &str| set(text, &["profiles", "work", "drain"], "2s");
    edits(table, "# patient\n", "# patient\ndrain = \"2s\"\n");
    let header = |text: &str| set(text, &["profiles", "work", "headers", "X-B"], "1");
    edits(header, "X-Project-ID = \"7\"\n", "X-Project-ID = \"7\"\nX-B = \"1\"\n");
    let new_header = |text: &str| set(text, &["profiles", "na.me", "headers", "X-B"], "1");
    edits(new_header, "  'b_*',\n]\n", "  'b_*',\n]\nheaders.X-B = \"1\"\n");
    let inline = |text: &str| set(text, &["profiles", "short", "headers", "X-B"], "1");
    edits(inline, "url = 'https://a' }", "url = 'https://a', headers = { X-B = \"1\" } }");
    let dotted = |text: &str| set(text, &["profiles", "dotted", "drain"], "2s");
    edits(dotted, "dotted.url = 'https://d'\n", "dotted.url = 'https://d'\ndotted.drain = \"2s\"\n");
}

#[test]
fn a_value_goes_with_its_line_and_its_neighbours_stay() {
    let timeout = |text: &str| unset(text, &["profiles", "work", "timeout"]);
    edits(timeout, "timeout   =  '5m'   # patient\n", "");
    let inline = |text: &str| unset(text, &["profiles", "short", "url"]);
    edits(inline, ", url = 'https://a' }", " }");
    let list = |text: &str| unset(text, &["profiles", "na.me", "deny_tools"]);
    edits(list, "deny_tools = [\n  'a_*', # one\n  'b_*',\n]\n", "");
    assert_eq!(unset(RICH, &["profiles", "nobody"]), RICH);
}

#[test]
fn a_profile_goes_with_all_its_parts() {
    let work = |text: &str| unset(text, &["profiles", "work"]);
    let start = RICH.find("\n# The shop").unwrap();
    let end = RICH.find("\n# kept: about nothing").unwrap();
    edits(work, &RICH[start..end], "");
    let inline = |text: &str| unset(text, &["profiles", "short"]);
    edits(inline, "short = { service = 'mcp', url = 'https://a' } # inline\n", "");
    let dotted = |text: &str| unset(text, &["profiles", "dotted"]);
    edits(dotted, "dotted.service = 'mcp'\ndotted.url = 'https://d'\n", "");
    let quoted = |text: &str| unset(text, &["profiles", "na.me"]);
    let start = RICH.find("\n[profiles.\"na.me\"]").unwrap();
    let end = RICH.find("# the end").unwrap();
    edits(quoted, &RICH[start..end], "");
}

#[test]
fn what_is_new_gets_a_table_at_the_end() {
    let added = |text: &str| set(text, &["profiles", "new", "service"], "mcp");
    let wanted = format!("{RICH}\n[profiles.new]\nservice = \"mcp\"\n");
    assert_eq!(added(RICH), wanted);
    assert_eq!(added(&windows(RICH)), windows(&wanted));
    assert_eq!(added(RICH.trim_end()), wanted.trim_end());
    assert_eq!(added(""), "[profiles.new]\nservice = \"mcp\"\n");
    let inline = "profiles = { a = { service = 'mcp' } } # all\n";
    let wanted = "profiles = { a = { service = 'mcp' }, new = { service = \"mcp\" } } # all\n";
    assert_eq!(added(inline), wanted);
    let dotted = "profiles.a.service = 'mcp'\n";
    assert_eq!(added(dotted), format!("{dotted}\n[profiles.new]\nservice = \"mcp\"\n"));
    let only_headers = "[profiles.new.headers]\nX-A = '1'\n";
    assert_eq!(added(only_headers), format!("{only_headers}\n[profiles.new]\nservice = \"mcp\"\n"));
}

#[test]
fn the_default_comes_before_all_tables_and_below_the_first_comment() {
    let used = |text: &str| set(text, &["profile"], "a");
    assert_eq!(used(""), "profile = \"a\"\n");
    assert_eq!(used("[profiles.a]\n"), "profile = \"a\"\n\n[profiles.a]\n");
    assert_eq!(used("# c\n\n[profiles.a]\n"), "# c\n\nprofile = \"a\"\n\n[profiles.a]\n");
    assert_eq!(used("# c\n[profiles.a]\n"), "profile = \"a\"\n\n# c\n[profiles.a]\n");
    assert_eq!(
        used("key_store = 'env'\n\n[profiles.a]\n"),
        "key_store = 'env'\nprofile = \"a\"\n\n[profiles.a]\n"
    );
    for text in ["", "[profiles.a]\n", "# c\n\n[profiles.a]\n", "# c\n[profiles.a]\n"] {
        assert_eq!(unset(&used(text), &["profile"]), text);
    }
}

#[test]
fn a_comment_of_the_file_or_of_what_is_above_stays() {
    let gone = |text: &str| unset(text, &["profiles", "a"]);
    assert_eq!(gone("# the file\n[profiles.a]\nx = 1\n"), "# the file\n");
    assert_eq!(gone("# the file\n\n# a\n[profiles.a]\nx = 1\n"), "# the file\n");
    assert_eq!(gone("[profiles.b]\nx = 1\n# y = 2\n[profiles.a]\nx = 1\n"), "[profiles.b]\nx = 1\n# y = 2\n");
    assert_eq!(
        gone("[profiles.a]\nx = 1\n# y = 2\n\n[profiles.b]\nx = 1\n"),
        "# y = 2\n\n[profiles.b]\nx = 1\n"
    );
    assert_eq!(gone("[profiles.a]\nx = 1\n\n[profiles.b]\nx = 1\n"), "[profiles.b]\nx = 1\n");
}

#[test]
fn tables_that_go_together_may_share_a_blank_line() {
    let text = "[profiles.a]\nx = 1\n\n[profiles.a.headers]\ny = 1\n\n\n[profiles.b]\nx = 1\n";
    assert_eq!(unset(text, &["profiles", "a"]), "\n\n[profiles.b]\nx = 1\n");
    assert_eq!(unset(&text[..47], &["profiles", "a"]), "");
}

#[test]
fn mixed_line_ends_stay_as_they_are() {
    assert_eq!(unset("# a\r\n# bc\n\n[profiles.a]\nx = 1", &["profiles", "a"]), "# a\r\n# bc");
    let text = "# a\r\n[profiles.a]\nx = 1\r\ny = 2\n";
    assert_eq!(set(text, &["profiles", "a", "x"], "z"), "# a\r\n[profiles.a]\nx = \"z\"\r\ny = 2\n");
}

#[test]
fn what_cannot_be_edited_is_refused_and_nothing_is_changed() {
    for text in ["[[profiles.a]]\nx = 1\n", "profiles = 5\n", "[profiles]\na = 5\n"] {
        let mut document = document(text);
        assert_eq!(
            document.set(&["profiles", "a", "x"], "y".into()).unwrap_err().kind(),
            Kind::Config,
            "{text}"
        );
        assert_eq!(document.text(), text);
    }
    let error = Document::read("a = 1\nb = \n", Path::new("config.toml")).unwrap_err();
    assert!(error.message().contains("line 2"), "{error}");
}

/// A configuration in one of the ways in which people write them.
fn configurations() -> impl Strategy<Value = String> {
    let comment = prop_oneof![Just(String::new()), "\n", "# [a-z]{0,8}\n", "\n# [a-z ]{0,8}\n\n"];
    let body = prop_oneof![
        Just(String::new()),
        Just("key_store = 'env' # here\n".to_owned()),
        Just("[profiles.a]\nservice = 'mcp'\n# timeout = '5m'\n".to_owned()),
        Just("  [ profiles . \"b.c\" ] # spaced\n\tservice='mcp'\n".to_owned()),
        Just("[profiles]\nd = { service = 'mcp' }\ne.service = 'mcp'\n".to_owned()),
        Just("[profiles.f.headers]\nX = '''\nline\n'''\n".to_owned()),
    ];
    (comment.clone(), body, comment, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(above, body, below, crlf, bom, open)| {
            let mut text = format!("{above}{body}{below}");
            if open {
                text.truncate(text.trim_end_matches('\n').len());
            }
            let text = if crlf { text.replace('\n', "\r\n") } else { text };
            if bom { format!("\u{feff}{text}") } else { text }
        },
    )
}

proptest! {
    #[test]
    fn an_added_profile_goes_without_a_trace(text in configurations(), values in 1..4_usize) {
        let mut edited = document(&text);
        for value in &["service", "timeout", "drain"][..values] {
            edited.set(&["profiles", "new", value], "x".into()).unwrap();
        }
        edited.set(&["profiles", "new", "headers", "X-A.b"], "x".into()).unwrap();
        let said = edited.says().unwrap();
        prop_assert_eq!(said["profiles"]["new"].as_table().unwrap().len(), values + 1);
        edited.unset(&["profiles", "new"]).unwrap();
        prop_assert_eq!(edited.text(), text);
    }

    #[test]
    fn a_set_value_touches_its_own_line_only(text in configurations(), value in "[ -~]{0,12}") {
        let mut edited = document(&text);
        for name in ["a", "b.c", "d", "e", "f"] {
            if edited.names(&["profiles"]).iter().any(|known| known == name) {
                edited.set(&["profiles", name, "service"], value.as_str().into()).unwrap();
                edited.set(&["profiles", name, "service"], "mcp".into()).unwrap();
            }
        }
        let lines = |text: &str| text.lines().filter(|line| !line.contains("service")).map(str::to_owned).collect::<Vec<_>>();
        let (before, after) = (lines(&text), lines(&edited.text()));
        let f = text.contains("[profiles.f.headers]");
        prop_assert!(before == after || f, "{:?} {:?}", before, after);
    }
}
