//! Batches and earlier outputs that are not what they should be.

use super::*;

#[test]
fn a_batch_that_is_its_own_output_is_refused() {
    let shell = Shell::new();
    let batch = shell.batch(&["a"]);
    let before = fs::read(&batch).expect("the batch");
    for from_stdin in [false, true] {
        let output = File::options().append(true).open(&batch).expect("the output");
        let mut command = shell.asistry(&["call", "--batch"]);
        if from_stdin {
            command.arg("-").stdin(File::open(&batch).expect("the batch"));
        } else {
            command.arg(&batch);
        }
        let ran = command.stdout(output).output().expect("the binary");
        let said = text(&ran.stderr);
        assert!(ran.status.code() == Some(2) && said.contains("is written into it"), "{said}");
        assert_eq!(fs::read(&batch).expect("the batch"), before);
    }
    assert!(shell.service.received().is_empty());
    assert_eq!(shell.append(&[]).0, Some(0));
}

#[test]
fn an_output_that_a_full_disk_has_cut_off_anywhere_is_gone_on_from() {
    let shell = Shell::new();
    shell.batch(&["a", "b"]);
    assert_eq!(shell.append(&[]).0, Some(0));
    let whole = fs::read_to_string(shell.home.path().join("output")).expect("the output");
    let (first, second) = whole.split_once('\n').expect("two lines");
    for kept in [1, 5, 9] {
        shell.file("output", &format!("{first}\n{}", &second[..kept]));
        for _ in 0..2 {
            let (code, said) = shell.append(&[]);
            assert_eq!(code, Some(0), "{kept}: {said}");
        }
    }
}
