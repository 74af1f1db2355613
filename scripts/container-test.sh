#!/usr/bin/env bash
# The images, tested as containers: built, started on one network, asked through the gateway, replaced one by one under
# load. What a cluster adds (probes, Services, rollouts) is not here.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/engine.sh
. "$ROOT/scripts/lib/engine.sh"
# shellcheck source-path=SCRIPTDIR source=lib/load.sh
. "$ROOT/scripts/lib/load.sh"

usage() {
  cat <<'EOF'
Usage: scripts/container-test.sh --prebuilt DIR [options]

Packages the static binaries DIR/gateway and DIR/ml-inference as images, runs a gateway and three replicas on one
network (the gateway finds them by the DNS name ml-inference-service), and replaces the replicas one by one with version
2.0 and back while load runs. Removes everything it made. Needs docker or podman, curl and a Rust toolchain.

  --prebuilt DIR     static release binaries
  --onnxruntime FILE an ml-inference with the cargo feature onnxruntime, not static: its image is tried, too
  --engine NAME      docker or podman; by default the first that works
  --port P           published on 127.0.0.1 (30080); the admin port takes P + 10
  --rate R           requests a second during the replacement (100)
  --builder B        what stands in for the Rust image when deploy/Dockerfile is exercised
                     (host with podman on Linux, image otherwise):
                       image   nothing does: deploy/Dockerfile as it is, with the real Rust image
                       host    this machine's own Rust and C toolchain, mounted into an empty image (Linux, podman)
                       fake    a shell and a `cargo` that only puts the prebuilt binaries in place
                       none    deploy/Dockerfile is not exercised
  --help

The last line is "N passed, N failed". Exit status: 0 all passed, 1 some failed, 2 wrong arguments, 3 a tool is missing.
EOF
}

prebuilt=''
onnxruntime=''
engine=''
port=30080
rate=100
builder=''
while [ $# -gt 0 ]; do
  case $1 in
  --help | -h) usage && exit 0 ;;
  --prebuilt) need_value "$1" $# && prebuilt=$2 ;;
  --onnxruntime) need_value "$1" $# && onnxruntime=$2 ;;
  --engine) need_value "$1" $# && engine=$2 ;;
  --port) need_value "$1" $# && need_number "$1" "$2" && port=$2 ;;
  --rate) need_value "$1" $# && need_number "$1" "$2" && rate=$2 ;;
  --builder) need_value "$1" $# && builder=$2 ;;
  *) usage_error "unknown argument: $1" ;;
  esac
  shift 2
done
[ -z "$onnxruntime" ] || [ -x "$onnxruntime" ] || usage_error "no such program: $onnxruntime"
case $builder in '' | image | host | fake | none) ;; *) usage_error "--builder takes image, host, fake or none" ;; esac
[ -n "$prebuilt" ] || usage_error "--prebuilt DIR is needed: where the static release binaries are"
for name in gateway ml-inference; do
  [ -x "$prebuilt/$name" ] || die "$EXIT_UNAVAILABLE" "$prebuilt/$name is needed; make it with:" \
    "RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --target x86_64-unknown-linux-gnu"
done
need_load_test
need_curl

readonly REPLICAS=3 ALIAS=ml-inference-service
# Two seconds of draining each instead of five: nine processes are stopped here, one after the other.
readonly WINDOW=2
run=mlops-lab-test-$$
v1=$run-1.0 v2=$run-2.0 # tags of our own: nobody's api-gateway:1.0 is overwritten
url=http://127.0.0.1:$port

passed=0
failed=0
pass() {
  passed=$((passed + 1))
  echo "ok    $1"
}
fail() {
  failed=$((failed + 1))
  echo "FAIL  $1"
  shift
  local line
  for line in "$@"; do printf '%s\n' "$line" | sed 's/^/        /'; done
}
# check DESCRIPTION EXPECTED ACTUAL
check() { if [ "$2" = "$3" ]; then pass "$1"; else fail "$1" "expected: $2" "got:      $3"; fi; }

containers=()
images=()
networks=()

