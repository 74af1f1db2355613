#!/usr/bin/env bash
# onnxruntime's shared library, out of the wheel that PyPI has of it.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

# The version that is tested. The program takes any from 1.17 on.
readonly VERSION=1.31.1

usage() {
  cat <<EOF
Usage: scripts/onnxruntime.sh

Prints the path of onnxruntime's shared library, version $VERSION, for this machine's processor. The first run downloads it from PyPI
with pip. For an ml-inference built with the cargo feature \`onnxruntime\`:

  export ORT_DYLIB_PATH=\$(scripts/onnxruntime.sh)

TOOLS_DIR  where it is kept (default: target/tools)

Needs Linux, python3 with venv, and access to PyPI for the first run.
Exit status: 0 it is there, 1 it could not be had, 2 wrong arguments, 3 a tool is missing.
EOF
}

case ${1:-} in
'') ;;
--help | -h) usage && exit 0 ;;
*) usage_error "unknown argument: $1" ;;
esac

directory=${TOOLS_DIR:-$ROOT/target/tools}/onnxruntime-$VERSION
library=$directory/libonnxruntime.so

if [ ! -f "$library" ]; then
  [ "$(uname -s)" = Linux ] || die "$EXIT_UNAVAILABLE" "the library is for Linux only" \
    "on macOS get onnxruntime with your package manager, and set ORT_DYLIB_PATH"
  need python3 "get it with your package manager: apt-get install python3 python3-venv"
  make_tmp
  trap cleanup_tmp EXIT
  note "downloading onnxruntime $VERSION" >&2
  python3 -m venv "$TMP/venv" >&2 ||
    die "$EXIT_UNAVAILABLE" "python3 has no venv" "get it with your package manager: apt-get install python3-venv"
  "$TMP/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --dest "$TMP" "onnxruntime==$VERSION" >&2 || die "$EXIT_FAILED" "pip could not download onnxruntime $VERSION: see above"
  mkdir -p "$directory"
  # The library gets its name at the end: what is there is whole.
  "$TMP/venv/bin/python" - "$TMP"/onnxruntime-*.whl "$directory" <<'EOF' || die "$EXIT_FAILED" "the wheel cannot be read: see above"
import pathlib, sys, zipfile
directory = pathlib.Path(sys.argv[2])
with zipfile.ZipFile(sys.argv[1]) as wheel:
    library = next(name for name in wheel.namelist() if "/libonnxruntime.so" in name)
    for notice in ("LICENSE", "ThirdPartyNotices.txt"):
        (directory / notice).write_bytes(wheel.read("onnxruntime/" + notice))
    (directory / "libonnxruntime.so.new").write_bytes(wheel.read(library))
EOF
  chmod 755 "$library.new"
  mv "$library.new" "$library"
fi
printf '%s\n' "$library"
