#!/usr/bin/env bash
# Loses replicas of ml-inference under constant load, in order and not, and no request may fail.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
for part in load cluster pair demo; do
  # shellcheck source=/dev/null
  . "$ROOT/scripts/lib/$part.sh"
done

usage() {
  cat <<'EOF'
Usage: scripts/kill.sh [options]            on the cluster that deploy.sh deployed to
       scripts/kill.sh --local [options]    on processes of this machine

While load runs through the gateway, one replica of ml-inference after the other is deleted in order (SIGTERM), killed without
a word (SIGKILL), and frozen for three seconds (SIGSTOP); ends with "failed requests: N of M". A process cannot be frozen from
outside of its pod, so that part is --local only.

EOF
  demo_options
}

readonly REPLICAS=3 FROZEN_SECONDS=3

# --- on this machine ---------------------------------------------------------------------------------------------

graceful_local() {
  stop_replica 1
  note "ml-inference-1 has ended; a new one starts in its place"
  start_replicas 1 1 1.0
}

forced_local() {
  local pid=${ML_PIDS[2]}
  kill -KILL "$pid"
  wait "$pid" 2>/dev/null || true
  note "ml-inference-2 is gone; for a second nobody listens on its port"
  sleep 1
  start_replicas 2 2 1.0
}

freeze_local() {
  kill -STOP "${ML_PIDS[3]}"
  note "ml-inference-3 is frozen: it accepts connections and never answers"
  sleep "$FROZEN_SECONDS"
  kill -CONT "${ML_PIDS[3]}"
  note "it goes on"
}

run_local() {
  start_pair "$REPLICAS"
  begin_load
  sleep 1
  step "SIGTERM: a replica ends in order" graceful_local && everyone_answers "$REPLICAS" || return 1
  step "SIGKILL: a replica is gone at once" forced_local && everyone_answers "$REPLICAS" || return 1
  step "SIGSTOP: a replica is frozen for $FROZEN_SECONDS s" freeze_local && everyone_answers "$REPLICAS"
}

# --- on a cluster ------------------------------------------------------------------------------------------------

one_pod() { in_namespace get pods -l app=ml-inference --field-selector status.phase=Running -o 'jsonpath={.items[0].metadata.name}'; }

graceful_cluster() {
  local pod
  pod=$(one_pod) && in_namespace delete pod "$pod" && settled ml-inference
}

# The API object goes at once, and the kubelet ends the container without waiting for it.
forced_cluster() {
  local pod
  pod=$(one_pod) && in_namespace delete pod "$pod" --grace-period 0 --force && settled ml-inference
}

run_cluster() {
  enter_cluster
  begin_load
  sleep 1
  step "a pod is deleted in order" graceful_cluster || return 1
  step "a pod is deleted by force" forced_cluster
}

parse_demo "$@"
demo
