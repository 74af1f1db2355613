#!/usr/bin/env bash
# The lab's Step 10 under constant load: v1 -> v2 -> undo, and no request may fail on the way.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/load.sh
. "$ROOT/scripts/lib/load.sh"
# shellcheck source-path=SCRIPTDIR source=lib/cluster.sh
. "$ROOT/scripts/lib/cluster.sh"
# shellcheck source-path=SCRIPTDIR source=lib/pair.sh
. "$ROOT/scripts/lib/pair.sh"

usage() {
  cat <<'EOF'
Usage: scripts/rolling-update.sh [options]            on the cluster that deploy.sh deployed to
       scripts/rolling-update.sh --local [options]    on processes of this machine

Updates ml-inference to version 2.0 and back while load runs through the gateway, says which versions answered, and ends
with "failed requests: N of M".

  --rate R             requests a second (100)
  --connections C      at the same time (16)

On a cluster:
  --url URL            what to ask (http://.../predict); by default the gateway's nodePort
  --image IMAGE        the image to update to (ml-inference:2.0; scripts/build-images.sh --only ml-inference --tag 2.0)
  --version V          the version that image answers with; by default its tag, when that is a number like 2.0
  --overlay NAME       base, dev, staging or prod (base)
  --context NAME       the kubectl context (the current one)
  --timeout T          how long to wait for each rollout (180s)

With --local (three replicas, replaced one by one on the same ports):
  --port P             the gateway's port (30080); its admin listener takes P + 10
  --ml-port P          the first replica's port (5001)
  --bin-dir DIR        run DIR/gateway and DIR/ml-inference instead of building
  --release            build with the release profile
  --help

Exit status: 0 both ways went through and no request failed, 1 otherwise, 2 wrong arguments, 3 a tool or cluster is missing.
EOF
}

mode=cluster
rate=100
connections=16
url=''
image=ml-inference:2.0
version=''
overlay=base
context=''
timeout=180s
profile=debug
cargo_args=()
while [ $# -gt 0 ]; do
  case $1 in
  --help | -h) usage && exit 0 ;;
  --local) mode=local && shift && continue ;;
  --release) profile=release cargo_args=(--release) && shift && continue ;;
  --rate | --connections | --port | --ml-port) need_value "$1" $# && need_number "$1" "$2" ;;
  --url | --image | --version | --overlay | --context | --timeout | --bin-dir) need_value "$1" $# ;;
  *) usage_error "unknown argument: $1" ;;
  esac
  case $1 in
  --rate) rate=$2 ;;
  --connections) connections=$2 ;;
  --port) GATEWAY_PORT=$2 ADMIN_PORT=$(($2 + 10)) ;;
  --ml-port) ML_PORT=$2 ;;
  --url) url=$2 ;;
  --image) image=$2 ;;
  --version) version=$2 ;;
  --overlay) overlay=$2 ;;
  --context) context=$2 ;;
  --timeout) timeout=$2 ;;
  --bin-dir) use_binaries "$2" ;;
  esac
  shift 2