remove_all() {
  local status=$? item
  trap '' INT TERM
  drop_load
  for item in ${containers[@]+"${containers[@]}"}; do "$ENGINE" rm --force "$item" >/dev/null 2>&1 || true; done
  for item in ${networks[@]+"${networks[@]}"}; do "$ENGINE" network rm "$item" >/dev/null 2>&1 || true; done
  for item in ${images[@]+"${images[@]}"}; do "$ENGINE" rmi --force "$item" >/dev/null 2>&1 || true; done
  cleanup_tmp
  exit "$status"
}

# A store of our own for podman as root without systemd (a CI machine, a container): what the defaults want there (systemd's
# cgroup manager, overlay file systems, limits above our own) may not be had, and nothing is left behind.
plain_podman() {
  [ "$ENGINE" = podman ] && [ "$(id -u)" = 0 ] && [ ! -d /run/systemd/system ] || return 0
  local runtime=crun
  have crun || runtime=runc
  mkdir "$TMP/cache"
  cat >"$TMP/containers.conf" <<EOF
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "$runtime"
tmp_dir = "$TMP/libpod"
[network]
network_backend = "netavark"
network_config_dir = "$TMP/networks"
EOF
  cat >"$TMP/storage.conf" <<EOF
[storage]
driver = "vfs"
graphroot = "$TMP/graph"
runroot = "$TMP/run"
EOF
  export CONTAINERS_CONF=$TMP/containers.conf CONTAINERS_STORAGE_CONF=$TMP/storage.conf BUILDAH_ISOLATION=chroot
  export TMPDIR=$TMP/cache # buildah's cache mounts
}

# quietly COMMAND...: its output only when it fails.
quietly() { "$@" >"$TMP/output" 2>&1 || { tail -n 30 "$TMP/output" && return 1; }; }

# --- the images --------------------------------------------------------------------------------------------------

build_prebuilt() {
  local args=(--engine "$ENGINE" --prebuilt "$prebuilt" --no-load)
  images+=("api-gateway:$v1" "ml-inference:$v1" "ml-inference:$v2")
  if problem=$(quietly "$ROOT/scripts/build-images.sh" "${args[@]}" --tag "$v1" --model-version 1.0 &&
    quietly "$ROOT/scripts/build-images.sh" "${args[@]}" --tag "$v2" --model-version 2.0 --only ml-inference); then
    pass "images built from the prebuilt binaries"
  else
    fail "images built from the prebuilt binaries" "$problem"
    return 1
  fi
}

config_of() { "$ENGINE" image inspect --format "{{$2}}" "$1"; }

check_images() {
  local image
  for image in "api-gateway:$v1" "ml-inference:$v1"; do
    check "${image%%:*}: user" 65532:65532 "$(config_of "$image" .Config.User)"
    check "${image%%:*}: entry point" "[/$([ "${image%%:*}" = api-gateway ] && echo gateway || echo ml-inference)]" \
      "$(config_of "$image" .Config.Entrypoint)"
    note "${image%%:*}: $(config_of "$image" .Size | awk '{ printf "%.1f MB", $1 / 1000000 }')"
  done
  check "ml-inference:2.0 is stamped with its model version" yes \
    "$(config_of "ml-inference:$v2" .Config.Env | grep -q 'MODEL_VERSION=2\.0' && echo yes || echo no)"
}

# stand_in_host: an empty image into which the machine's toolchain is mounted while the build runs. Sets stand_in_args.
stand_in_host() {
  local sysroot path
  sysroot=$(rustc --print sysroot)
  for path in /usr/bin /usr/lib /usr/lib64 /usr/include /usr/libexec /etc/alternatives /etc/ssl "$sysroot"; do
    [ ! -d "$path" ] || stand_in_args+=(--volume "$path:$path:ro")
  done
  path=${CARGO_HOME:-$HOME/.cargo}/config.toml
  [ ! -f "$path" ] || stand_in_args+=(--volume "$path:/usr/local/cargo/config.toml:ro")
  # A fast build is enough: the release profile's own settings are compiled when the prebuilt binaries are made.
  cat >"$TMP/stand-in/Containerfile" <<EOF
FROM scratch
COPY root /
ENV PATH=$sysroot/bin:/usr/bin CARGO_HOME=/usr/local/cargo
ENV CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=0
EOF
  mkdir -p "$TMP/stand-in/root/tmp" "$TMP/stand-in/root/usr/local/cargo"
  for path in bin lib lib64; do ln -s "usr/$path" "$TMP/stand-in/root/$path"; done
  echo "covers every instruction and a real compile; not the real Rust image and not the release profile's LTO"
}

