#!/usr/bin/env bash
# Builds the program behind up.sh and the demonstrations (scripts/lab) and runs it: lab.sh COMMAND ARGUMENTS...
# LAB names a program to run instead of building it.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

lab=${LAB:-}
if [ -z "$lab" ]; then
  # The options are printed without building the program that reads them.
  name=$1
  [ "$name" != demo ] || name=$2
  for argument in "$@"; do
    case $argument in --help | -h) cat "$ROOT/scripts/lab/usage/$name.txt" && exit 0 ;; esac
  done
  need_cargo
  lab=$(cargo_target)/debug/lab
  # The first build takes a while and shows how far it is.
  quiet=(--quiet)
  if [ ! -x "$lab" ]; then say "building scripts/lab (once)" && quiet=(); fi
  (cd "$ROOT" && cargo build ${quiet[@]+"${quiet[@]}"} --package lab) || die "$EXIT_FAILED" "the build failed: see above"
fi
exec "$lab" "$@"
