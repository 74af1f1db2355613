#!/usr/bin/env bash
# Runs the pair on this machine: one gateway in front of N replicas of ml-inference. No cluster, no container.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/pair.sh
. "$ROOT/scripts/lib/pair.sh"

usage() {
  cat <<'EOF'
Usage: scripts/up.sh [options]

Builds and runs the pair on this machine until Ctrl-C, or until the gateway or the last replica dies:
client -> gateway 127.0.0.1:30080 -> ml-inference 127.0.0.1:5001, :5002, ...

  --release            build with the release profile (slow to build; the default is dev)
  --replicas N         replicas of ml-inference (2)
  --port P             the gateway's port (30080); its admin listener takes P + 10
  --ml-port P          the first replica's port (5001)
  --model-version V    the version the replicas answer with (1.0)
  --bin-dir DIR        run DIR/gateway and DIR/ml-inference instead of building
  --help

Any setting of the two services can be given as an environment variable, for example LOG_LEVEL=debug scripts/up.sh.
DRAIN_WINDOW is 1 s here unless you set it, so that Ctrl-C is quick.

Exit status: 0 ended by Ctrl-C or SIGTERM, 1 something failed, 2 wrong arguments, 3 a tool is missing.
EOF
}

replicas=2
profile=debug
cargo_args=()
version=${MODEL_VERSION:-1.0}
while [ $# -gt 0 ]; do
  case $1 in
  --release) profile=release cargo_args=(--release) ;;
  --replicas) need_value "$1" $# && need_number "$1" "$2" && replicas=$2 && shift ;;
  --port) need_value "$1" $# && need_port "$1" "$2" 65525 && GATEWAY_PORT=$2 ADMIN_PORT=$(($2 + 10)) && shift ;;
  --ml-port) need_value "$1" $# && need_port "$1" "$2" && ML_PORT=$2 && shift ;;
  --model-version) need_value "$1" $# && version=$2 && shift ;;
  --bin-dir) need_value "$1" $# && use_binaries "$2" && shift ;;
  --help | -h) usage && exit 0 ;;
  *) usage_error "unknown argument: $1" ;;
  esac
  shift
done
{ [ "$replicas" -ge 1 ] && [ "$replicas" -le 100 ]; } || usage_error "--replicas needs a number from 1 to 100"
last_ml_port=$((ML_PORT + replicas - 1))
[ "$last_ml_port" -le 65535 ] || usage_error "the replicas would need ports up to $last_ml_port: choose a lower --ml-port"
for port in "$GATEWAY_PORT" "$ADMIN_PORT"; do
  [ "$port" -lt "$ML_PORT" ] || [ "$port" -gt "$last_ml_port" ] ||
    usage_error "port $port is the gateway's and one of the replicas' ($ML_PORT to $last_ml_port): choose another --ml-port"
done
need_curl

gateway_pid=''
ml_pids=()
starting=''
interrupted=''
stopping=''

# The gateway first: while it finishes what it has, its replicas are still there.
stop_pair() {
  local pid status=0
  if [ -n "$gateway_pid" ]; then stop_process "$gateway_pid" || status=1; fi
  for pid in ${ml_pids[@]+"${ml_pids[@]}"}; do send_term "$pid"; done
  for pid in ${ml_pids[@]+"${ml_pids[@]}"}; do wait_stopped "$pid" || status=1; done
  finish_logs
  return "$status"
}

# The first signal ends the script, the EXIT trap stops the pair. One that comes meanwhile is passed on: each service's
# second signal ends it at once. While processes are being started it waits, or one not yet noted would be left behind.
on_signal() {
  local pid
  if [ -n "$starting" ]; then
    interrupted=yes
    return
  fi
  [ -n "$stopping" ] || exit 0
  for pid in $gateway_pid ${ml_pids[@]+"${ml_pids[@]}"}; do send_term "$pid"; done
}

on_exit() {
  local status=$?
  stopping=yes
  if [ -n "$gateway_pid" ] || [ "${#ml_pids[@]}" -gt 0 ]; then
    say "stopping (once more to end at once)"
    stop_pair || status=$EXIT_FAILED
  fi
  cleanup_tmp
  exit "$status"
}

if [ -z "$BIN_DIR" ]; then build_binaries "$profile" ${cargo_args[@]+"${cargo_args[@]}"}; fi

make_tmp
trap on_exit EXIT
trap on_signal INT TERM HUP

need_free_ports "$replicas"
PAIR_LOGS=terminal
export LOG_FORMAT=${LOG_FORMAT:-text}

say "starting $replicas x ml-inference (version $version) and the gateway"
starting=yes
for ((i = 1; i <= replicas; i++)); do
  start_ml_inference "$i" "$version"
  ml_pids+=("$STARTED_PID")
done
start_gateway "$replicas"
gateway_pid=$STARTED_PID
starting=''
[ -z "$interrupted" ] || exit 0

for ((i = 1; i <= replicas; i++)); do wait_ml_ready "${ml_pids[i - 1]}" "$i" || exit "$EXIT_FAILED"; done
wait_gateway_ready "$gateway_pid" || exit "$EXIT_FAILED"

url=http://127.0.0.1:$GATEWAY_PORT
say "ready; try, in another terminal:"
note "curl $url/predict"
note "curl -d '{\"instances\": [1.0, 2.0, 5.0]}' $url/predict"
note "curl -d '{\"features\": [1, 2, 3, 4, 5]}' $url/predict"
note "curl $url/health"
note "curl $url/status"
note "curl http://127.0.0.1:$ADMIN_PORT/metrics"
note "scripts/load-test.sh --url $url/predict"
say "Ctrl-C ends it"

# A replica that dies leaves the others to the gateway, as in a cluster; here nobody starts it anew.
while :; do
  if ! running "$gateway_pid"; then
    report_end "$gateway_pid" || true
    exit "$EXIT_FAILED"
  fi
  left=()
  for pid in "${ml_pids[@]}"; do
    if running "$pid"; then left+=("$pid"); else report_end "$pid" || true; fi
  done
  [ "${#left[@]}" -gt 0 ] || exit "$EXIT_FAILED"
  ml_pids=("${left[@]}")
  sleep 0.2
done
