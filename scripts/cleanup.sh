#!/usr/bin/env bash
# Removes what deploy.sh made: the whole namespace.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/cluster.sh
. "$ROOT/scripts/lib/cluster.sh"

usage() {
  cat <<'EOF'
Usage: scripts/cleanup.sh [--overlay base|dev|staging|prod | --namespace NAME] [--context NAME] [--yes]

Deletes the namespace with everything in it, the Secrets too. Only namespaces of this project are accepted.

  --overlay NAME      delete that overlay's namespace (base: mlops-lab)
  --namespace NAME    the same, by the namespace's name
  --context NAME      the kubectl context (the current one)
  --yes               do not ask
  --help

Exit status: 0 it is gone, 1 something failed or you said no, 2 wrong arguments, 3 no kubectl or no cluster.
EOF
}

context=''
sure=no
while [ $# -gt 0 ]; do
  case $1 in
  --help | -h) usage && exit 0 ;;
  --overlay)
    need_value "$1" $#
    [ -f "$(overlay_dir "$2")/kustomization.yaml" ] || usage_error "there is no overlay \"$2\""
    NAMESPACE=$(overlay_namespace "$2")
    shift
    ;;
  --namespace | -n) need_value "$1" $# && NAMESPACE=$2 && shift ;;
  --context) need_value "$1" $# && context=$2 && shift ;;
  --yes | -y) sure=yes ;;
  *) usage_error "unknown argument: $1" ;;
  esac
  shift
done
is_ours "$NAMESPACE" ||
  usage_error "namespace \"$NAMESPACE\" is not one of this project's: $(our_namespaces | tr '\n' ' ')"

connect_cluster "$context"
if ! namespace_exists; then
  say "namespace $NAMESPACE does not exist in context $CONTEXT: nothing to do"
  exit 0
fi
if [ "$sure" = no ]; then
  [ -t 0 ] || die "$EXIT_USAGE" "cannot ask without a terminal: add --yes to delete namespace $NAMESPACE"
  printf 'Delete namespace %s of context %s with everything in it? [y/N] ' "$NAMESPACE" "$CONTEXT"
  read -r answer || answer=''
  case $answer in
  y | Y | yes) ;;
  *) die "$EXIT_FAILED" "nothing was deleted" ;;
  esac
fi
"${KUBECTL[@]}" delete namespace "$NAMESPACE" --timeout 180s ||
  die "$EXIT_FAILED" "namespace $NAMESPACE is not gone: see above"
say "namespace $NAMESPACE is gone"
