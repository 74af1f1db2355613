//! load-test.sh

use e2e::repository;

use crate::stage::Stage;

#[tokio::test]
async fn its_options_are_handed_on_the_report_is_saved_the_status_is_its_own() {
    let stage = Stage::new();
    stage.load_finds(3, 1000);
    let ran = stage
        .run("load-test.sh", &["--duration", "1s", "--rate", "5", "--header", "a: b"])
        .await;
    ran.ends_with(1).concludes("failed requests: 3 of 1000");
    let root = repository().canonicalize().expect("it is there");
    let reports = root.join("target/load-test").display().to_string();
    assert_eq!(
        stage.read("load-calls"),
        format!(
            "load-test --html {reports}/report.html --json {reports}/report.json --duration 1s --rate 5 --header a: b"
        )
    );
}

#[tokio::test]
async fn reports_where_they_are_wanted() {
    let stage = Stage::new();
    stage.load_finds(0, 1000);
    let (json, html) = (stage.path("here.json"), stage.path("here.html"));
    let html = format!("--html={}", html.display());
    stage
        .run("load-test.sh", &["--json", json.to_str().expect("UTF-8"), &html])
        .await
        .ends_with(0);
    assert_eq!(
        stage.read("load-calls"),
        format!("load-test --json {} {html}", json.display())
    );
}

#[tokio::test]
async fn without_cargo_it_cannot_be_built() {
    let mut stage = Stage::new();
    stage.set_variable("LOAD_TEST", "");
    let ran = stage.run("load-test.sh", &[]).await;
    ran.ends_with(3).says(&["cargo is missing", "https://rustup.rs"]);
}

#[tokio::test]
async fn a_program_that_load_test_names_and_that_is_not_there() {
    let mut stage = Stage::new();
    stage.set_variable("LOAD_TEST", "/nowhere/load-test");
    let ran = stage.run("load-test.sh", &[]).await;
    ran.ends_with(3).says(&["nowhere/load-test (LOAD_TEST) is missing"]);
}
