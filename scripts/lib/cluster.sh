# shellcheck shell=bash disable=SC2034 # what is set here is used by the scripts
# The cluster: which context, which namespace, which address. Sourced after common.sh.

CONTEXT=''
KUBECTL=()
NAMESPACE=mlops-lab

# connect_cluster [CONTEXT]: every later call names the context, so that a switch in another terminal changes nothing here.
connect_cluster() {
  local problem
  need kubectl "get it from https://kubernetes.io/docs/tasks/tools/, or: brew install kubectl"
  if [ -n "${1:-}" ]; then
    CONTEXT=$1
    kubectl config get-contexts "$CONTEXT" -o name >/dev/null 2>&1 ||
      die "$EXIT_UNAVAILABLE" "kubectl knows no context \"$CONTEXT\"" "kubectl config get-contexts lists them"
  else
    CONTEXT=$(kubectl config current-context 2>/dev/null) || CONTEXT=''
    [ -n "$CONTEXT" ] ||
      die "$EXIT_UNAVAILABLE" "kubectl has no current context" \
        "start a cluster: minikube start   (or: kind create cluster --config deploy/kind/cluster.yaml)" \
        "or choose one: kubectl config use-context NAME, or --context NAME"
  fi
  KUBECTL=(kubectl --context "$CONTEXT")
  problem=$("${KUBECTL[@]}" get --raw /version --request-timeout 10s 2>&1 >/dev/null) ||
    die "$EXIT_UNAVAILABLE" "the cluster of context \"$CONTEXT\" does not answer" "${problem:-kubectl said nothing}"
}

# in_namespace ARGUMENTS...: kubectl in the chosen namespace.
in_namespace() { "${KUBECTL[@]}" --namespace "$NAMESPACE" "$@"; }

namespace_exists() {
  local found
  found=$("${KUBECTL[@]}" get namespace "$NAMESPACE" --ignore-not-found -o name) ||
    die "$EXIT_FAILED" "cannot look for namespace $NAMESPACE: see above"
  [ -n "$found" ]
}

need_namespace() {
  namespace_exists || die "$EXIT_UNAVAILABLE" "namespace $NAMESPACE does not exist in context \"$CONTEXT\"" \
    "make it with: kubectl create namespace $NAMESPACE   (scripts/deploy.sh does it too)"
}

overlay_dir() {
  case $1 in
  base) echo "$ROOT/deploy/base" ;;
  *) echo "$ROOT/deploy/overlays/$1" ;;
  esac
}

overlays() { (cd "$ROOT/deploy/overlays" 2>/dev/null && ls) || true; }

# overlay_namespace NAME: what its kustomization.yaml says; the base's objects name theirs themselves.
overlay_namespace() {
  local name
  name=$(sed -n 's/^namespace: *//p' "$(overlay_dir "$1")/kustomization.yaml")
  echo "${name:-mlops-lab}"
}

our_namespaces() {
  local name
  for name in base $(overlays); do overlay_namespace "$name"; done | sort -u
}

is_ours() { grep -qxF -- "$1" <<<"$(our_namespaces)"; }

# cluster_kind: minikube, kind, k3d or other; sets CLUSTER_KIND and CLUSTER_NAME (the name its own tool uses).
cluster_kind() {
  CLUSTER_KIND=other CLUSTER_NAME=$CONTEXT
  case $CONTEXT in
  kind-*) CLUSTER_KIND=kind CLUSTER_NAME=${CONTEXT#kind-} ;;
  k3d-*) CLUSTER_KIND=k3d CLUSTER_NAME=${CONTEXT#k3d-} ;;
  *)
    # minikube labels its nodes with the profile's name, whatever the context is called.
    CLUSTER_NAME=$("${KUBECTL[@]}" get nodes -o 'jsonpath={.items[0].metadata.labels.minikube\.k8s\.io/name}' 2>/dev/null) || CLUSTER_NAME=''
    if [ -n "$CLUSTER_NAME" ]; then CLUSTER_KIND=minikube; else CLUSTER_NAME=$CONTEXT; fi
    ;;
  esac
}

# gateway_url: sets GATEWAY_URL from the Service's nodePort; 1 when there is none. It may still be unreachable from here (a
# cluster inside a virtual machine), so ask it before trusting it.
gateway_url() {
  local port host=''
  GATEWAY_URL=''
  port=$(in_namespace get service api-gateway-service -o 'jsonpath={.spec.ports[?(@.name=="http")].nodePort}') || return 1
  [ -n "$port" ] || return 1
  cluster_kind
  case $CLUSTER_KIND:$CONTEXT in
  kind:* | k3d:* | *:docker-desktop | *:rancher-desktop | *:orbstack) host=127.0.0.1 ;;
  minikube:*) if have minikube; then host=$(minikube ip --profile "$CLUSTER_NAME" 2>/dev/null) || host=''; fi ;;
  esac
  if [ -z "$host" ]; then
    host=$("${KUBECTL[@]}" get nodes -o 'jsonpath={.items[0].status.addresses[?(@.type=="ExternalIP")].address}')
    [ -n "$host" ] || host=$("${KUBECTL[@]}" get nodes -o 'jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}')
  fi
  [ -n "$host" ] || return 1
  case $host in *:*) host="[$host]" ;; esac
  GATEWAY_URL=http://$host:$port
}

# How to reach the gateway when its nodePort is not reachable from here.
other_ways() {
  if [ "$CLUSTER_KIND" = minikube ]; then
    note "minikube service api-gateway-service -n $NAMESPACE --profile $CLUSTER_NAME --url"
  fi
  note "kubectl --context $CONTEXT -n $NAMESPACE port-forward svc/api-gateway-service 8080:80   then http://127.0.0.1:8080"
}
