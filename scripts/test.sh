#!/usr/bin/env bash
# Every test of the repository that this machine allows: shell, manifests, and last the Rust tests, those of scripts and
# containers among them, whose summary is the last thing printed. What is skipped is named, with the reason and how to get it.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

usage() {
  cat <<'USAGE'
Usage: scripts/test.sh [--require-all]

Builds the workspace and runs, in this order:
  shell scripts     shellcheck
  benchmark         how scripts/bench reads reports and compares; nothing is measured (Linux)
  manifests         every base, overlay, component and lab step against the Kubernetes schemas (deploy/check.sh)
  onnxruntime       models run by its library, which comes from PyPI (Linux)
  Rust tests        unit tests, both binaries on real sockets, the pair end to end; the scripts with stand-ins for kubectl and
                    the engines; the demos on this machine; the images as containers (Linux, podman or docker), for which
                    static binaries are built

  --require-all     a missing tool is a failure instead of a skip
  --help

Needs a Rust toolchain. Uses, where it is there: cargo-nextest, shellcheck, kubectl, python3, curl, chromium, podman or docker.
Exit status: 0 all that ran passed.
USAGE
}

require_all=''
case ${1:-} in
'') ;;
--require-all) require_all=yes ;;
--help | -h) usage && exit 0 ;;
*) usage_error "unknown argument: $1" ;;
esac

# The Rust tests that a tool is missing for are left out, too, or fail.
export REQUIRE_ALL=$require_all

cd "$ROOT"
need cargo "install Rust from https://rustup.rs, then open a new terminal"

TOOLS_DIR=${TOOLS_DIR:-$ROOT/target/tools}
export TOOLS_DIR

skipped=()
# skip WHAT WHY
skip() {
  [ -z "$require_all" ] || die "$EXIT_UNAVAILABLE" "$1 cannot be tested: $2"
  warn "skipping $1: $2"
  skipped+=("$1: $2")
}

failed=()
# run WHAT COMMAND...: goes on after a failure, so that one run shows all of them.
run() {
  local what=$1
  shift
  say "$what"
  if ! "$@"; then
    warn "$what: failed"
    failed+=("$what")
  fi
}

static_binaries() {
  local target
  target=$(rustc -vV | sed -n 's/^host: //p')
  RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --target "$target" \
    --bin gateway --bin ml-inference
  export CONTAINER_BINARIES=$ROOT/target/$target/release
}

# onnxruntime_tests LIBRARY: one test binary of its own, because of its feature. Built as a part of the workspace, it shares all
# dependencies; what is tested is not how fast ml-inference's own part is, so that this part is not optimized.
onnxruntime_tests() {
  local arguments=(--workspace --locked --features ml-inference/onnxruntime --test onnxruntime
    --config 'profile.dev.package.ml-inference.opt-level=0' --config 'profile.dev.package.model-runtime.opt-level=0')
  local test=(test)
  if cargo nextest --version >/dev/null 2>&1; then test=(nextest run); fi
  ORT_DYLIB_PATH=$1 ORT_DISABLE_TELEMETRY=1 cargo "${test[@]}" "${arguments[@]}" || return
  # Kept for its image: the next build puts the usual program in its place.
  export CONTAINER_ONNXRUNTIME=$ROOT/target/onnxruntime/ml-inference
  mkdir -p target/onnxruntime && cp target/debug/ml-inference target/onnxruntime/
}

engine() { have podman || have docker; }

# rust_tests MORE...: with nextest, or else without.
rust_tests() {
  if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --workspace --locked "$@"
  else
    cargo test --workspace --locked "$@"
  fi
}

# Tests and binaries in one build: alone, the binaries would have all dependencies built once more, without the tests' features.
say "building the workspace and its tests"
rust_tests --no-run

if have shellcheck; then
  run "shell scripts" shellcheck -x scripts/bench scripts/*.sh scripts/lib/*.sh scripts/lib/*/*.sh \
    scripts/e2e/tests/scripts/stand-ins/* deploy/*.sh .ci/run
else
  skip "shell scripts" "shellcheck is missing (apt-get install shellcheck, brew install shellcheck)"
fi

if [ "$(uname -s)" != Linux ]; then
  skip benchmark "it measures through /proc and runs on Linux only"
elif ! have python3; then
  skip benchmark "python3 is missing (apt-get install python3)"
else
  run benchmark python3 -B -m unittest discover --quiet --start-directory scripts/lib/bench
fi

if ! have kubectl; then
  skip manifests "kubectl is missing (https://kubernetes.io/docs/tasks/tools/)"
elif ! have python3; then
  skip manifests "python3 is missing; the schema validator comes from PyPI"
else
  run manifests deploy/check.sh
fi

have chromium || skip "Lab 6's page in a browser" "chromium is missing (apt-get install chromium)"
have curl || skip deploy.sh "curl is missing (apt-get install curl, brew install curl)"
unshare --net iptables -t nat -L >/dev/null 2>&1 ||
  skip "rolling-update.sh --gateway --local" "no network namespace with iptables can be had (Linux, root, apt-get install iptables)"

if [ "$(uname -s)" != Linux ]; then
  skip onnxruntime "its library is had from PyPI on Linux only"
elif ! have python3; then
  skip onnxruntime "python3 is missing; the library comes from PyPI"
elif ! library=$(scripts/onnxruntime.sh); then
  skip onnxruntime "its library could not be had: see above"
else
  run onnxruntime onnxruntime_tests "$library"
fi

if [ "$(uname -s)" != Linux ]; then
  skip images "static binaries are built on Linux only; scripts/build-images.sh builds the images here"
elif ! engine; then
  skip images "neither podman nor docker is there (apt-get install podman)"
else
  run "static release binaries, for the images" static_binaries
fi

# The tests that render manifests need kubectl; all others run everywhere.
without_kubectl=()
if ! have kubectl; then
  skip "manifests against settings" "kubectl is missing"
  without_kubectl=(-E 'not binary(manifests)')
fi

if [ "${#skipped[@]}" -gt 0 ]; then
  say "skipped:"
  for reason in "${skipped[@]}"; do note "$reason"; done
fi
if [ "${#failed[@]}" -gt 0 ]; then
  for what in "${failed[@]}"; do warn "failed: $what"; done
fi

say "Rust tests"
if cargo nextest --version >/dev/null 2>&1 || have kubectl; then
  rust_tests ${without_kubectl[@]+"${without_kubectl[@]}"}
else
  rust_tests --lib --bins
  rust_tests --test it --test service --test faults --test pair --test settings --test reload --test upstream \
    --test scripts --test up --test demos --test containers --test docs --test floors --test probes
fi
[ "${#failed[@]}" -eq 0 ]