done
if [ "$mode" = cluster ] && [ -z "$version" ]; then
  # The tag is what build-images.sh stamps, as long as it is a number.
  version=${image##*:}
  [[ $version =~ ^[0-9]+(\.[0-9]+)*$ ]] ||
    usage_error "the tag of $image is no version: say with --version which one it answers with"
fi

# --- which version answers ---------------------------------------------------------------------------------------

# versions_now: the versions in thirty answers, one after the other.
versions_now() {
  local i
  for ((i = 0; i < 30; i++)); do
    fetch --output /dev/null --dump-header - "$url" 2>/dev/null | tr -d '\r' | awk 'tolower($1) == "x-model-version:" { print $2 }'
  done | sort -u | tr '\n' ' ' | sed 's/ $//'
}

# expect_version VERSION: what everyone answers with now.
expect_version() {
  local wanted=$1 seen
  seen=$(versions_now)
  if [ "$seen" = "$wanted" ]; then
    note "now every answer is of version $wanted"
    return
  fi
  warn "expected answers of version $wanted only, got: ${seen:-none}"
  return 1
}

# --- on this machine ---------------------------------------------------------------------------------------------

readonly REPLICAS=3
ml_pids=()
gateway_pid=''

start_replica() {
  start_ml_inference "$1" "$2"
  ml_pids[$1]=$STARTED_PID
  wait_ml_ready "$STARTED_PID" "$1"
}

# The list of endpoints is fixed, so a new process takes the port of the old one once that has drained and gone. Until then
# the gateway has the other two.
replace_all() {
  local version=$1 i status
  for ((i = 1; i <= REPLICAS; i++)); do
    status=0
    stop_process "${ml_pids[i]}" || status=$?
    [ "$status" -eq 0 ] || warn "ml-inference-$i ended with status $status instead of 0 after SIGTERM"
    start_replica "$i" "$version" || return 1
    note "ml-inference-$i is version $version now"
  done
}

run_local() {
  local i
  if [ -z "$BIN_DIR" ]; then build_binaries "$profile" ${cargo_args[@]+"${cargo_args[@]}"}; fi
  need_free_ports "$REPLICAS"
  say "starting $REPLICAS x ml-inference (version 1.0) and the gateway"
  for ((i = 1; i <= REPLICAS; i++)); do start_replica "$i" 1.0 || exit "$EXIT_FAILED"; done
  start_gateway "$REPLICAS"
  gateway_pid=$STARTED_PID
  wait_gateway_ready "$gateway_pid" || exit "$EXIT_FAILED"
  url=http://127.0.0.1:$GATEWAY_PORT/predict

  begin_load
  step "v1 -> v2" 2.0 replace_all 2.0 || return 1
  step "undo: v2 -> v1" 1.0 replace_all 1.0
}

stop_local() {
  local pid
  if [ -n "$gateway_pid" ]; then stop_process "$gateway_pid" || true; fi
  for pid in ${ml_pids[@]+"${ml_pids[@]}"}; do send_term "$pid"; done
  for pid in ${ml_pids[@]+"${ml_pids[@]}"}; do wait_stopped "$pid" || true; done
}

# --- on a cluster ------------------------------------------------------------------------------------------------

updated=''
: "${GONE_SECONDS:=45}" # the pods' grace period, 30 s, and some slack

rollout() {
  in_namespace rollout status deployment/ml-inference --timeout "$timeout" || {
    in_namespace get pods -l app=ml-inference >&2 || true
    warn "the rollout did not finish within $timeout"
    return 1
  }
  wait_gone
}

# wait_gone: `rollout status` ends when the last old pod is marked as deleted. It serves on through its preStop hook and its
# drain, so the version cannot be told before it is gone, and the load has to see that part too.
wait_gone() {
  local leaving deadline=$((SECONDS + GONE_SECONDS))
  while :; do
    leaving=$(in_namespace get pods -l app=ml-inference -o 'jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}') ||
      return 1
    [ -n "$leaving" ] || return 0
    if [ "$SECONDS" -ge "$deadline" ]; then
      warn "still terminating after $GONE_SECONDS s: $leaving"
      return 1
    fi
    sleep 1
  done
}

update_image() {
  updated=yes
  in_namespace set image deployment/ml-inference "ml-model=$image" &&
    in_namespace annotate deployment/ml-inference "kubernetes.io/change-cause=Updated to $image" --overwrite &&
    rollout && in_namespace rollout history deployment/ml-inference
}

undo_update() {
  in_namespace rollout undo deployment/ml-inference && updated='' &&
    rollout && in_namespace rollout history deployment/ml-inference
}

run_cluster() {
  local before version_before
  NAMESPACE=$(overlay_namespace "$overlay")
  connect_cluster "$context"
  need_namespace
  before=$(in_namespace get deployment ml-inference -o 'jsonpath={.spec.template.spec.containers[?(@.name=="ml-model")].image}') ||
    die "$EXIT_UNAVAILABLE" "there is no deployment ml-inference in namespace $NAMESPACE" "make it with scripts/deploy.sh"
  [ "$before" != "$image" ] ||
    die "$EXIT_FAILED" "ml-inference already runs $image: there is nothing to update to" "name another with --image, or go back first: scripts/deploy.sh"
  if [ -z "$url" ]; then
    gateway_url || die "$EXIT_UNAVAILABLE" "the gateway's nodePort cannot be found" "give its address with --url"
    url=$GATEWAY_URL/predict
  fi
  if ! answers_200 "$url"; then
    warn "$url does not answer 200 from here; open a way in another terminal and give its address with --url:"
    other_ways
    exit "$EXIT_UNAVAILABLE"
  fi
  version_before=$(versions_now)
  case $version_before in
  '') die "$EXIT_FAILED" "the answers of $url name no version (x-model-version)" "is it the path of ml-inference?" ;;
  *' '*)
    die "$EXIT_FAILED" "several versions answer already: $version_before" "wait until an earlier rollout is over and no pod is Terminating"
    ;;
  esac

  begin_load
  step "v1 -> v2: $before -> $image" "$version" update_image || return 1
  step "undo: $image -> $before" "$version_before" undo_update
}

# --- both --------------------------------------------------------------------------------------------------------

begin_load() {
  say "load on $url: $rate requests a second, $connections connections"
  start_load rolling-update "$url" "$rate" "$connections"
}

# step TITLE VERSION_AFTERWARDS COMMAND...
step() {
  local title=$1 version=$2
  shift 2
  say "$title"
  mark_load "$title"
  "$@" || return 1
  expect_version "$version"
}

on_exit() {
  local status=$?
  trap '' INT TERM HUP
  drop_load
  stop_local
  if [ -n "$updated" ]; then
    warn "undoing the update"
    in_namespace rollout undo deployment/ml-inference >&2 || status=$EXIT_FAILED
  fi
  cleanup_tmp
  exit "$status"
}

finish() {
  local status=0
  stop_load || status=$?
  say "what the load saw"
  show_load
  return "$status"
}

need_load_test
need_curl
make_tmp
trap on_exit EXIT
trap 'exit 130' INT TERM HUP

went_through=yes
"run_$mode" || went_through=no
finish || went_through=no
[ "$went_through" = yes ]
