#!/usr/bin/env bash
# Runs check.py against a server started here, or against the one at HOST:PORT, whose models are left alone. The clients come from PyPI, into a virtual
# environment outside of the repository (CLIENTS_VENV, kept between runs).
#
#   ml-inference/tests/clients/run.sh [HOST:PORT]
set -euo pipefail
cd "$(dirname "$0")/../../.."

venv=${CLIENTS_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/ml-inference-clients}
packages=('tritonclient[http]==2.73.0' 'ovmsclient==2023.1' 'kserve==0.21.0' 'mlflow-skinny==3.17.2' 'pandas')

[[ -x $venv/bin/python ]] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check "${packages[@]}"

address=${1:-}
if [[ -z $address ]]; then
  cargo build --quiet --package ml-inference
  work=$(mktemp -d)
  log=$work/log
  install -D ml-inference/tests/zoo/small/decision_tree.onnx "$work/models/tree/1/model.onnx"
  BIND_ADDRESS=127.0.0.1 SERVICE_PORT=0 ADMIN_ADDRESS=127.0.0.1:0 MODELS_DIR=$work/models LOG_FORMAT=json \
    target/debug/ml-inference >"$log" 2>&1 &
  server=$!
  trap 'kill "$server"; wait "$server" || true; rm -rf "$work"' EXIT
  for _ in {1..100}; do
    address=$(sed -n 's/.*"listening".*"address":"\([^"]*\)".*/\1/p' "$log")
    if [[ -n $address ]] && curl --silent --fail --output /dev/null "http://$address/readyz"; then
      break
    fi
    sleep 0.1
  done
  [[ -n $address ]] || { cat "$log" >&2; exit 1; }
  admin=$(sed -n 's/.*"admin listening".*"address":"\([^"]*\)".*/\1/p' "$log")
fi
"$venv/bin/python" ml-inference/tests/clients/check.py "$address" ${admin:+"$admin" tree}
