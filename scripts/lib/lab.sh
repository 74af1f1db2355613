#!/usr/bin/env bash
# Builds the program behind up.sh and the demonstrations (scripts/lab) and runs it: lab.sh COMMAND ARGUMENTS...
# LAB names a program to run instead of building it.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

if [ -n "${LAB:-}" ]; then exec "$LAB" "$@"; fi

# The options are printed without building the program that reads them.
name=$1
[ "$name" != demo ] || name=$2
for argument in "$@"; do
  case $argument in --help | -h) cat "$ROOT/scripts/lab/usage/$name.txt" && exit 0 ;; esac
done

need_cargo
target=$(cargo_target)/debug

# build ARGUMENTS...
build() { (cd "$ROOT" && cargo build "$@") || die "$EXIT_FAILED" "the build failed: see above"; }

# The services that it starts are built in the same call: one after the other would build most dependencies twice.
case " $* " in
*" --bin-dir "* | *" --release "*) services='' ;;
" up "* | *" --local "*) services=yes ;;
*) services='' ;;
esac
if [ -n "$services" ]; then
  say "building: cargo build --bin gateway --bin ml-inference --bin lab"
  build --package gateway --package ml-inference --package lab --bin gateway --bin ml-inference --bin lab
  set -- "$@" --bin-dir "$target"
elif [ -x "$target/lab" ]; then
  build --quiet --package lab
else
  say "building scripts/lab (once)"
  build --package lab
fi
exec "$target/lab" "$@"
