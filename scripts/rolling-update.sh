#!/usr/bin/env bash
# The lab's Step 10 under constant load: v1 -> v2 -> undo, of the model server, of the gateway or of both at once, and no
# request may fail on the way.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
for part in load cluster pair demo service; do
  # shellcheck source=/dev/null
  . "$ROOT/scripts/lib/$part.sh"
done

usage() {
  cat <<'EOT'
Usage: scripts/rolling-update.sh [--gateway | --both] [options]            on the cluster that deploy.sh deployed to
       scripts/rolling-update.sh [--gateway | --both] --local [options]    on processes of this machine

Updates ml-inference to version 2.0 and back while load runs through the gateway, says which versions answered, and ends
with "failed requests: N of M".

  --gateway            the gateway instead, under kept and under new connections
  --both               both at once, likewise

With --local the replicas are replaced one by one on the same ports. Gateways are run behind rules like kube-proxy's, in a
network namespace (Linux; needs iptables and, where users may not make one, root).

On a cluster:
  --image IMAGE        of ml-inference, to update to (ml-inference:2.0)
  --version V          the version that image answers with; by default its tag, when that is a number like 2.0
  --gateway-image I    of the gateway (api-gateway:1.1)
They are made with scripts/build-images.sh --only ml-inference --tag 2.0, and --only api-gateway --tag 1.1.

EOT
  demo_options
}

WHAT=model # model, gateway or both
image=ml-inference:2.0
gateway_image=api-gateway:1.1
version=''
ARGUMENTS=("$@") # as they were given

parse() {
  local rest=()
  while [ $# -gt 0 ]; do
    case $1 in
    --gateway | --both)
      [ "$WHAT" = model ] || usage_error "--gateway and --both: one of them"
      WHAT=${1#--}
      ;;
    --image | --version | --gateway-image)
      need_value "$1" $#
      case $1 in
      --image) image=$2 ;;
      --version) version=$2 ;;
      --gateway-image) gateway_image=$2 ;;
      esac
      shift
      ;;
    *) rest+=("$1") ;;
    esac
    shift
  done
  parse_demo ${rest[@]+"${rest[@]}"}
  [ "$WHAT" = model ] || DEMO=$DEMO-$WHAT
  [ "$MODE" = cluster ] && model || return 0
  if [ -z "$version" ]; then
    # The tag is what build-images.sh stamps, as long as it is a number.
    version=${image##*:}
    [[ $version =~ ^[0-9]+(\.[0-9]+)*$ ]] ||
      usage_error "the tag of $image is no version: say with --version which one it answers with"
  fi
}

model() { [ "$WHAT" != gateway ]; }
gateway() { [ "$WHAT" != model ]; }

# --- which version answers ---------------------------------------------------------------------------------------

# versions_now: the versions in thirty answers, one after the other.
versions_now() {
  local i
  for ((i = 0; i < 30; i++)); do header x-model-version; done | sort -u | tr '\n' ' ' | sed 's/ $//'
}

# expect_version VERSION: what everyone answers with now.
expect_version() {
  local seen
  seen=$(versions_now)
  if [ "$seen" = "$1" ]; then
    note "now every answer is of version $1"
    return
  fi
  warn "expected answers of version $1 only, got: ${seen:-none}"
  return 1
}

begin_loads() {
  begin_load
  gateway || return 0
  say "and as much from new clients, a connection for each request"
  start_load "$DEMO-new-connections" "$URL" "$RATE" "$CONNECTIONS" --new-connections
}

# --- on this machine ---------------------------------------------------------------------------------------------

readonly REPLICAS=3 GATEWAYS=2

# The list of endpoints is fixed, so a new replica takes the port of the old one once that has drained and gone. Until then
# the gateway has the other two.
replace_all() {
  local version=$1 i status oldest=$((GATEWAY_NEXT - GATEWAYS))
  for ((i = 1; i <= REPLICAS; i++)); do
    if model; then send_term "${ML_PIDS[i]}"; fi
    if gateway && [ "$i" -le "$GATEWAYS" ]; then replace_gateway $((oldest + i - 1)) || return 1; fi
    model || continue
    status=0
    wait_stopped "${ML_PIDS[i]}" || status=$?
    [ "$status" -eq 0 ] || warn "ml-inference-$i ended with status $status instead of 0 after SIGTERM"
    start_replicas "$i" "$i" "$version" || return 1
    note "ml-inference-$i is version $version now"
  done
  ! model || expect_version "$version"
}

