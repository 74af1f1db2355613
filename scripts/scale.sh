#!/usr/bin/env bash
# Scales ml-inference up and down under constant load, and no request may fail on the way.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
for part in load cluster pair demo; do
  # shellcheck source=/dev/null
  . "$ROOT/scripts/lib/$part.sh"
done

usage() {
  cat <<'EOF'
Usage: scripts/scale.sh [options]            on the cluster that deploy.sh deployed to
       scripts/scale.sh --local [options]    on processes of this machine

Scales ml-inference to six replicas and back (2 -> 6 -> 2 with --local) while load runs through the gateway, shows that every
replica answers, and ends with "failed requests: N of M".

EOF
  demo_options
}

readonly FEW=2 MANY=6

# --- on this machine ---------------------------------------------------------------------------------------------

# A pod is ready before it becomes an endpoint, and an endpoint no more before it gets SIGTERM.
up_local() {
  start_replicas $((FEW + 1)) "$MANY" 1.0 && taken_up write_gateway_yaml "$(endpoints 1 "$MANY")" && everyone_answers "$MANY"
}

down_local() {
  local i
  taken_up write_gateway_yaml "$(endpoints 1 "$FEW")" || return 1
  for ((i = FEW + 1; i <= MANY; i++)); do stop_replica "$i"; done
  everyone_answers "$FEW"
}

run_local() {
  start_pair "$FEW" "$MANY"
  begin_load
  step "$FEW -> $MANY replicas" up_local || return 1
  step "$MANY -> $FEW replicas" down_local
}

# --- on a cluster ------------------------------------------------------------------------------------------------

before=''

scale_to() {
  in_namespace scale deployment/ml-inference --replicas "$1" && settled ml-inference && everyone_answers "$1" &&
    in_namespace get pods -l app=ml-inference -o wide
}

run_cluster() {
  local autoscaler
  enter_cluster
  autoscaler=$(in_namespace get hpa -o 'jsonpath={.items[?(@.spec.scaleTargetRef.name=="ml-inference")].metadata.name}')
  [ -z "$autoscaler" ] ||
    die "$EXIT_FAILED" "the autoscaler $autoscaler looks after ml-inference in namespace $NAMESPACE and would scale it back" \
      "scripts/hpa.sh shows it at work"
  before=$(in_namespace get deployment ml-inference -o 'jsonpath={.spec.replicas}')
  begin_load
  step "$before -> $MANY replicas" scale_to "$MANY" || return 1
  step "$MANY -> $before replicas" scale_to "$before" && before=''
}

undo() {
  [ -n "$before" ] || return 0
  warn "scaling back to $before replicas"
  in_namespace scale deployment/ml-inference --replicas "$before" >&2
}

parse_demo "$@"
demo
