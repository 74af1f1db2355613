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

# Load in the background for as long as something else takes; several of them, when each has a name of its own.
LOAD_PIDS=()
LOAD_REPORTS=()
readonly LOAD_LIMIT=5s # a request that takes longer has failed

# start_load NAME URL RATE CONNECTIONS [MORE OPTIONS...]: the summary goes to NAME.txt in $REPORTS, the reports to NAME.json and NAME.html.
start_load() {
  local report=$REPORTS/$1 url=$2 rate=$3 connections=$4
  shift 4
  mkdir -p "$REPORTS"
  : >"$report.marks"
  # Job control puts it into a group of its own: Ctrl-C reaches the script alone, which decides when the load ends.
  # The time is only a bound, in case stop_load is never reached.
  set -m
  "$LOAD_TEST" --url "$url" --rate "$rate" --connections "$connections" --duration 20m --timeout "$LOAD_LIMIT" --quiet \
    --marks "$report.marks" --json "$report.json" --html "$report.html" "$@" \
    >"$report.txt" 2>&1 </dev/null &
  LOAD_PIDS[${#LOAD_REPORTS[@]}]=$!
  LOAD_REPORTS+=("$report")
  set +m
}

# mark_load TEXT: what begins now, for the reports.
mark_load() {
  local report
  for report in ${LOAD_REPORTS[@]+"${LOAD_REPORTS[@]}"}; do printf '%s\n' "$1" >>"$report.marks"; done
}

# stop_load: all that still runs; waits for the requests under way. Returns 0 when none failed.
stop_load() {
  local i status=0
  for ((i = 0; i < ${#LOAD_REPORTS[@]}; i++)); do
    [ -z "${LOAD_PIDS[i]:-}" ] || end_load "$i" || status=$?
  done
  return "$status"
}

# end_load INDEX: one of them, counted from 0 in the order of their starts.
end_load() {
  local pid=${LOAD_PIDS[$1]} status=0
  unset "LOAD_PIDS[$1]"
  if kill -TERM "$pid" 2>/dev/null; then
    wait "$pid" || status=$?
  else
    warn "the load ended before its time:"
    cat "${LOAD_REPORTS[$1]}.txt" >&2
    status=$EXIT_FAILED
  fi
  return "$status"
}

# drop_load: for exit traps.
drop_load() {
  local pid
  for pid in ${LOAD_PIDS[@]+"${LOAD_PIDS[@]}"}; do kill -KILL "$pid" 2>/dev/null || true; done
}

# show_load: the summaries, and last the line "failed requests: N of M".
show_load() {
  local report
  for report in ${LOAD_REPORTS[@]+"${LOAD_REPORTS[@]}"}; do
    sed '$d; s/^\(.\)/    \1/' "$report.txt"
    echo
  done
  for report in ${LOAD_REPORTS[@]+"${LOAD_REPORTS[@]}"}; do tail -n 1 "$report.txt"; done |
    awk '/^failed requests: / { failed += $3; all += $5; next } { unknown = 1 }
      END { if (unknown) print "failed requests: unknown"; else printf "failed requests: %d of %d\n", failed, all }'
}
