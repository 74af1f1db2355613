#!/usr/bin/env bash
# Puts load on the gateway and says how many requests failed: builds scripts/load-test and runs it.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

: "${LOAD_TEST:=}" # a load-test binary to use instead of building it
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

# The options are the program's; --help is printed without building it.
json='' html=''
for argument in "$@"; do
  case $argument in
  --help | -h) cat "$ROOT/scripts/load-test/usage.txt" && exit 0 ;;
  --json | --json=*) json=given ;;
  --html | --html=*) html=given ;;
  esac
done

need_load_test
mkdir -p "$REPORTS"
[ -n "$json" ] || set -- --json "$REPORTS/report.json" "$@"
[ -n "$html" ] || set -- --html "$REPORTS/report.html" "$@"
exec "$LOAD_TEST" "$@"
