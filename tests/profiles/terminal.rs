//! A person at a terminal is asked; the terminal is a real one (a pty).

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::{Home, WORK};

/// Runs with a terminal as stdin and stderr; types each answer when its question has come.
fn at_a_terminal(home: &Home, arguments: &[&str], answers: &[(&str, &str)]) -> (i32, String) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&master).and_then(|()| unlockpt(&master)).expect("a terminal");
    let name = ptsname(&master, Vec::new()).expect("a name").into_string().expect("UTF-8");
    let slave = File::options().read(true).write(true).open(name).expect("a terminal");
    let mut child = Command::new(env!("CARGO_BIN_EXE_asistry"))
        .args(arguments)
        .env_clear()
        .env("HOME", home.0.path())
        .env("ASISTRY_CONFIG_DIR", home.directory())
        .stdin(slave.try_clone().expect("a terminal"))
        .stderr(slave)
        .stdout(Stdio::null())
        .spawn()
        .expect("the binary");
    let mut master = File::from(master);
    let mut said = String::new();
    let mut answers = answers.iter();
    let mut next = answers.next();
    let mut chunk = [0; 1024];
    // Reading ends with an error when the last one at the other end has gone.
    while let Ok(n @ 1..) = master.read(&mut chunk) {
        said.push_str(&String::from_utf8_lossy(&chunk[..n]));
        while let Some((question, answer)) = next.filter(|(question, _)| said.ends_with(question)) {
            master.write_all(format!("{answer}\n").as_bytes()).expect("an answer");
            said.push_str(&format!("<{question}>"));
            next = answers.next();
        }
    }
    assert!(next.is_none(), "{next:?} was never asked: {said}");
    (child.wait().expect("an end").code().unwrap_or(-1), said)
}

#[test]
fn what_is_missing_is_asked_for_until_it_fits() {
    let home = Home::new();
    let answers = [
        ("sandbox, mcp)? ", "task-tracking"),
        ("shop.example)? ", "ftp://h"),
        ("shop.example)? ", "https://h"),
        ("workspace)? ", "7"),
    ];
    let (code, said) = at_a_terminal(&home, &["profiles", "add", "work"], &answers);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("neither http nor https"), "{said}");
    assert_eq!(home.text(), WORK);
}

#[test]
fn a_profile_is_removed_after_a_yes_only() {
    let home = Home::with(WORK);
    let question = "Remove the profile work? [y/N] ";
    let (code, _) = at_a_terminal(&home, &["profiles", "remove", "work"], &[(question, "")]);
    assert_eq!((code, home.text().as_str()), (130, WORK));
    let (code, said) = at_a_terminal(&home, &["profiles", "remove", "work", "--no-input"], &[]);
    assert_eq!(code, 2, "{said}");
    let (code, said) = at_a_terminal(&home, &["profiles", "remove", "work"], &[(question, "y")]);
    assert_eq!((code, home.text().as_str()), (0, ""), "{said}");
}
