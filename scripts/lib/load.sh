# shellcheck shell=bash
# Load with oha, and what its report says about failed requests. Sourced after common.sh.

OHA=''

need_oha() {
  # cargo's own folder may not be in PATH.
  for OHA in oha "${CARGO_HOME:-$HOME/.cargo}/bin/oha"; do
    ! have "$OHA" || return 0
  done
  die "$EXIT_UNAVAILABLE" "oha (the load generator) is missing" \
    "get it with: cargo install oha --locked      (or: brew install oha)"
}

# oha_run REPORT OHA_ARGUMENTS...: the report goes to the file.
# -w with -t: every request that was sent ends as a status or as an error. Without -w, oha drops those in flight at its
# deadline, and a hung request among them would go unseen.
readonly OHA_ALWAYS=(--no-tui --no-color -w)
oha_run() {
  local report=$1
  shift
  "$OHA" "${OHA_ALWAYS[@]}" -t "${REQUEST_LIMIT:-10s}" --output "$report" "$@"
}

# Load in the background for as long as something else takes.
LOAD_PID=''
LOAD_REPORT=''
readonly LOAD_LIMIT=5 # seconds; a request that takes longer has failed

# start_load REPORT URL RATE CONNECTIONS
start_load() {
  LOAD_REPORT=$1
  # Job control: without it bash starts background processes with SIGINT ignored, and SIGINT is how stop_load ends this one.
  # The time is only a bound, in case stop_load is never reached.
  set -m
  "$OHA" "${OHA_ALWAYS[@]}" -t "${LOAD_LIMIT}s" --output "$LOAD_REPORT" -z 20m -q "$3" -c "$4" "$2" \
    >"$LOAD_REPORT.out" 2>&1 </dev/null &
  LOAD_PID=$!
  set +m
}

load_running() { [ -n "$LOAD_PID" ] && kill -0 "$LOAD_PID" 2>/dev/null; }

# stop_load: an interrupted oha writes its report but leaves out what is in flight. So the load first goes on for longer than
# its own limit: a request that hung in what was tested is then a time-out in the report.
stop_load() {
  if ! load_running; then
    warn "the load ended before its time:"
    cat "$LOAD_REPORT.out" >&2
    LOAD_PID=''
    return 1
  fi
  sleep $((LOAD_LIMIT + 1))
  kill -INT "$LOAD_PID"
  wait "$LOAD_PID" || true
  LOAD_PID=''
}

# drop_load: for exit traps.
drop_load() { ! load_running || kill -KILL "$LOAD_PID" 2>/dev/null || true; }

# count_requests REPORT...: prints "FAILED TOTAL". Failed is every answer but 2xx and every error (refused, reset, timed
# out); the requests oha dropped at its own deadline were not answered and not refused, so they are in neither number.
count_requests() {
  awk '
    /^Summary:/                  { part = "" }
    /^Status code distribution:/ { part = "status"; next }
    /^Error distribution:/       { part = "error"; next }
    part != "" && /^ *\[ *[0-9]+\] / {
      inside = $0; sub(/^ *\[ */, "", inside); sub(/\].*/, "", inside)
      rest = $0;   sub(/^ *\[ *[0-9]+\] */, "", rest)
      if (part == "status") {
        split(rest, word, " ")
        total += word[1]
        if (inside < 200 || inside > 299) failed += word[1]
      } else if (rest !~ /aborted due to deadline/) {
        total += inside
        failed += inside
      }
    }
    END { printf "%d %d\n", failed, total }
  ' "$@"
}

# verdict FAILED TOTAL: the closing line and the exit status of every load run. No request at all is a failure too.
verdict() {
  echo "failed requests: $1 of $2"
  [ "$1" -eq 0 ] && [ "$2" -gt 0 ]
}