start_behind_service() {
  local i
  open_service
  say "starting $REPLICAS x ml-inference (version 1.0) and $GATEWAYS gateways behind 127.0.0.1:$GATEWAY_PORT"
  start_replicas 1 "$REPLICAS" 1.0 || exit "$EXIT_FAILED"
  write_gateway_yaml "$(endpoints 1 "$REPLICAS")"
  for ((i = 1; i <= GATEWAYS; i++)); do add_gateway || exit "$EXIT_FAILED"; done
  URL=http://127.0.0.1:$GATEWAY_PORT/predict
}

run_local() {
  if gateway; then start_behind_service; else start_pair "$REPLICAS"; fi
  begin_loads
  sleep 1
  step "v1 -> v2" replace_all 2.0 && step "undo: v2 -> v1" replace_all 1.0
}

# --- on a cluster ------------------------------------------------------------------------------------------------

updated=() # deployments that run the new image

deployments() {
  if model; then echo ml-inference; fi
  if gateway; then echo api-gateway; fi
}

container_of() { if [ "$1" = ml-inference ]; then echo ml-model; else echo gateway; fi; }

new_image_of() { if [ "$1" = ml-inference ]; then echo "$image"; else echo "$gateway_image"; fi; }

image_of() {
  in_namespace get deployment "$1" -o "jsonpath={.spec.template.spec.containers[?(@.name==\"$(container_of "$1")\")].image}"
}

# all_settled: the rollouts of both run at the same time, whichever is waited for first.
all_settled() {
  local deployment
  for deployment in $(deployments); do
    settled "$deployment" && in_namespace rollout history "deployment/$deployment" || return 1
  done
}

update() {
  local deployment
  for deployment in $(deployments); do
    updated+=("$deployment")
    in_namespace set image "deployment/$deployment" "$(container_of "$deployment")=$(new_image_of "$deployment")" &&
      in_namespace annotate "deployment/$deployment" "kubernetes.io/change-cause=Updated to $(new_image_of "$deployment")" --overwrite ||
      return 1
  done
  all_settled || return 1
  ! model || expect_version "$version"
}

# undo_update VERSION: which it is afterwards.
undo_update() {
  local deployment
  for deployment in $(deployments); do
    in_namespace rollout undo "deployment/$deployment" || return 1
  done
  updated=()
  all_settled || return 1
  ! model || expect_version "$1"
}

run_cluster() {
  local deployment before images='' version_before=''
  enter_cluster
  for deployment in $(deployments); do
    before=$(image_of "$deployment")
    [ "$before" != "$(new_image_of "$deployment")" ] ||
      die "$EXIT_FAILED" "$deployment already runs $before: there is nothing to update to" \
        "name another with $([ "$deployment" = ml-inference ] || echo --gateway)--image, or go back first: scripts/deploy.sh"
    images="$images${images:+, }$before -> $(new_image_of "$deployment")"
  done
  if model; then
    version_before=$(versions_now)
    case $version_before in
    '') die "$EXIT_FAILED" "the answers of $URL name no version (x-model-version)" "is it the path of ml-inference?" ;;
    *' '*)
      die "$EXIT_FAILED" "several versions answer already: $version_before" "wait until an earlier rollout is over and no pod is Terminating"
      ;;
    esac
  fi
  begin_loads
  step "v1 -> v2: $images" update && step "undo" undo_update "$version_before"
}

undo() {
  local deployment status=0
  for deployment in ${updated[@]+"${updated[@]}"}; do
    warn "undoing the update of $deployment"
    in_namespace rollout undo "deployment/$deployment" >&2 || status=$EXIT_FAILED
  done
  return "$status"
}

parse "$@"
if [ "$MODE" = local ] && gateway && ! in_network; then
  # What has to be built cannot be in there, without the machine's network.
  need_load_test
  need_binaries
  enter_network "${ARGUMENTS[@]}" --bin-dir "$BIN_DIR"
fi
demo
