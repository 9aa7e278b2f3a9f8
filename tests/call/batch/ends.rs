//! How a batch ends before its last line, and what it then owes.

use std::io::Read;

use super::*;

/// A result that no pipe takes at once.
const LONG: usize = 300_000;

/// `call --batch` with its output in a pipe.
fn piped(shell: &Shell, options: &[&str]) -> Child {
    let mut command = shell.asistry(&["call", "--batch"]);
    command.arg(shell.home.path().join("batch")).args(options);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary")
}

#[test]
fn what_an_interruption_kept_from_being_written_is_remembered() {
    let shell = Shell::new();
    shell.batch(&["x".repeat(LONG).as_str()]);
    let mut child = piped(&shell, &[]);
    let mut stdout = child.stdout.take().expect("stdout");
    // It is being written now, and the pipe is full.
    stdout.read_exact(&mut [0]).expect("a byte");
    signal(&child, rustix::process::Signal::INT);
    assert_eq!(child.wait_with_output().expect("an end").status.code(), Some(130));
    drop(stdout);
    assert_eq!(shell.records(), 1);

    shell.file("output", "");
    let (code, said) = shell.append(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(shell.entries()[0]["error"]["mayHaveExecuted"], true);
    assert_eq!(shell.called().into_values().collect::<Vec<_>>(), [1]);
}
