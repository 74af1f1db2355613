#!/usr/bin/env bash
# onnxruntime-root.sh PROGRAM LIBRARY DIRECTORY: what an image with onnxruntime holds, put into DIRECTORY: the program,
# onnxruntime's library with its licences, and the system's libraries that both need, each at the path where the system's
# loader looks for it.
set -euo pipefail

[ $# = 3 ] || {
  echo "usage: deploy/onnxruntime-root.sh PROGRAM LIBRARY DIRECTORY" >&2
  exit 2
}
program=$1 library=$2 directory=$3

mkdir -p "$directory"
install -m 755 "$program" "$directory/ml-inference"
install -m 755 "$library" "$directory/libonnxruntime.so"
for notice in LICENSE ThirdPartyNotices.txt; do
  [ ! -f "$(dirname "$library")/$notice" ] || install -D -m 644 "$(dirname "$library")/$notice" "$directory/licenses/onnxruntime/$notice"
done
# ldd fails on a static program, and says so.
linked=$(LC_ALL=C ldd "$program" 2>&1) || true
if grep -q 'statically linked\|not a dynamic' <<<"$linked"; then
  echo "$0: $program is static and cannot load onnxruntime; build it without crt-static" >&2
  exit 1
fi
linked=$(LC_ALL=C ldd "$program" "$library")
if missing=$(grep 'not found' <<<"$linked"); then
  echo "$0: libraries are missing:" "$missing" >&2
  exit 1
fi
# "NAME => PATH (ADDRESS)", and "PATH (ADDRESS)" of the loader itself.
needed=$(awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// && $2 ~ /^\(/ { print $1 }' <<<"$linked" | sort -u)
for path in $needed; do
  mkdir -p "$directory$(dirname "$path")"
  cp -L "$path" "$directory$path"
done
