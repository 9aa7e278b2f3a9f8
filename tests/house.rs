//! The rules of the house, read off the tree itself.

use std::path::{Path, PathBuf};

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Returns the rooms in the order of the stair, as `lib.rs` lists them.
fn rooms() -> Vec<String> {
    modules("lib.rs")
}

/// Returns the public modules that a file lists, in its order.
fn modules(file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(source().join(file)).expect(file);
    text.lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            files.extend(files_below(&entry));
        } else if entry.extension().is_some_and(|ending| ending == "rs") {
            files.push(entry);
        }
    }
    files
}

/// Returns the room and the code of each file, comments and tests left out.
fn code() -> Vec<(String, PathBuf, String)> {
    let root = source();
    let read = |path: PathBuf| {
        let below = path.strip_prefix(&root).expect("below src");
        let first = below.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
        let room = first.trim_end_matches(".rs").to_owned();
        let text = std::fs::read_to_string(&path).expect("a file");
        let product = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned();
        let code = product.lines().filter(|line| !line.trim_start().starts_with("//"));
        let code = code.collect::<Vec<_>>().join("\n");
        (room, path, code)
    };
    files_below(&root).into_iter().map(read).collect()
}

/// Returns each path that a file names from `crate::` or `super::` on, in full; a group in braces is taken apart.
fn imports(path: &Path, code: &str) -> Vec<Vec<String>> {
    let below = path.strip_prefix(source()).expect("below src").with_extension("");
    let mut module: Vec<String> = below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    module.retain(|part| part != "mod");
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        follow(&[], &code[at + "crate::".len()..], &mut found);
    }
    for (at, _) in code.match_indices("super::").filter(|(at, _)| !code[..*at].ends_with("super::")) {
        let (mut base, mut rest) = (&module[..], &code[at..]);
        while let Some(after) = rest.strip_prefix("super::") {
            (base, rest) = (&base[..base.len().saturating_sub(1)], after);
        }
        follow(base, rest, &mut found);
    }
    found.retain(|import| !import.is_empty());
    found
}

/// Follows a path, or each path of a group, from `base` on.
fn follow(base: &[String], code: &str, found: &mut Vec<Vec<String>>) {
    let mut import = base.to_vec();
    let mut rest = code;
    loop {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if let Some(group) = rest.strip_prefix('{') {
            let (mut depth, mut start) = (0_usize, 0);
            for (at, c) in group.char_indices() {
                match c {
                    '{' => depth += 1,
                    ',' | '}' if depth == 0 => {
                        let part = group[start..at].trim();
                        if !part.is_empty() && part != "self" {
                            follow(&import, part, found);
                        }
                        start = at + 1;
                    }
                    '}' => depth -= 1,
                    _ => {}
                }
                if c == '}' && depth == 0 && start == at + 1 {
                    return;
                }
            }
            return;
        }
        import.push(rest[..end].to_owned());
        match rest[end..].strip_prefix("::") {
            Some(after) => rest = after,
            None => return found.push(import),
        }
    }
}

#[test]
fn a_path_is_found_in_a_group_and_behind_super() {
    let code = "use crate::protocol::{FastMap, bridge::{Bridge, X}, self};\nuse super::super::relay::Y;";
    let found = imports(&source().join("protocol/client/mod.rs"), code);
    let found: Vec<String> = found.iter().map(|import| import.join("::")).collect();
    assert_eq!(found, ["protocol::FastMap", "protocol::bridge::Bridge", "protocol::bridge::X", "relay::Y"]);
}

#[test]
fn no_room_imports_upward() {
    let rooms = rooms();
    assert!(rooms.len() > 10, "{rooms:?}");
    let place = |room: &str| rooms.iter().position(|known| known == room);
    for (room, path, code) in code() {
        let Some(here) = place(&room) else {
            assert!(room == "lib" || room == "main", "{room} is no room of lib.rs");
            continue;
        };
        for import in imports(&path, &code) {
            let name = &import[0];
            let there = place(name).unwrap_or_else(|| panic!("{}: crate::{name} is no room", path.display()));
            assert!(there <= here, "{} imports upward, from {name}", path.display());
            let stranger = room == "sandbox" && name != "sandbox" && name != "error";
            assert!(!stranger, "{}: the sandbox knows nothing of {name}", path.display());
        }
    }
}

#[test]
fn no_part_of_the_protocol_imports_upward() {
    let parts = modules("protocol/mod.rs");
    assert!(parts.len() > 10, "{parts:?}");
    let place = |part: &str| parts.iter().position(|known| known == part);
    for (_, path, code) in code() {
        let Ok(below) = path.strip_prefix(source().join("protocol")) else { continue };
        let first = below.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
        let Some(here) = place(first.trim_end_matches(".rs")) else {
            assert_eq!(first, "mod.rs", "{first} is no part of protocol/mod.rs");
            continue;
        };
        for import in imports(&path, &code) {
            let [room, name, ..] = &import[..] else { continue };
            let Some(there) = place(name).filter(|_| room == "protocol") else { continue };
            assert!(there <= here, "{} imports upward, from {name}", path.display());
        }
    }
}

#[test]
fn the_protocol_does_no_io() {
    const WORDS: &[&str] = &[
        "async ",
        ".await",
        "tokio",
        "std::fs",
        "std::net",
        "std::env",
        "std::io",
        "std::thread",
        "Instant::now",
        "SystemTime::now",
        "fastrand",
        "reqwest",
        "println!",
    ];
    for (room, path, code) in code() {
        let whole = |word: &str| {
            let rest = code.split(word).skip(1);
            rest.into_iter().any(|after| !after.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
        };
        let found = WORDS.iter().find(|word| room == "protocol" && whole(word));
        assert!(found.is_none(), "{} does IO: {found:?}", path.display());
    }
}

#[test]
fn a_secret_is_opened_in_auth_only() {
    for (room, path, code) in code() {
        assert!(room == "auth" || !code.contains(".expose("), "{} opens a secret", path.display());
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    for path in files_below(&source()) {
        let text = std::fs::read_to_string(&path).expect("a file");
        assert!(text.starts_with("//! "), "{} has no header", path.display());
    }
}
