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
oha_run() {
  local report=$1
  shift
  "$OHA" --no-tui --no-color -w -t "${REQUEST_LIMIT:-10s}" --output "$report" "$@"
}

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
