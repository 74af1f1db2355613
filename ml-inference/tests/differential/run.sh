#!/usr/bin/env bash
# Asks Triton and ml-inference the same requests, byte for byte (corpus.yaml), and then ml-inference again through the gateway. Prints where
# the answers differ; differences.yaml says which differences are meant, and why. Exit status: 0 these and no others, 1 otherwise.
#
#   ml-inference/tests/differential/run.sh [--only REGEX] [--verbose] [--binaries DIR]
#
# Needs Linux on x86-64 and a Python from 3.10 to 3.12 with its shared library (PYTHON): the Triton is the one in PyPI's nvidia-pytriton. It comes
# into a virtual environment outside of the repository (DIFFERENTIAL_VENV, kept between runs, 400 MB). Too heavy for each change.
set -euo pipefail
cd "$(dirname "$0")/../../.."

python=${PYTHON:-python3}
venv=${DIFFERENTIAL_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/ml-inference-differential}
packages=('nvidia-pytriton==0.7.0' 'onnx==1.23.0' 'pyyaml==6.0.3' 'numpy==1.26.4')

[[ $(uname -sm) == 'Linux x86_64' ]] || { echo "Triton's wheel is for Linux on x86-64 alone" >&2; exit 3; }
command -v "$python" >/dev/null || { echo "$python is missing: apt-get install python3 python3-venv, or set PYTHON" >&2; exit 3; }
[[ -x $venv/bin/python ]] || "$python" -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check "${packages[@]}"

[[ " $* " == *' --binaries '* || " $* " == *' --help '* ]] || cargo build --quiet --package ml-inference --package gateway
exec "$venv/bin/python" -B ml-inference/tests/differential/run.py "$@"
