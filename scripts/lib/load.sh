# shellcheck shell=bash
# Load beside something else, with the load test (scripts/load-test). Sourced after common.sh.

: "${LOAD_TEST:=}" # a load-test binary to use instead of building it
export LOAD_TEST
REPORTS=$ROOT/target/load-test

need_load_test() {
  if [ -n "$LOAD_TEST" ]; then
    [ -x "$LOAD_TEST" ] || die "$EXIT_UNAVAILABLE" "$LOAD_TEST (LOAD_TEST) is missing or cannot be executed"
    return
  fi
  need_cargo
  LOAD_TEST=$(cargo_target)/debug/load-test
  [ -x "$LOAD_TEST" ] || say "building the load test (once)"
  (cd "$ROOT" && cargo build --quiet --package load-test) || die "$EXIT_FAILED" "the build failed: see above"
}

# Load in the background for as long as something else takes.
LOAD_PID=''
LOAD_REPORT=''
readonly LOAD_LIMIT=5s # a request that takes longer has failed

# start_load NAME URL RATE CONNECTIONS [MORE OPTIONS...]: the summary goes to NAME.txt in $REPORTS, the reports to NAME.json and NAME.html.
start_load() {
  local url=$2 rate=$3 connections=$4
  LOAD_REPORT=$REPORTS/$1
  shift 4
  mkdir -p "$REPORTS"
  : >"$LOAD_REPORT.marks"
  # Job control puts it into a group of its own: Ctrl-C reaches the script alone, which decides when the load ends.
  # The time is only a bound, in case stop_load is never reached.
  set -m
  "$LOAD_TEST" --url "$url" --rate "$rate" --connections "$connections" --duration 20m --timeout "$LOAD_LIMIT" --quiet \
    --marks "$LOAD_REPORT.marks" --json "$LOAD_REPORT.json" --html "$LOAD_REPORT.html" "$@" \
    >"$LOAD_REPORT.txt" 2>&1 </dev/null &
  LOAD_PID=$!
  set +m
}

# mark_load TEXT: what begins now, for the report.
mark_load() { printf '%s\n' "$1" >>"$LOAD_REPORT.marks"; }

load_running() { [ -n "$LOAD_PID" ] && kill -0 "$LOAD_PID" 2>/dev/null; }

# stop_load: waits for the requests under way. Returns 0 when none failed.
stop_load() {
  local status=0
  if ! load_running; then
    warn "the load ended before its time:"
    cat "$LOAD_REPORT.txt" >&2
    LOAD_PID=''
    return 1
  fi
  kill -TERM "$LOAD_PID"
  wait "$LOAD_PID" || status=$?
  LOAD_PID=''
  return "$status"
}

# drop_load: for exit traps.
drop_load() { ! load_running || kill -KILL "$LOAD_PID" 2>/dev/null || true; }

# show_load: the summary, and last the line "failed requests: N of M".
show_load() { sed '$!s/^\(.\)/    \1/' "$LOAD_REPORT.txt"; }
