#!/usr/bin/env bash
# Puts load on the gateway with oha and says how many requests failed.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/load.sh
. "$ROOT/scripts/lib/load.sh"

usage() {
  cat <<'EOF'
Usage: scripts/load-test.sh [options]

Prints oha's report and ends with "failed requests: N of M". Failed is every answer but 2xx, every refused or reset
connection and every time-out.

  --url URL          what to ask (http://127.0.0.1:30080/predict)
  --duration D       how long (10s)
  --rate R           requests a second in all; without it as many as the connections carry
  --connections C    at the same time (32)
  --post FILE        POST this file as application/json instead of GET
  --header "N: V"    one more request header, for example "X-API-Key: ..."; may be repeated
  --timeout T        a request that takes longer has failed (10s)
  --help

Exit status: 0 no request failed, 1 some did or none was made, 2 wrong arguments, 3 oha is missing or nothing answers.
EOF
}

url=http://127.0.0.1:30080/predict
duration=10s
connections=32
args=()
while [ $# -gt 0 ]; do
  case $1 in
  --help | -h) usage && exit 0 ;;
  --url | --duration | --rate | --connections | --post | --header | --timeout) need_value "$1" $# ;;
  *) usage_error "unknown argument: $1" ;;
  esac
  case $1 in
  --url) url=$2 ;;
  --duration) duration=$2 ;;
  --rate) need_number "$1" "$2" && args+=(-q "$2") ;;
  --connections) need_number "$1" "$2" && connections=$2 ;;
  --post)
    [ -r "$2" ] || usage_error "cannot read $2"
    args+=(-m POST -T application/json -D "$2")
    ;;
  --header) args+=(-H "$2") ;;
  --timeout) REQUEST_LIMIT=$2 ;;
  esac
  shift 2
done

need_oha
need_curl
answers "$url" || die "$EXIT_UNAVAILABLE" "nothing answers at $url" \
  "start the pair with scripts/up.sh, deploy it with scripts/deploy.sh, or name another address with --url"

make_tmp
trap cleanup_tmp EXIT
say "load on $url: $duration, $connections connections"
oha_run "$TMP/report" -z "$duration" -c "$connections" ${args[@]+"${args[@]}"} "$url" ||
  die "$EXIT_FAILED" "oha ended with status $?"
cat "$TMP/report"
echo
# shellcheck disable=SC2046 # two numbers
verdict $(count_requests "$TMP/report")
