//! The programs that render: helm by deploy/helm.sh, kustomize by kubectl.

use std::process::{Command, Output};

use e2e::{is_left_out, repository};

/// EX_UNAVAILABLE of sysexits.h: deploy/helm.sh could not install helm.
const UNAVAILABLE: i32 = 69;

/// What helm says to these arguments; `None` when it is not to be had here, which is a failure with REQUIRE_ALL.
pub(crate) fn helm(arguments: &[&str]) -> Option<Output> {
    let output = Command::new(repository().join("deploy/helm.sh"))
        .args(arguments)
        .current_dir(repository())
        .output()
        .expect("deploy/helm.sh runs");
    let is_unavailable = output.status.code() == Some(UNAVAILABLE);
    match is_left_out(is_unavailable, &said(&output)) {
        true => None,
        false => Some(output),
    }
}

/// What the chart renders with `arguments` more, in the namespace and with the Namespace object that kustomize's output has.
pub(crate) fn chart(namespace: &str, arguments: &[&str]) -> Option<String> {
    let template = ["template", "mlops-lab", "deploy/helm", "--namespace", namespace];
    let all = [&template[..], &["--set", "namespace.create=true"], arguments].concat();
    let output = helm(&all)?;
    assert!(output.status.success(), "{all:?}: {}", said(&output));
    Some(String::from_utf8(output.stdout).expect("UTF-8"))
}

/// What kustomize renders of a directory.
pub(crate) fn kustomize(directory: &str) -> String {
    let output = Command::new("kubectl")
        .args(["kustomize", directory])
        .current_dir(repository())
        .output()
        .expect("kubectl is installed");
    assert!(output.status.success(), "{directory}: {}", said(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// What a program wrote on standard error.
pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
