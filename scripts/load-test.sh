#!/usr/bin/env bash
# Puts load on the gateway and says how many requests failed: builds scripts/load-test and runs it.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/load.sh
. "$ROOT/scripts/lib/load.sh"

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
