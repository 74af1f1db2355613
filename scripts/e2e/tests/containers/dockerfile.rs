//! deploy/Dockerfile, as users build it.
//!
//! This machine's own Rust and C toolchain, mounted into an empty image, replaces the Rust image with podman on Linux: that
//! covers every instruction and a real compile; not the real Rust image and not the release profile's link-time optimization. With
//! docker the Rust image is the real one: docker cannot mount directories while an image is built.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::repository;

use crate::engine::Engine;

/// Directories that a toolchain needs beside Rust's own.
const SYSTEM: [&str; 7] = [
    "/usr/bin",
    "/usr/lib",
    "/usr/lib64",
    "/usr/include",
    "/usr/libexec",
    "/etc/alternatives",
    "/etc/ssl",
];

#[test]
fn it_builds_both_programs_and_they_run() {
    let Some(engine) = Engine::find() else {
        return;
    };
    let stand_in = match engine.name == "podman" && cfg!(target_os = "linux") {
        true => stand_in(&engine),
        false => Vec::new(),
    };
    let root = repository().canonicalize().expect("it is there");
    let dockerfile = root.join("deploy/Dockerfile");
    // Without podman's layer cache: older ones take a cached ENV layer although the build argument in it changed.
    let build: &[&str] = if engine.name == "podman" {
        &["build", "--layers=false"]
    } else {
        &["build"]
    };
    for target in ["gateway", "ml-inference"] {
        let image = format!("{}-{target}:dockerfile", engine.run);
        engine.will_remove_image(image.clone());
        let file = [
            "--file",
            dockerfile.to_str().expect("UTF-8"),
            "--target",
            target,
            "--tag",
            &image,
        ];
        let version = ["--build-arg", "MODEL_VERSION=2.0"];
        let stand_in: Vec<&str> = stand_in.iter().map(String::as_str).collect();
        engine.call(&[build, &file, &version, &stand_in, &[root.to_str().expect("UTF-8")]].concat());
        let version = engine.call(&["run", "--rm", &image, "--version"]);
        assert!(version.contains(target), "{target}: {version}");
    }
}

/// Makes the empty image, and gives the arguments with which a build takes it and the machine's toolchain.
fn stand_in(engine: &Engine) -> Vec<String> {
    let sysroot = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .expect("rustc runs");
    let sysroot = String::from_utf8(sysroot.stdout).expect("a path").trim().to_owned();
    let mut arguments = Vec::new();
    let mut mount = |from: &str, to: &str| arguments.extend(["--volume".to_owned(), format!("{from}:{to}:ro")]);
    for path in SYSTEM
        .into_iter()
        .chain([sysroot.as_str()])
        .filter(|path| Path::new(path).is_dir())
    {
        mount(path, path);
    }
    let config = cargo_home().join("config.toml");
    if config.is_file() {
        mount(config.to_str().expect("UTF-8"), "/usr/local/cargo/config.toml");
    }

    let context = engine.scratch.path().join("stand-in");
    for directory in ["root/tmp", "root/usr/local/cargo"] {
        fs::create_dir_all(context.join(directory)).expect("writable");
    }
    for name in ["bin", "lib", "lib64"] {
        symlink(format!("usr/{name}"), context.join("root").join(name)).expect("writable");
    }
    // A fast build is enough: the release profile's own settings are compiled when the prebuilt binaries are made.
    let containerfile = format!(
        "FROM scratch
COPY root /
ENV PATH={sysroot}/bin:/usr/bin CARGO_HOME=/usr/local/cargo
ENV CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=0
"
    );
    let file = context.join("Containerfile");
    fs::write(&file, containerfile).expect("writable");
    let image = format!("{}-rust:1", engine.run);
    engine.will_remove_image(image.clone());
    let (file, context) = (file.to_str().expect("UTF-8"), context.to_str().expect("UTF-8"));
    engine.call(&["build", "--file", file, "--tag", &image, context]);
    arguments.extend(["--build-arg".to_owned(), format!("RUST_IMAGE=localhost/{image}")]);
    arguments
}

fn cargo_home() -> PathBuf {
    let given = env::var_os("CARGO_HOME").filter(|value| !value.is_empty());
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cargo");
    given.map_or_else(home, PathBuf::from)
}
