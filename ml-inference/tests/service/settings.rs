//! Settings as Kubernetes hands them out, and what the command line says of them.

use std::path::Path;

use shared::test_util::{DEADLINE, Finished, Process, Scratch};

use crate::server::{BINARY, LABS_LINE, Server};

/// Runs the binary with `arguments` to its end.
async fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Finished {
    let mut process = Process::start_with(BINARY, arguments, variables.iter().copied());
    process.wait_exit(DEADLINE).await
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

fn assert_line(text: &str, line: &str) {
    assert!(text.lines().any(|shown| shown == line), "no {line:?} in\n{text}");
}

#[tokio::test]
async fn help_lists_every_setting_with_its_default() {
    let help = run(&["--help"], &[]).await;
    assert_eq!((help.code, help.stderr.as_str()), (0, ""));
    for setting in ml_inference::config::SETTINGS {
        let shown = help
            .stdout
            .lines()
            .any(|line| line.starts_with(&format!("  {} (", setting.name)));
        assert!(shown, "no {} in\n{}", setting.name, help.stdout);
    }
    for text in [
        "SERVICE_PORT (default 5000)",
        "MODEL_NAME (default half_plus_two)",
        "BATCH_SIZE (default 32, live)",
        "MAX_BODY_BYTES (default 64Mi, live)",
        "MAX_RESPONSE_BYTES (default 64Mi, live)",
        "REGISTRY_PASSWORD (secret, live)",
        "/etc/ml-inference/ml-inference.yaml",
        "/etc/secrets/ml-registry-credentials",
        "The built-in models always use one",
    ] {
        assert!(help.stdout.contains(text), "no {text:?} in\n{}", help.stdout);
    }
}

#[tokio::test]
async fn version_and_unknown_flags() {
    let version = run(&["--version"], &[]).await;
    let expected = format!("ml-inference {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!((version.code, version.stdout), (0, expected));
    let unknown = run(&["--chekc"], &[]).await;
    assert_eq!(unknown.code, 64);
    assert!(unknown.stderr.contains("--chekc"), "{}", unknown.stderr);
}

#[tokio::test]
async fn good_settings_pass_the_check() {
    let checked = run(&["--check"], &[("MODEL_NAME", "sum"), ("LOG_LEVEL", "DEBUG")]).await;
    assert_eq!(
        (checked.code, checked.stdout.as_str()),
        (0, "ok\n"),
        "{}",
        checked.stderr
    );
}

const BAD: &[(&str, &str, &str)] = &[
    ("BIND_ADDRESS", "localhost", "an IPv4 or IPv6 address"),
    ("SERVICE_PORT", "70000", "a whole number from 0 to 65535"),
    ("ADMIN_ADDRESS", "9091", "an address and a port, such as 127.0.0.1:9091"),
    ("SERVICE_NAME", "two words", "a name of up to 63"),
    (
        "MODEL_NAME",
        "resnet",
        "the name of a known model: half_plus_two, sum or mlp",
    ),
    ("MODEL_VERSION", "latest", "a version such as 1.0"),
    ("ORT_DYLIB_PATH", "libonnxruntime.so", "an absolute path"),
    ("BATCH_SIZE", "0", "a whole number from 1 to 65536"),
    ("TENSORFLOW_INTRA_OP_PARALLELISM", "-1", "a whole number from 0 to 1024"),
    (
        "TENSORFLOW_INTER_OP_PARALLELISM",
        "two",
        "a whole number from 0 to 1024",
    ),
    ("MAX_BODY_BYTES", "16MB", "bytes from 1"),
    ("MAX_RESPONSE_BYTES", "0", "bytes from 1"),
    ("MAX_HEADER_BYTES", "1Ki", "bytes from 8Ki to 1Mi"),
    (
        "CORS_ORIGINS",
        "http://localhost:3000/app",
        "* or a comma-separated list of origins",
    ),
    ("REQUEST_TIMEOUT", "30s", "seconds from 0.001 to 3600"),
    ("KEEPALIVE_TIMEOUT", "0", "seconds from 0.001 to 3600"),
    ("MAX_CONNECTIONS", "0", "a whole number from 1"),
    ("DRAIN_WINDOW", "NaN", "seconds from 0 to 3600"),
    ("DRAIN_TIMEOUT", "-5", "seconds from 0 to 3600"),
    ("LOG_LEVEL", "loud", "one of trace, debug"),
    ("ENVIRONMENT", "a\"b", "a name of up to 63"),
    ("POD_NAME", "a\nb", "a name of up to 253"),
];

#[tokio::test]
async fn every_bad_setting_is_reported_at_once_with_its_source() {
    let mut variables: Vec<(&str, &str)> = BAD.iter().map(|(name, value, _)| (*name, *value)).collect();
    variables.push(("REGISTRY_PASSWORD", "hunter2"));
    for arguments in [&[][..], &["--check"], &["--print-config"]] {
        let refused = run(arguments, &variables).await;
        assert_eq!(refused.code, 78, "{arguments:?} {}", refused.stderr);
        let count = format!("{} invalid settings", BAD.len());
        assert!(refused.stderr.contains(&count), "{}", refused.stderr);
        for (name, value, expects) in BAD {
            let start = format!("  {name} (environment): expected {expects}");
            let line = refused.stderr.lines().find(|line| line.starts_with(&start));
            let line = line.unwrap_or_else(|| panic!("no {start:?} in\n{}", refused.stderr));
            assert!(line.ends_with(&format!("found {value:?}")), "{line}");
        }
        assert!(!format!("{refused:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn a_model_that_no_directory_can_hold_is_refused() {
    let too_long = "a".repeat(129);
    for name in [".iris", "..", "iris/1", "an iris", "", &too_long] {
        let variables = [("MODELS_DIR", "/models"), ("MODEL_NAME", name)];
        let refused = run(&["--check"], &variables).await;
        assert_eq!(refused.code, 78, "{name:?}");
        let problem = "MODEL_NAME (environment): expected the name of a model: up to 128 letters, digits";
        assert!(refused.stderr.contains(problem), "{}", refused.stderr);
    }
    for name in ["iris", "_iris", "iris.v2"] {
        let checked = run(&["--check"], &[("MODELS_DIR", "/models"), ("MODEL_NAME", name)]).await;
        assert_eq!(checked.code, 0, "{}", checked.stderr);
    }
}

#[tokio::test]
async fn the_admin_listener_has_a_port_of_its_own() {
    for (service, admin) in [
        ("0.0.0.0", "127.0.0.1:5000"),
        ("127.0.0.1", "0.0.0.0:5000"),
        ("127.0.0.1", "127.0.0.1:5000"),
    ] {
        let refused = run(&["--check"], &[("BIND_ADDRESS", service), ("ADMIN_ADDRESS", admin)]).await;
        assert_eq!(refused.code, 78, "{service} {admin}");
        let problem = "ADMIN_ADDRESS (environment): is where the service listens (BIND_ADDRESS, SERVICE_PORT)";
        assert!(refused.stderr.contains(problem), "{}", refused.stderr);
    }
    for admin in ["127.0.0.1:5001", "127.0.0.2:5000", "[::1]:9091", ""] {
        let variables = [("BIND_ADDRESS", "127.0.0.1"), ("ADMIN_ADDRESS", admin)];
        assert_eq!(run(&["--check"], &variables).await.code, 0, "{admin}");
    }
    let server = Server::start(&[("ADMIN_ADDRESS", "")]).await;
    assert_eq!(server.get("/").await.body, LABS_LINE);
    assert!(!server.process.output().contains("admin listening"));
}

#[tokio::test]
async fn a_stronger_layer_wins_and_its_name_is_shown() {
    let scratch = Scratch::new("layers");
    let file = scratch.file(
        "ml.yaml",
        "model_name: sum\nbatch_size: 64\nmax_body_bytes: 1Mi\nrequest_timeout: 1.5\n",
    );
    scratch.file("REGISTRY_USER", "from-the-secret\n");
    let variables = [
        ("CONFIG_FILE", text(&file)),
        ("SECRET_DIRS", text(scratch.path())),
        ("BATCH_SIZE", "128"),
        ("REGISTRY_USER", "from-the-environment"),
    ];
    let printed = run(&["--print-config"], &variables).await;
    assert_eq!((printed.code, printed.stderr.as_str()), (0, ""));
    let origin = format!("(file {})", file.display());
    assert_line(&printed.stdout, "SERVICE_PORT=5000  (default)");
    assert_line(&printed.stdout, &format!("MODEL_NAME=sum  {origin}"));
    assert_line(&printed.stdout, &format!("REQUEST_TIMEOUT=1.5  {origin}"));
    assert_line(&printed.stdout, "BATCH_SIZE=128  (environment)");
    let secret = scratch.path().join("REGISTRY_USER");
    assert_line(
        &printed.stdout,
        &format!("REGISTRY_USER=[redacted]  (secret file {})", secret.display()),
    );
    assert!(!printed.stdout.contains("from-the"), "{}", printed.stdout);

    // The flag is stronger than the variable.
    let other = scratch.file("other.yaml", "model_name: half_plus_two\n");
    let printed = run(&["--print-config", "--config", text(&other)], &variables).await;
    assert_line(
        &printed.stdout,
        &format!("MODEL_NAME=half_plus_two  (file {})", other.display()),
    );
}

#[tokio::test]
async fn faults_of_a_file_name_the_file() {
    let scratch = Scratch::new("faults");
    let file = scratch.file(
        "ml.yaml",
        "batch_size: many\nmodle_name: sum\nregistry_password: hunter2\n",
    );
    let refused = run(&["--check", text(&file)], &[]).await;
    assert_eq!(refused.code, 78);
    let file = file.display();
    for start in [
        format!("{file}:1:13: batch_size: expected a whole number"),
        format!("{file}:2:1: modle_name: unknown setting; known are "),
        format!("{file}:3:1: registry_password: is a secret"),
    ] {
        let shown = refused.stderr.lines().any(|line| line.starts_with(&start));
        assert!(shown, "no {start:?} in\n{}", refused.stderr);
    }
    assert!(!format!("{refused:?}").contains("hunter2"));

    let missing = run(&["--check", "--config", "/nowhere/ml.yaml"], &[]).await;
    assert_eq!(missing.code, 78);
    assert!(
        missing.stderr.contains("file /nowhere/ml.yaml: cannot be read"),
        "{}",
        missing.stderr
    );
    let missing = run(&["--check"], &[("SECRET_DIRS", "/nowhere")]).await;
    assert_eq!(missing.code, 78);
    assert!(
        missing.stderr.contains("/nowhere is not a directory"),
        "{}",
        missing.stderr
    );
}

/// What the kubelet injects into a pod for Services of its namespace, and for one named `service`.
const SERVICE_LINKS: &[(&str, &str)] = &[
    ("KUBERNETES_SERVICE_HOST", "10.96.0.1"),
    ("KUBERNETES_SERVICE_PORT", "443"),
    ("KUBERNETES_SERVICE_PORT_HTTPS", "443"),
    ("KUBERNETES_PORT", "tcp://10.96.0.1:443"),
    ("KUBERNETES_PORT_443_TCP", "tcp://10.96.0.1:443"),
    ("KUBERNETES_PORT_443_TCP_PROTO", "tcp"),
    ("KUBERNETES_PORT_443_TCP_PORT", "443"),
    ("KUBERNETES_PORT_443_TCP_ADDR", "10.96.0.1"),
    ("ML_INFERENCE_SERVICE_SERVICE_HOST", "10.0.0.1"),
    ("ML_INFERENCE_SERVICE_SERVICE_PORT", "5000"),
    ("ML_INFERENCE_SERVICE_SERVICE_PORT_HTTP", "5000"),
    ("ML_INFERENCE_SERVICE_PORT", "tcp://10.0.0.1:5000"),
    ("ML_INFERENCE_SERVICE_PORT_5000_TCP", "tcp://10.0.0.1:5000"),
    ("ML_INFERENCE_SERVICE_PORT_5000_TCP_PROTO", "tcp"),
    ("ML_INFERENCE_SERVICE_PORT_5000_TCP_PORT", "5000"),
    ("ML_INFERENCE_SERVICE_PORT_5000_TCP_ADDR", "10.0.0.1"),
    ("API_GATEWAY_SERVICE_SERVICE_HOST", "10.0.0.2"),
    ("API_GATEWAY_SERVICE_SERVICE_PORT", "80"),
    ("API_GATEWAY_SERVICE_PORT", "tcp://10.0.0.2:80"),
    ("API_GATEWAY_SERVICE_PORT_80_TCP", "tcp://10.0.0.2:80"),
    ("API_GATEWAY_SERVICE_PORT_80_TCP_ADDR", "10.0.0.2"),
    ("MODEL_PORT", "tcp://10.0.0.4:80"),
    ("MODEL_SERVICE_HOST", "10.0.0.4"),
    ("SERVICE_SERVICE_HOST", "10.0.0.3"),
    ("SERVICE_SERVICE_PORT", "80"),
    ("SERVICE_PORT_80_TCP", "tcp://10.0.0.3:80"),
    ("SERVICE_PORT_80_TCP_ADDR", "10.0.0.3"),
];

#[tokio::test]
async fn service_links_change_nothing() {
    let plain = run(&["--print-config"], &[("POD_NAME", "pod")]).await;
    let mut variables = SERVICE_LINKS.to_vec();
    variables.extend([("POD_NAME", "pod"), ("SERVICE_PORT", "tcp://10.0.0.3:80")]);
    let linked = run(&["--print-config"], &variables).await;
    assert_eq!(linked, plain);
    assert_line(&linked.stdout, "SERVICE_PORT=5000  (default)");

    let server = Server::start(SERVICE_LINKS).await;
    assert_eq!(server.get("/").await.body, LABS_LINE);
}

#[tokio::test]
async fn a_port_in_use_is_a_clear_message() {
    let server = Server::start(&[]).await;
    let port = server.address.port().to_string();
    let admin = server.process.address_of("admin listening").await;
    let loopback = ("BIND_ADDRESS", "127.0.0.1");
    for (settings, text) in [
        (
            [("SERVICE_PORT", port), ("ADMIN_ADDRESS", String::new())],
            format!("cannot listen on {}", server.address),
        ),
        (
            [("SERVICE_PORT", "0".to_owned()), ("ADMIN_ADDRESS", admin.to_string())],
            format!("ADMIN_ADDRESS: cannot listen on {admin}"),
        ),
    ] {
        let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let second = run(&[], &[&settings[..], &[loopback]].concat()).await;
        assert_eq!(second.code, 1, "{second:?}");
        assert!(second.stdout.contains(&text), "{}", second.stdout);
        assert!(
            second.stdout.contains("another process listens there"),
            "{}",
            second.stdout
        );
    }
    assert_eq!(server.get("/").await.body, LABS_LINE, "the first one is not disturbed");
}
