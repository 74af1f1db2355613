# shellcheck shell=bash disable=SC2034 # what is set here is used by the scripts
# The local pair as processes: one gateway in front of N replicas of ml-inference, all on 127.0.0.1.
# Sourced after common.sh by up.sh and rolling-update.sh, which set the ports and PAIR_LOGS.

GATEWAY_PORT=30080
ADMIN_PORT=30090
ML_PORT=5001 # the first replica's; the others follow
BIN_DIR=''
PAIR_LOGS=files # files: one log file a process in $TMP; terminal: every line on stdout, after its process's name

# A short drain, so that Ctrl-C is quick; a pod keeps the services' own default.
: "${DRAIN_WINDOW:=1}" "${DRAIN_TIMEOUT:=20}"
export DRAIN_WINDOW DRAIN_TIMEOUT

PAIR_NAMES=() # indexed by process id
LOG_PIDS=()
STARTED=0 # starts so far: names the pipes and log files
READY_SECONDS=30

# build_binaries PROFILE_DIRECTORY [CARGO ARGUMENTS...]: sets BIN_DIR.
build_binaries() {
  local profile=$1
  shift
  need_cargo
  say "building: cargo build --bin gateway --bin ml-inference${*:+ $*}"
  (cd "$ROOT" && cargo build --bin gateway --bin ml-inference "$@") ||
    die "$EXIT_FAILED" "the build failed: see above"
  BIN_DIR=$(cargo_target)/$profile
}

# use_binaries DIRECTORY: takes binaries built before.
use_binaries() {
  local name
  [ -d "$1" ] || usage_error "no such directory: $1"
  BIN_DIR=$(cd "$1" && pwd)
  for name in gateway ml-inference; do
    [ -x "$BIN_DIR/$name" ] || die "$EXIT_UNAVAILABLE" "$BIN_DIR/$name is missing or cannot be executed"
  done
}

need_free_ports() {
  local replicas=$1 i
  for ((i = 1; i <= replicas; i++)); do need_free_port $((ML_PORT + i - 1)) "ml-inference-$i"; done
  need_free_port "$GATEWAY_PORT" gateway
  need_free_port "$ADMIN_PORT" "the gateway's admin listener"
}

# mawk reads a pipe in blocks unless told otherwise, and log lines would come late.
prefix_lines() {
  local interactive=''
  case $(awk -W version 2>&1 </dev/null) in mawk*) interactive='-W interactive' ;; esac
  # shellcheck disable=SC2086 # two words or none
  exec awk $interactive -v start="$(printf '%s%-14s |%s ' "$DIM" "$1" "$PLAIN")" '{ print start $0; fflush() }'
}

# start_process NAME COMMAND...: sets STARTED_PID.
# Job control (set -m) gives each process its own group, so that Ctrl-C in the terminal reaches the script alone and
# every service gets exactly one signal: its second would end it at once.
start_process() {
  local name=$1 out log_pid=''
  shift
  STARTED=$((STARTED + 1))
  out=$TMP/$STARTED-$name.log
  [ "$PAIR_LOGS" = files ] || mkfifo "$out"
  set -m
  if [ "$PAIR_LOGS" = terminal ]; then
    prefix_lines "$name" <"$out" &
    log_pid=$!
  fi
  "$@" >"$out" 2>&1 </dev/null &
  STARTED_PID=$!
  set +m
  PAIR_NAMES[STARTED_PID]=$name
  [ -z "$log_pid" ] || LOG_PIDS+=("$log_pid")
}

# start_ml_inference INDEX VERSION
start_ml_inference() {
  local index=$1 version=$2
  start_process "ml-inference-$index" env -u CONFIG_FILE \
    BIND_ADDRESS=127.0.0.1 SERVICE_PORT=$((ML_PORT + index - 1)) ADMIN_ADDRESS=127.0.0.1:0 \
    POD_NAME="ml-inference-$index" MODEL_VERSION="$version" "$BIN_DIR/ml-inference"
}

# start_gateway REPLICAS: only `clusters` is given, so the routes stay the lab's defaults.
start_gateway() {
  local replicas=$1 i endpoints=''
  for ((i = 1; i <= replicas; i++)); do
    endpoints="$endpoints${endpoints:+, }\"127.0.0.1:$((ML_PORT + i - 1))\""
  done
  cat >"$TMP/gateway.yaml" <<EOF
clusters:
  - name: ml-inference-service:5000
    endpoints: [$endpoints]
EOF
  start_process gateway env CONFIG_FILE="$TMP/gateway.yaml" POD_NAME=api-gateway-1 \
    LISTEN_ADDRESS="127.0.0.1:$GATEWAY_PORT" ADMIN_ADDRESS="127.0.0.1:$ADMIN_PORT" "$BIN_DIR/gateway"
}

running() { kill -0 "$1" 2>/dev/null; }

# Tells how a process ended; returns its status.
report_end() {
  local pid=$1 status=0 log
  wait "$pid" || status=$?
  warn "${PAIR_NAMES[pid]} ended by itself with status $status$(status_meaning "$status")"
  if [ "$PAIR_LOGS" = files ]; then
    for log in "$TMP"/*-"${PAIR_NAMES[pid]}".log; do sed "s/^/    /" "$log" | tail -n 20 >&2; done
  else
    note "its last lines are above, after \"${PAIR_NAMES[pid]}\"" >&2
  fi
  return "$status"
}

status_meaning() {
  case $1 in
  78) echo ": a setting is wrong" ;;
  126 | 127) echo ": the program cannot be executed" ;;
  137) echo ": killed" ;;
  *) ;;
  esac
}

# wait_ready PID URL: until URL answers 200, as long as the process lives, READY_SECONDS at most.
wait_ready() {
  local pid=$1 url=$2 deadline=$((SECONDS + READY_SECONDS))
  until answers_200 "$url"; do
    if ! running "$pid"; then
      report_end "$pid" || true
      return 1
    fi
    if [ "$SECONDS" -ge "$deadline" ]; then
      warn "${PAIR_NAMES[pid]} is not ready after $READY_SECONDS s: $url does not answer 200"
      return 1
    fi
    sleep 0.05
  done
}

wait_ml_ready() { wait_ready "$1" "http://127.0.0.1:$((ML_PORT + $2 - 1))/readyz"; }
wait_gateway_ready() { wait_ready "$1" "http://127.0.0.1:$ADMIN_PORT/readyz"; }

# wait_stopped PID: after SIGTERM, until the drain is over. Returns the process's status.
wait_stopped() {
  # The two settings may be fractions of a second; whole seconds and some slack are enough here.
  local pid=$1 status=0 deadline=$((SECONDS + ${DRAIN_WINDOW%%.*} + ${DRAIN_TIMEOUT%%.*} + 5))
  while running "$pid"; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      warn "${PAIR_NAMES[pid]} is still there long after SIGTERM: killing it"
      kill -KILL "$pid" 2>/dev/null || true
      break
    fi
    sleep 0.05
  done
  wait "$pid" 2>/dev/null || status=$?
  return "$status"
}

send_term() { kill -TERM "$1" 2>/dev/null || true; }

stop_process() {
  send_term "$1"
  wait_stopped "$1"
}

# Lets the last log lines out.
finish_logs() {
  local pid
  for pid in ${LOG_PIDS[@]+"${LOG_PIDS[@]}"}; do wait "$pid" 2>/dev/null || true; done
}
