# shellcheck shell=bash disable=SC2034 # what is set here is used by the scripts
# What every script here needs: messages, tool checks and HTTP. Sourced, never run.
# Written for bash 3.2 (the one macOS ships): no associative arrays, no `wait -n`, no `${name,,}`.

# Exit codes, the same in every script.
readonly EXIT_FAILED=1      # it ran and the result is bad
readonly EXIT_USAGE=2       # wrong arguments
readonly EXIT_UNAVAILABLE=3 # a tool, a cluster or a server that is needed is not there

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
SCRIPT=$(basename "$0")

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
  BOLD=$'\033[1m' RED=$'\033[31m' PLAIN=$'\033[0m'
else
  BOLD='' RED='' PLAIN=''
fi

say() { printf '%s\n' "${BOLD}==>${PLAIN} $*"; }
note() { printf '%s\n' "    $*"; }
warn() { printf '%s\n' "${RED}warning:${PLAIN} $*" >&2; }

# die EXIT_CODE MESSAGE [MORE LINES...]
die() {
  local code=$1
  shift
  printf '%s\n' "${RED}error:${PLAIN} $1" >&2
  shift
  local line
  for line in "$@"; do printf '       %s\n' "$line" >&2; done
  exit "$code"
}

usage_error() { die "$EXIT_USAGE" "$1" "scripts/$SCRIPT --help lists the options"; }

# need_value OPTION REMAINING: an option that takes a value has one.
need_value() { [ "$2" -ge 2 ] || usage_error "$1 needs a value"; }

# A leading zero would make bash read the number as octal.
need_number() {
  case $2 in
  '' | *[!0-9]* | 0?*) usage_error "$1 needs a whole number, not \"$2\"" ;;
  esac
}

have() { command -v "$1" >/dev/null 2>&1; }

# need TOOL HOW_TO_GET_IT
need() { have "$1" || die "$EXIT_UNAVAILABLE" "$1 is missing" "$2"; }

need_curl() { need curl "get it with your package manager: apt-get install curl, brew install curl"; }

need_cargo() { need cargo "install Rust from https://rustup.rs, then open a new terminal"; }

# Where cargo puts what it builds for this machine; a profile's directory comes after it.
cargo_target() {
  local target
  target=$(cd "$ROOT" && cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
  printf '%s\n' "$target${CARGO_BUILD_TARGET:+/$CARGO_BUILD_TARGET}"
}

# Every request of the scripts goes straight to its address, whatever proxy the environment names.
fetch() { curl --silent --show-error --noproxy '*' --max-time 5 "$@"; }

answers_200() { fetch --fail --output /dev/null "$1" 2>/dev/null; }

# A directory of our own, removed when the script ends (call `cleanup_tmp` from the EXIT trap).
TMP=''
make_tmp() { TMP=$(mktemp -d "${TMPDIR:-/tmp}/mlops-lab.XXXXXX"); }
cleanup_tmp() { [ -z "$TMP" ] || rm -rf "$TMP"; }
