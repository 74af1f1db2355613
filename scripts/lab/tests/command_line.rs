//! The program's own command line; what its commands do is tested in scripts/e2e, by the names that people type.

use shared::test_util::{DEADLINE, Finished, Process};

async fn lab(arguments: &[&str]) -> Finished {
    let mut process = Process::start_with(env!("CARGO_BIN_EXE_lab"), arguments, [("NO_COLOR", "1")]);
    process.wait_exit(DEADLINE).await
}

#[tokio::test]
async fn every_command_has_help_by_the_name_of_its_script() {
    for command in [
        "up",
        "demo scale",
        "demo kill",
        "demo reload",
        "demo rolling-update",
        "demo hpa",
    ] {
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let finished = lab(&words).await;
        assert_eq!(finished.code, 0, "{finished:?}");
        let script = words[words.len() - 2];
        let begins = finished.stdout.starts_with(&format!("Usage: scripts/{script}.sh"));
        assert!(begins && finished.stdout.contains("Exit status:"), "{finished:?}");
    }
    let finished = lab(&["--help"]).await;
    assert!(
        finished.code == 0 && finished.stdout.starts_with("Usage: lab up"),
        "{finished:?}"
    );
}

#[tokio::test]
async fn a_command_that_it_does_not_know_is_named() {
    for words in [&["demo", "sideways"][..], &["down"], &[]] {
        let finished = lab(words).await;
        assert_eq!(finished.code, 2, "{finished:?}");
        assert!(finished.stderr.contains("Usage: lab up"), "{finished:?}");
        assert!(
            finished
                .stderr
                .contains(&format!("unknown argument: {}", words.join(" "))),
            "{finished:?}"
        );
    }
}

#[tokio::test]
async fn an_option_of_another_command_is_unknown() {
    let finished = lab(&["demo", "scale", "--quick"]).await;
    assert_eq!(finished.code, 2, "{finished:?}");
    let error = "error: unknown argument: --quick\n       scripts/scale.sh --help lists the options\n";
    assert_eq!(finished.stderr, error);
}