# stand_in_fake: a static shell, and a cargo that builds nothing.
stand_in_fake() {
  mkdir -p "$TMP/stand-in/root/bin" "$TMP/stand-in/root/prebuilt" "$TMP/stand-in/root/usr/local/cargo/bin"
  cp "$(command -v busybox)" "$TMP/stand-in/root/bin/busybox"
  local applet
  for applet in sh uname mkdir cp sed; do ln -s busybox "$TMP/stand-in/root/bin/$applet"; done
  cp "$prebuilt/gateway" "$prebuilt/ml-inference" "$TMP/stand-in/root/prebuilt/"
  cat >"$TMP/stand-in/root/usr/local/cargo/bin/cargo" <<'EOF'
#!/bin/sh
set -eu
[ -f Cargo.toml ] && [ -f Cargo.lock ] || { echo "no Cargo.toml and Cargo.lock in the build context" >&2; exit 1; }
target=$(echo "$*" | sed 's/.*--target \([^ ]*\).*/\1/')
mkdir -p "target/$target/release"
cp /prebuilt/* "target/$target/release/"
EOF
  chmod 755 "$TMP/stand-in/root/usr/local/cargo/bin/cargo"
  printf 'FROM scratch\nCOPY root /\nENV PATH=/usr/local/cargo/bin:/bin\n' >"$TMP/stand-in/Containerfile"
  echo "covers every instruction of the file; not the compile, and not the real Rust image"
}

# The user's own Dockerfile, with a stand-in where its builder stage takes the Rust image.
exercise_dockerfile() {
  local name target covers='' stand_in_args=() built
  mkdir -p "$TMP/stand-in/root"
  if [ "$builder" != image ]; then
    "stand_in_$builder" >"$TMP/covers" # not in a subshell: it sets stand_in_args
    covers=$(cat "$TMP/covers")
    if ! problem=$(quietly "$ENGINE" build --file "$TMP/stand-in/Containerfile" --tag "$run-rust:1" "$TMP/stand-in"); then
      fail "deploy/Dockerfile: the stand-in for the Rust image" "$problem"
      return
    fi
    images+=("$run-rust:1")
    built=$run-rust:1
    [ "$ENGINE" != podman ] || built=localhost/$built
    stand_in_args+=(--build-arg "RUST_IMAGE=$built")
  fi
  for target in gateway ml-inference; do
    name="deploy/Dockerfile, target $target (builder: $builder)"
    images+=("$run-$target:dockerfile")
    if problem=$(quietly build_image "$run-$target:dockerfile" "$ROOT/deploy/Dockerfile" "$target" "$ROOT" \
      --build-arg MODEL_VERSION=2.0 ${stand_in_args[@]+"${stand_in_args[@]}"}) &&
      problem=$("$ENGINE" run --rm "$run-$target:dockerfile" --version 2>&1); then
      pass "$name: built, and it runs: $problem"
    else
      fail "$name" "$problem"
    fi
  done
  [ -z "$covers" ] || note "$covers"
}

# --- the containers ----------------------------------------------------------------------------------------------

# As deploy/ runs them: nothing writable, no capability, no way to more.
readonly HARDENED=(--read-only --cap-drop all --security-opt no-new-privileges)

# start_container NAME OPTIONS... IMAGE
start_container() {
  local name=$1
  shift
  containers+=("$run-$name")
  "$ENGINE" run --detach --name "$run-$name" --network "$run" --env "POD_NAME=$name" --env "DRAIN_WINDOW=$WINDOW" \
    "${HARDENED[@]}" "$@" >"$TMP/output" 2>&1 || {
    cat "$TMP/output" >&2
    return 1
  }
}

start_replica() { start_container "$1" --network-alias "$ALIAS" "ml-inference:$2"; }

# wait_for SECONDS COMMAND...
wait_for() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.1
  done
}

# who_answers: adds the name and the version of whoever answers to $TMP/answers.
who_answers() {
  fetch --output /dev/null --dump-header - "$url/predict" 2>/dev/null | tr -d '\r' |
    awk 'tolower($1) == "x-served-by:" { name = $2 } tolower($1) == "x-model-version:" { version = $2 }
      END { if (name != "") print name, version }'
}

answered_by() { who_answers | grep -q "^$1 "; }

# seen_over COUNT FIELD: the distinct values of COUNT answers, 1 = name, 2 = version.
seen_over() {
  local i
  for ((i = 0; i < $1; i++)); do who_answers; done | awk -v f="$2" '{ print $f }' | sort -u | tr '\n' ' ' | sed 's/ $//'
}

container_logs() { "$ENGINE" logs --tail 15 "$run-$1" 2>&1 || true; }

check_running_user() {
  local pid uid
  pid=$("$ENGINE" inspect --format '{{.State.Pid}}' "$run-gateway")
  # Where the engine lives in a virtual machine the process cannot be seen from here.
  if [ -r "/proc/$pid/status" ] && grep -q '^Name:.*gateway' "/proc/$pid/status"; then
    uid=$(awk '/^Uid:/ { print $2 }' "/proc/$pid/status")
    [ "$(id -u)" != 0 ] || check "the gateway runs as user" 65532 "$uid"
    check "the gateway holds no capability" 0000000000000000 "$(awk '/^CapBnd:/ { print $2 }' "/proc/$pid/status")"
  fi
}

check_answers() {
  local line='{"predictions": [2.5, 3.0, 4.5], "model": "half_plus_two", "version": "1.0"}'
  # The x keeps the newlines at the end.
  check "GET /predict" "$line"$'\n'x "$(fetch "$url/predict" && echo x)"
  check "GET /health" $'Gateway OK\nx' "$(fetch "$url/health" && echo x)"
  check "GET /status" $'API Gateway v1.0\nBackend: ml-inference-service:5000\nx' "$(fetch "$url/status" && echo x)"
  check "every replica answers" "ml-inference-1 ml-inference-2 ml-inference-3" "$(seen_over 60 1)"
}

# replace TAG SUFFIX OLD_SUFFIX: one by one, the new one answering before the old one goes.
replace() {
  local tag=$1 suffix=$2 old_suffix=$3 i old
  for ((i = 1; i <= REPLICAS; i++)); do
    old=ml-inference-$i$old_suffix
    start_replica "ml-inference-$i$suffix" "$tag" || return 1
    if ! wait_for 60 answered_by "ml-inference-$i$suffix"; then
      fail "the gateway finds ml-inference-$i$suffix by DNS within 60 s" "$(container_logs "ml-inference-$i$suffix")" \
        "gateway:" "$(container_logs gateway)"
      return 1
    fi
    "$ENGINE" stop -t 30 "$run-$old" >/dev/null
    exit_codes="$exit_codes $("$ENGINE" inspect --format '{{.State.ExitCode}}' "$run-$old")"
    "$ENGINE" rm "$run-$old" >/dev/null
  done
}

run_pair() {
  local i name
  networks+=("$run")
  "$ENGINE" network create "$run" >/dev/null

  # The gateway alone first: the backend's name does not resolve yet.
  start_container gateway --publish "127.0.0.1:$port:8080" --publish "127.0.0.1:$((port + 10)):9090" "api-gateway:$v1"
  if wait_for 20 answers_200 "http://127.0.0.1:$((port + 10))/readyz"; then
    pass "the gateway is ready before its backend's name resolves"
  else
    fail "the gateway is ready before its backend's name resolves" "$(container_logs gateway)"
    return
  fi
  check "GET /health without a backend" "Gateway OK" "$(fetch "$url/health")"
  check_running_user

  for ((i = 1; i <= REPLICAS; i++)); do start_replica "ml-inference-$i" "$v1"; done
  if wait_for 60 answers_200 "$url/predict"; then
    pass "the gateway finds $ALIAS by DNS"
  else
    fail "the gateway finds $ALIAS by DNS" "$(fetch --include "$url/predict" 2>&1)" "$(container_logs gateway)"
    return
  fi
  for ((i = 1; i <= REPLICAS; i++)); do
    wait_for 60 answered_by "ml-inference-$i" || fail "ml-inference-$i answers within 60 s" "$(container_logs "ml-inference-$i")"
  done
  check_answers
}

roll_under_load() {
  local exit_codes='' lost=no
  say "replacing the replicas one by one under load ($rate requests a second)"
  start_load container-test "$url/predict" "$rate" 16
  mark_load "v1 -> v2"
  if replace "$v2" -v2 ''; then
    check "after the update only version 2.0 answers" 2.0 "$(seen_over 30 2)"
    mark_load "v2 -> v1"
    if replace "$v1" -back -v2; then check "and after the way back only 1.0" 1.0 "$(seen_over 30 2)"; fi
  fi
  stop_load || lost=yes
  check "every replaced replica ended with status 0" " 0 0 0 0 0 0" "$exit_codes"
  show_load
  if [ "$lost" = no ]; then pass "no request failed during the replacement"; else
    fail "no request failed during the replacement" "$(container_logs gateway)"
  fi
}

stop_gateway() {
  "$ENGINE" stop -t 30 "$run-gateway" >/dev/null
  check "the gateway ends with status 0" 0 "$("$ENGINE" inspect --format '{{.State.ExitCode}}' "$run-gateway")"
}

# A model that nothing but onnxruntime runs, out of a mounted directory.
run_onnxruntime() {
  local image=ml-inference:$run-onnxruntime answer
  mkdir "$TMP/onnxruntime" "$TMP/models"
  chmod 755 "$TMP/models"
  cp "$onnxruntime" "$TMP/onnxruntime/ml-inference"
  install -m 644 "$ROOT/ml-inference/tests/zoo/only_onnxruntime/determinant.onnx" "$TMP/models"
  images+=("$image")
  if ! problem=$(quietly "$ROOT/scripts/build-images.sh" --engine "$ENGINE" --prebuilt "$TMP/onnxruntime" --onnxruntime \
    --only ml-inference --tag "${image#*:}" --no-load); then
    fail "the image with onnxruntime" "$problem"
    return
  fi
  start_container onnxruntime --publish "127.0.0.1:$port:5000" --env MODELS_DIR=/models --volume "$TMP/models:/models:ro" "$image"
  if wait_for 30 answers_200 "$url/v2/models/determinant/ready"; then
    answer=$(fetch --data '{"instances": [[[1, 0, 0], [0, 2, 0], [0, 0, 3]]]}' "$url/v1/models/determinant:predict")
    check "a container with onnxruntime answers" '{"predictions":[6.0]}' "$answer"
  else
    fail "a container with onnxruntime loads its model within 30 s" "$(container_logs onnxruntime)"
  fi
}

# -----------------------------------------------------------------------------------------------------------------

choose_engine "$engine"
[ "$ENGINE" != buildah ] || die "$EXIT_UNAVAILABLE" "buildah only builds: docker or podman is needed to run containers"
need_free_port "$port" "the gateway"
need_free_port $((port + 10)) "the gateway's admin listener"
if [ -z "$builder" ]; then
  builder=image
  if [ "$ENGINE" = podman ] && [ "$(uname -s)" = Linux ] && have rustc; then builder=host; fi
fi
case $builder in
host)
  need rustc "install Rust from https://rustup.rs, or use --builder fake"
  [ "$ENGINE" = podman ] || usage_error "--builder host mounts directories while an image is built, which only podman can: --builder image"
  ;;
fake) need busybox "get it with: apt-get install busybox-static   (it must be the static one)" ;;
esac

make_tmp
trap remove_all EXIT
trap 'exit 130' INT TERM
plain_podman

say "images, with $ENGINE"
build_prebuilt && check_images
say "the pair on one network, published on 127.0.0.1:$port"
run_pair
if [ "$failed" -eq 0 ]; then
  roll_under_load
  stop_gateway
fi
if [ -n "$onnxruntime" ]; then
  say "ml-inference with onnxruntime"
  run_onnxruntime
fi
if [ "$builder" = none ]; then
  say "deploy/Dockerfile: not exercised (--builder none)"
else
  say "deploy/Dockerfile, as users build it"
  exercise_dockerfile
fi

echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
