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
