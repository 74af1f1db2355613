#!/usr/bin/env bash
# Makes the lab's two Secrets with random values where they are absent. Values are never printed and never an argument of
# a command (everyone on the machine can read those): kubectl gets them on its standard input.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/cluster.sh
. "$ROOT/scripts/lib/cluster.sh"

usage() {
  cat <<'EOF'
Usage: scripts/create-secrets.sh [--namespace mlops-lab] [--context NAME]

Makes, with random values, the Secrets that are not there yet and leaves those that are alone:

  api-credentials           API_KEY, JWT_SECRET                for the gateway
  ml-registry-credentials   REGISTRY_USER, REGISTRY_PASSWORD   for ml-inference

To read a value later:
  kubectl -n mlops-lab get secret api-credentials -o jsonpath='{.data.API_KEY}' | base64 -d

To replace API_KEY, keep the old value as API_KEY_PREVIOUS until every client has the new one: running gateways accept both,
and take up the change of the Secret by themselves.

Exit status: 0 both are there, 1 something failed, 2 wrong arguments, 3 no kubectl, cluster or namespace.
EOF
}

context=''
while [ $# -gt 0 ]; do
  case $1 in
  --help | -h) usage && exit 0 ;;
  --namespace | -n) need_value "$1" $# && NAMESPACE=$2 ;;
  --context) need_value "$1" $# && context=$2 ;;
  *) usage_error "unknown argument: $1" ;;
  esac
  shift 2
done

# random_hex BYTES
random_hex() { LC_ALL=C od -An -v -tx1 -N "$1" /dev/urandom | tr -d ' \n'; }

# manifest NAME KEY VALUE KEY VALUE: printf is part of the shell, so the values stay inside it.
manifest() {
  printf 'apiVersion: v1\nkind: Secret\ntype: Opaque\nmetadata:\n  name: %s\nstringData:\n' "$1"
  shift
  printf '  %s: "%s"\n' "$@"
}

# ensure_secret NAME KEY VALUE KEY VALUE
ensure_secret() {
  local name=$1 found
  found=$(in_namespace get secret "$name" --ignore-not-found -o name) ||
    die "$EXIT_FAILED" "cannot look for secret $name: see above"
  if [ -n "$found" ]; then
    note "secret $name is there already: left alone"
    return
  fi
  manifest "$@" | in_namespace create -f - >/dev/null || die "$EXIT_FAILED" "cannot create secret $name: see above"
  note "secret $name created ($2, $4)"
}

connect_cluster "$context"
need_namespace
say "secrets in namespace $NAMESPACE"
ensure_secret api-credentials API_KEY "$(random_hex 24)" JWT_SECRET "$(random_hex 32)"
ensure_secret ml-registry-credentials REGISTRY_USER "ml-$(random_hex 4)" REGISTRY_PASSWORD "$(random_hex 24)"
