#!/usr/bin/env bash
# Deploys the pair to a cluster, waits until it runs and says where it answers.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/cluster.sh
. "$ROOT/scripts/lib/cluster.sh"

usage() {
  cat <<'EOF'
Usage: scripts/deploy.sh [--overlay base|dev|staging|prod] [--context NAME] [--timeout 180s]

Applies deploy/base (namespace mlops-lab, NodePort 30080) or an overlay (its own namespace and port), makes the Secrets
that are absent, waits for both rollouts and prints the URL. The images must be in the cluster: scripts/build-images.sh

  --overlay NAME    what to deploy (base)
  --context NAME    the kubectl context (the current one)
  --timeout T       how long to wait for each rollout (180s)
  --help

Exit status: 0 deployed and rolled out, 1 something failed, 2 wrong arguments, 3 no kubectl or no cluster.
EOF
}

overlay=base
context=''
timeout=180s
while [ $# -gt 0 ]; do
  case $1 in
  --help | -h) usage && exit 0 ;;
  --overlay) need_value "$1" $# && overlay=$2 ;;
  --context) need_value "$1" $# && context=$2 ;;
  --timeout) need_value "$1" $# && timeout=$2 ;;
  *) usage_error "unknown argument: $1" ;;
  esac
  shift 2
done
dir=$(overlay_dir "$overlay")
[ -f "$dir/kustomization.yaml" ] ||
  usage_error "there is no overlay \"$overlay\"; there are: base $(overlays | tr '\n' ' ')"
NAMESPACE=$(overlay_namespace "$overlay")

# images_in_node: the images a local cluster's node has, one a line; empty where they cannot be listed.
images_in_node() {
  case $CLUSTER_KIND in
  minikube) ! have minikube || minikube image ls --profile "$CLUSTER_NAME" 2>/dev/null || true ;;
  kind)
    # Its node is a container of docker's or podman's: the one that has it answers.
    local engine
    for engine in docker podman; do
      ! have "$engine" || "$engine" exec "$CLUSTER_NAME-control-plane" crictl images 2>/dev/null |
        awk 'NR > 1 { print $1 ":" $2 }' || true
    done
    ;;
  esac
}

# Our tags are in no registry, so a pod can only start where they were loaded before. A pod reads "name:tag" as
# docker.io/library/name:tag: under another host, such as podman's localhost/, it does not find the image.
warn_missing_images() {
  local listed image wanted
  [ "$CLUSTER_KIND" != other ] || return 0
  listed=$(images_in_node)
  if [ -z "$listed" ]; then
    note "whether the images are in the cluster was not checked: its node's images cannot be listed from here"
    return
  fi
  wanted=$(printf '%s\n' "$1" | sed -n 's/^ *\(- \)\{0,1\}image: *//p' | tr -d "\"'" | sort -u)
  for image in $wanted; do
    grep -qxF -e "$image" -e "docker.io/library/$image" <<<"$listed" ||
      warn "image $image is not in the cluster: scripts/build-images.sh builds and loads it"
  done
}

# documents IS_NAMESPACE: of those that were rendered, the namespace (1) or all others (0).
documents() {
  awk -v wanted="$1" '
    function flush() { if (text != "" && (text ~ /(^|\n)kind: Namespace(\n|$)/) == wanted) printf "---\n%s", text; text = "" }
    /^---/ { flush(); next }
    { text = text $0 "\n" }
    END { flush() }
  ' <<<"$rendered"
}

rollout_failed() {
  in_namespace get pods >&2 || true
  die "$EXIT_FAILED" "deployment/$1 did not roll out within $timeout" \
    "ErrImagePull or ImagePullBackOff above: the image is not in the cluster; run scripts/build-images.sh" \
    "anything else: kubectl --context $CONTEXT -n $NAMESPACE describe deployment/$1; ... logs deployment/$1"
}

# reachable URL: within a few seconds. Right after a rollout a node's rules may not know the new pods yet.
reachable() {
  local deadline=$((SECONDS + 5))
  until answers_200 "$1"; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.5
  done
}

connect_cluster "$context"
need_curl
cluster_kind
say "deploying $overlay to namespace $NAMESPACE (context $CONTEXT)"
rendered=$(kubectl kustomize "$dir") || die "$EXIT_FAILED" "kustomize cannot render $dir: see above"
warn_missing_images "$rendered"

# The namespace first and the Secrets second, so that the first pods already start with them. The server applies the namespace: it
# may have been made with `kubectl create`, and then kubectl would warn that it lacks an annotation.
documents 1 | "${KUBECTL[@]}" apply --server-side --force-conflicts --field-manager deploy.sh -f - ||
  die "$EXIT_FAILED" "cannot create namespace $NAMESPACE: see above"
"$ROOT/scripts/create-secrets.sh" --context "$CONTEXT" --namespace "$NAMESPACE"
documents 0 | "${KUBECTL[@]}" apply -f - || die "$EXIT_FAILED" "kubectl apply failed: see above"

for deployment in ml-inference api-gateway; do
  in_namespace rollout status "deployment/$deployment" --timeout "$timeout" || rollout_failed "$deployment"
done

if gateway_url && reachable "$GATEWAY_URL/health"; then
  say "the gateway answers at $GATEWAY_URL"
  note "curl $GATEWAY_URL/predict"
  note "curl -d '{\"instances\": [1.0, 2.0, 5.0]}' $GATEWAY_URL/predict"
  note "curl $GATEWAY_URL/health"
  note "curl $GATEWAY_URL/status"
  note "scripts/load-test.sh --url $GATEWAY_URL/predict"
else
  say "deployed; ${GATEWAY_URL:-the nodePort} is not reachable from here, so open a way in another terminal:"
  other_ways
  note "and then: curl http://127.0.0.1:8080/predict   (or the URL it printed)"
fi
