//! Options, of every script.

use std::fs;

use e2e::{binary, repository};

use crate::stage::Stage;

/// Every script with options: each takes what it shares with the others from lib/.
fn scripts() -> Vec<String> {
    let directory = repository().join("scripts");
    let entries = fs::read_dir(directory).expect("readable");
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut scripts: Vec<String> = names.filter(|name| name.ends_with(".sh") || name == "bench").collect();
    scripts.sort();
    scripts
}

#[tokio::test]
async fn help_and_an_unknown_argument() {
    let scripts = scripts();
    assert!(scripts.len() > 10, "{scripts:?}");
    for script in scripts {
        let mut stage = Stage::new();
        stage.set_variable("LOAD_TEST", binary("load-test").to_str().expect("UTF-8"));
        let ran = stage.run(&script, &["--help"]).await;
        ran.ends_with(0)
            .says(&[&format!("Usage: scripts/{script}"), "Exit status:"]);
        let ran = stage.run(&script, &["--nonsense"]).await;
        ran.ends_with(2).says(&["unknown argument: --nonsense"]);
    }
}

#[tokio::test]
async fn wrong_options_of_a_demonstration_and_nothing_deployed() {
    for script in ["scale.sh", "kill.sh", "reload.sh", "hpa.sh"] {
        let stage = Stage::new();
        for (arguments, fault) in [
            ("--rate many", "--rate needs a whole number"),
            ("--port 65530", "--port needs a port from 1 to 65525"),
            ("--sideways", "unknown argument: --sideways"),
            ("--rate", "--rate needs a value"),
        ] {
            let ran = stage.run_line(&format!("{script} {arguments}")).await;
            ran.ends_with(2)
                .says(&[fault, &format!("scripts/{script} --help lists the options")]);
        }
        stage.touch("namespaces/mlops-lab");
        let ran = stage.run(script, &[]).await;
        ran.ends_with(3)
            .says(&["there is no deployment api-gateway in namespace mlops-lab"]);
    }
}

#[tokio::test]
async fn ports_and_numbers_of_the_pair_that_cannot_be() {
    let binaries = binary("gateway");
    let binaries = binaries.parent().and_then(|path| path.to_str()).expect("a directory");
    let stage = Stage::new();
    for arguments in [
        "--port 08080",
        "--port 0",
        "--port 65530",
        "--ml-port 99999",
        "--replicas 010",
        "--replicas 0",
        "--ml-port 30090",
        "--ml-port 30079 --replicas 3",
        "--ml-port 65535",
    ] {
        stage
            .run_line(&format!("up.sh --bin-dir {binaries} {arguments}"))
            .await
            .ends_with(2);
    }
}

#[tokio::test]
async fn without_cargo_the_pair_cannot_be_built() {
    let ran = Stage::new().run("up.sh", &[]).await;
    ran.ends_with(3).says(&["cargo is missing", "https://rustup.rs"]);
}

#[tokio::test]
async fn without_cargo_the_programs_of_the_scripts_cannot_be_built() {
    for script in [
        "up.sh",
        "scale.sh",
        "kill.sh",
        "reload.sh",
        "rolling-update.sh",
        "hpa.sh",
    ] {
        let mut stage = Stage::new();
        stage.set_variable("LAB", "");
        let ran = stage.run(script, &[]).await;
        ran.ends_with(3).says(&["cargo is missing", "https://rustup.rs"]);
        // What there is to be chosen is said all the same.
        stage.run(script, &["--help"]).await.ends_with(0);
    }
}

#[tokio::test]
async fn binaries_that_are_not_there() {
    let stage = Stage::new();
    let directory = stage.files();
    let ran = stage
        .run("up.sh", &["--bin-dir", directory.to_str().expect("UTF-8")])
        .await;
    ran.ends_with(3).says(&["gateway is missing"]);
    let ran = stage.run("up.sh", &["--bin-dir", "/nowhere"]).await;
    ran.ends_with(2).says(&["no such directory: /nowhere"]);
}

#[tokio::test]
async fn names_and_numbers_that_the_benchmark_does_not_know_before_anything_is_built() {
    let stage = Stage::new();
    for (arguments, fault) in [
        (
            "--peers nginx,nowhere",
            "--peers does not know \"nowhere\"; there are: nginx,haproxy,pingora,relay,lab-nginx,gateway",
        ),
        ("--workloads get-1,,rate", "--workloads does not know \"\""),
        ("--rounds 0", "--rounds needs a whole number from 1 to 9999"),
        (
            "--gateway /nowhere/gateway",
            "nowhere/gateway is missing or cannot be executed",
        ),
    ] {
        let ran = stage.run_line(&format!("bench {arguments}")).await;
        ran.ends_with(2).says(&[fault]);
    }
    stage
        .run("bench", &[])
        .await
        .ends_with(3)
        .says(&["cargo is missing", "https://rustup.rs"]);
}
