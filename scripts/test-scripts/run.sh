#!/usr/bin/env bash
# Tests the scripts without a cluster: kubectl, curl, the load test and the container engines are recording stand-ins put
# first in PATH, and the exact sequence of calls is compared. With --bin-dir, the scripts that need none of those run for real.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"

usage() {
  cat <<'EOF'
Usage: scripts/test-scripts/run.sh [--bin-dir DIR]

  --bin-dir DIR    also run up.sh, load-test.sh and the demos --local with DIR/gateway, DIR/ml-inference and
                   DIR/load-test (ports 31080, 31090 and 31501 to 31506 of 127.0.0.1; needs curl)

One line a test, then "N passed, N failed". Exit status: 0 all passed, 1 some failed, 2 wrong arguments.
EOF
}

# Started with SIGINT ignored (nohup, some CI) bash would hand that on and cannot undo it; what is tested here ends by it.
if [ -z "${SIGINT_RESET:-}" ] && env --default-signal=INT true 2>/dev/null; then
  exec env --default-signal=INT SIGINT_RESET=yes bash "${BASH_SOURCE[0]}" "$@"
fi

bin_dir=''
while [ $# -gt 0 ]; do
  case $1 in
  --help | -h) usage && exit 0 ;;
  --bin-dir) need_value "$1" $# && bin_dir=$(cd "$2" && pwd) && shift ;;
  *) usage_error "unknown argument: $1" ;;
  esac
  shift
done

SCRIPTS=$ROOT/scripts
FAKES=$SCRIPTS/test-scripts/fakes
make_tmp
trap cleanup_tmp EXIT
export FAKE=$TMP/fake
export NO_COLOR=1
REAL_KUBECTL=$(command -v kubectl || true)
REAL_PATH=$PATH
export REAL_KUBECTL

# --- the harness -------------------------------------------------------------------------------------------------

passed=0
failed=0
skipped=0
test_name=''
faults=''

begin() {
  test_name=$1
  faults=''
  rm -rf "$FAKE"
  mkdir -p "$FAKE/namespaces" "$FAKE/secrets"
  : >"$FAKE/calls"
  echo kind-mlops-lab >"$FAKE/context"
  use kubectl curl
  export LOAD_TEST=$FAKES/load-test
}

finish() {
  if [ -z "$faults" ]; then
    passed=$((passed + 1))
    echo "ok    $test_name"
  else
    failed=$((failed + 1))
    echo "FAIL  $test_name"
    printf '%s\n' "$faults" | sed '/^$/d; s/^/        /'
  fi
}

skip() {
  skipped=$((skipped + 1))
  echo "skip  $1"
}

fault() { faults="$faults
$1"; }

# use NAME...: exactly these stand-ins are installed. Beside them PATH holds the ordinary tools only, so that nothing of
# the machine's own (a docker, a cluster) can be reached.
use() {
  local name fake
  rm -rf "${TMP:?}/bin"
  mkdir "$TMP/bin"
  for name in "$@"; do
    case $name in
    kubectl | curl) fake=$name ;;
    *) fake=engine ;;
    esac
    ln -s "$FAKES/$fake" "$TMP/bin/$name"
  done
  PATH=$TMP/bin:$TMP/tools
}

install_tools() {
  local name
  mkdir "$TMP/tools"
  for name in bash env awk sed grep tr sort head tail cat cut od mktemp mkdir mkfifo rm cp mv ln ls chmod touch id \
    dirname basename sleep date uname diff; do
    ln -s "$(command -v "$name")" "$TMP/tools/$name"
  done
}

# run SCRIPT ARGUMENTS...: sets $output (both streams) and $status.
run() {
  local script=$1
  shift
  status=0
  output=$(CARGO_HOME=$TMP/nowhere HOME=$TMP "$BASH" "$SCRIPTS/$script" "$@" 2>&1 </dev/null) || status=$?
}

expect_status() { [ "$status" = "$1" ] || fault "exit status $status instead of $1; output: $output"; }

expect_output() {
  local text
  for text in "$@"; do
    case $output in *"$text"*) ;; *) fault "not in the output: $text
output: $output" ;; esac
  done
}

expect_not_in_output() { case $output in *"$1"*) fault "in the output: $1" ;; esac; }

# expect_calls: the recorded calls are exactly the lines of standard input ($ROOT and the temporary directory are masked).
expect_calls() {
  local wanted got
  wanted=$(cat)
  got=$(sed -e "s|$ROOT|ROOT|g" -e 's|[^ :]*/mlops-lab\.[A-Za-z0-9]*|TMP|g' \
    -e 's| --label org.opencontainers.image.revision=[0-9a-f]*||' "$FAKE/calls")
  [ "$got" = "$wanted" ] || fault "calls differ (< expected, > got):
$(diff <(printf '%s\n' "$wanted") <(printf '%s\n' "$got"))"
}

# load_finds FAILED TOTAL: what the stand-in for the load test will have seen.
load_finds() {
  printf 'pods and latencies\nfailed requests: %s of %s\n' "$1" "$2" >"$FAKE/load-summary"
  if [ "$1" -eq 0 ]; then echo 0; else echo 1; fi >"$FAKE/load-status"
}

# --- deploy.sh ---------------------------------------------------------------------------------------------------

test_deploy() {
  begin "deploy: base on kind, in order: namespace, secrets, everything, both rollouts"
  run deploy.sh
  expect_status 0
  expect_output "the gateway answers at http://127.0.0.1:30080" "curl http://127.0.0.1:30080/predict" \
    "whether the images are in the cluster was not checked"
  expect_calls <<'EOF'
kubectl config current-context
kubectl --context kind-mlops-lab get --raw /version --request-timeout 10s
kubectl kustomize ROOT/deploy/base
kubectl --context kind-mlops-lab apply -f -
kubectl config get-contexts kind-mlops-lab -o name
kubectl --context kind-mlops-lab get --raw /version --request-timeout 10s
kubectl --context kind-mlops-lab get namespace mlops-lab --ignore-not-found -o name
kubectl --context kind-mlops-lab --namespace mlops-lab get secret api-credentials --ignore-not-found -o name
kubectl --context kind-mlops-lab --namespace mlops-lab create -f -
kubectl --context kind-mlops-lab --namespace mlops-lab get secret ml-registry-credentials --ignore-not-found -o name
kubectl --context kind-mlops-lab --namespace mlops-lab create -f -
kubectl --context kind-mlops-lab apply -k ROOT/deploy/base
kubectl --context kind-mlops-lab --namespace mlops-lab rollout status deployment/ml-inference --timeout 180s
kubectl --context kind-mlops-lab --namespace mlops-lab rollout status deployment/api-gateway --timeout 180s
kubectl --context kind-mlops-lab --namespace mlops-lab get service api-gateway-service -o jsonpath={.spec.ports[?(@.name=="http")].nodePort}
EOF
  grep -q '^kind: Namespace' "$FAKE/stdin.4" || fault "the first apply is not the namespace: $(cat "$FAKE/stdin.4")"
  [ "$(grep -c '^kind:' "$FAKE/stdin.4")" = 1 ] || fault "the first apply holds more than the namespace"
  finish

  local name
  for name in dev staging prod; do
    begin "deploy: overlay $name goes to its own namespace"
    run deploy.sh --overlay "$name"
    expect_status 0
    grep -q "^  name: mlops-lab-$name$" "$FAKE"/stdin.4 || fault "namespace document: $(cat "$FAKE/stdin.4")"
    grep -q "apply -k .*/deploy/overlays/$name$" "$FAKE/calls" || fault "the overlay was not applied"
    grep -q -- "--namespace mlops-lab-$name rollout status deployment/api-gateway" "$FAKE/calls" || fault "no rollout waited for"
    finish
  done

  begin "deploy: on minikube the URL has minikube's address; images that are missing are named"
  use kubectl curl minikube
  echo my-profile >"$FAKE/context"
  echo minikube-label >"$FAKE/node-label"
  printf 'docker.io/library/api-gateway:1.0\nregistry.k8s.io/pause:3.9\n' >"$FAKE/node-images"
  run deploy.sh
  expect_status 0
  expect_output "the gateway answers at http://127.0.0.9:30080" "image ml-inference:1.0 is not in the cluster"
  expect_not_in_output "image api-gateway:1.0 is not"
  finish

  begin "deploy: on kind with podman its node is asked; an image under localhost/ is missing"
  use kubectl curl docker podman
  touch "$FAKE/docker-down"
  printf 'localhost/ml-inference:1.0\ndocker.io/library/api-gateway:1.0\n' >"$FAKE/node-images"
  run deploy.sh
  expect_status 0
  grep -qx "podman exec mlops-lab-control-plane crictl images" "$FAKE/calls" || fault "podman was not asked"
  expect_output "image ml-inference:1.0 is not in the cluster"
  expect_not_in_output "image api-gateway:1.0 is not"
  expect_not_in_output "not checked"
  finish

  begin "deploy: any other cluster: a node's address"
  echo elsewhere >"$FAKE/context"
  echo 127.0.0.8 >"$FAKE/address"
  run deploy.sh --context elsewhere --timeout 5s
  expect_status 0
  expect_output "the gateway answers at http://127.0.0.8:30080"
  finish

  begin "deploy: an address that answers a moment after the rollout"
  echo 2 >"$FAKE/no-answer"
  run deploy.sh
  expect_status 0
  expect_output "the gateway answers at http://127.0.0.1:30080"
  finish

  begin "deploy: an address that cannot be reached is said, with another way in"
  touch "$FAKE/no-answer"
  run deploy.sh
  expect_status 0
  expect_output "not reachable from here" "port-forward svc/api-gateway-service 8080:80"
  finish

  begin "deploy: a rollout that does not finish fails, shows the pods and names the likely cause"
  touch "$FAKE/rollout-fails"
  run deploy.sh
  expect_status 1
  expect_output "did not roll out within 180s" "ImagePullBackOff" "scripts/build-images.sh"
  finish

  begin "deploy: an unknown overlay, before any call"
  run deploy.sh --overlay nowhere
  expect_status 2
  expect_output 'there is no overlay "nowhere"; there are: base dev prod staging'
  expect_calls </dev/null
  finish
}

# Every script that needs the cluster says what is missing.
test_no_cluster() {
  local script
  for script in deploy.sh "cleanup.sh --yes" create-secrets.sh rolling-update.sh scale.sh kill.sh reload.sh hpa.sh; do
    begin "${script%% *}: no kubectl"
    use curl
    # shellcheck disable=SC2086 # a script and its option
    run $script
    expect_status 3
    expect_output "kubectl is missing" "get it from"
    finish

    begin "${script%% *}: no context"
    rm "$FAKE/context"
    # shellcheck disable=SC2086
    run $script
    expect_status 3
    expect_output "kubectl has no current context" "minikube start"
    expect_calls <<<'kubectl config current-context'
    finish

    begin "${script%% *}: unknown context"
    # shellcheck disable=SC2086
    run $script --context nowhere
    expect_status 3
    expect_output 'kubectl knows no context "nowhere"'
    expect_calls <<<'kubectl config get-contexts nowhere -o name'
    finish

    begin "${script%% *}: the cluster does not answer"
    touch "$FAKE/unreachable"
    # shellcheck disable=SC2086
    run $script
    expect_status 3
    expect_output 'the cluster of context "kind-mlops-lab" does not answer' "connection refused"
    finish
  done
}

# --- create-secrets.sh -------------------------------------------------------------------------------------------

values_of() { sed -n 's/^  [A-Z_]*: "\(.*\)"$/\1/p' "$FAKE"/stdin.*; }

test_secrets() {
  local value first
  begin "secrets: both are made from standard input, with random values"
  touch "$FAKE/namespaces/mlops-lab"
  run create-secrets.sh
  expect_status 0
  expect_output "secret api-credentials created (API_KEY, JWT_SECRET)" \
    "secret ml-registry-credentials created (REGISTRY_USER, REGISTRY_PASSWORD)"
  expect_calls <<'EOF'
kubectl config current-context
kubectl --context kind-mlops-lab get --raw /version --request-timeout 10s
kubectl --context kind-mlops-lab get namespace mlops-lab --ignore-not-found -o name
kubectl --context kind-mlops-lab --namespace mlops-lab get secret api-credentials --ignore-not-found -o name
kubectl --context kind-mlops-lab --namespace mlops-lab create -f -
kubectl --context kind-mlops-lab --namespace mlops-lab get secret ml-registry-credentials --ignore-not-found -o name
kubectl --context kind-mlops-lab --namespace mlops-lab create -f -
EOF
  [ "$(sed 's/"[^"]*"/VALUE/' "$FAKE/stdin.5")" = "apiVersion: v1
kind: Secret
type: Opaque
metadata:
  name: api-credentials
stringData:
  API_KEY: VALUE
  JWT_SECRET: VALUE" ] || fault "manifest: $(sed 's/"[^"]*"/VALUE/' "$FAKE/stdin.5")"
  finish

  begin "secrets: no value is printed or is an argument, and no two are alike"
  touch "$FAKE/namespaces/mlops-lab"
  run create-secrets.sh
  first=$(values_of)
  [ "$(printf '%s\n' "$first" | grep -c .)" = 4 ] || fault "not four values"
  for value in $first; do
    [ "${#value}" -ge 11 ] || fault "a value of ${#value} characters"
    expect_not_in_output "$value"
    ! grep -q -- "$value" "$FAKE/calls" || fault "a value is an argument of kubectl"
  done
  rm "$FAKE"/stdin.*
  run create-secrets.sh
  [ "$(printf '%s\n%s\n' "$first" "$(values_of)" | sort -u | grep -c .)" = 8 ] || fault "values repeat"
  finish

  begin "secrets: those that are there are left alone"
  touch "$FAKE/namespaces/elsewhere" "$FAKE/secrets/api-credentials"
  run create-secrets.sh --namespace elsewhere
  expect_status 0
  expect_output "secret api-credentials is there already: left alone" "secret ml-registry-credentials created"
  [ "$(grep -c 'create -f -' "$FAKE/calls")" = 1 ] || fault "not exactly one was created"
  finish

  begin "secrets: no namespace"
  run create-secrets.sh
  expect_status 3
  expect_output "namespace mlops-lab does not exist" "kubectl create namespace mlops-lab"
  ! grep -q create "$FAKE/calls" || fault "something was created"
  finish
}

# --- cleanup.sh --------------------------------------------------------------------------------------------------

test_cleanup() {
  local name
  begin "cleanup: deletes the namespace"
  touch "$FAKE/namespaces/mlops-lab"
  run cleanup.sh --yes
  expect_status 0
  expect_calls <<'EOF'
kubectl config current-context
kubectl --context kind-mlops-lab get --raw /version --request-timeout 10s
kubectl --context kind-mlops-lab get namespace mlops-lab --ignore-not-found -o name
kubectl --context kind-mlops-lab delete namespace mlops-lab --timeout 180s
EOF
  finish

  begin "cleanup: an overlay's namespace"
  touch "$FAKE/namespaces/mlops-lab-prod"
  run cleanup.sh --yes --overlay prod
  expect_status 0
  grep -q 'delete namespace mlops-lab-prod ' "$FAKE/calls" || fault "not deleted"
  finish

  for name in default kube-system mlops-lab-other mlops mlops.lab ''; do
    begin "cleanup: refuses namespace \"$name\" before any call"
    touch "$FAKE/namespaces/${name:-x}"
    run cleanup.sh --yes --namespace "$name"
    expect_status 2
    expect_output "is not one of this project's: mlops-lab mlops-lab-dev mlops-lab-prod mlops-lab-staging"
    expect_calls </dev/null
    finish
  done

  begin "cleanup: asks, and without a terminal deletes nothing"
  touch "$FAKE/namespaces/mlops-lab"
  run cleanup.sh
  expect_status 2
  expect_output "add --yes"
  ! grep -q delete "$FAKE/calls" || fault "it was deleted"
  finish

  begin "cleanup: nothing there, nothing to do"
  run cleanup.sh --yes
  expect_status 0
  expect_output "nothing to do"
  ! grep -q delete "$FAKE/calls" || fault "it was deleted"
  finish
}

# --- rolling-update.sh on a cluster ------------------------------------------------------------------------------

deployed() {
  load_finds 0 1000
  touch "$FAKE/namespaces/mlops-lab"
  echo ml-inference:1.0 >"$FAKE/image"
  echo api-gateway:1.0 >"$FAKE/gateway-image"
}

test_rolling_update() {
  begin "rolling update: set image, annotate, wait until the old pods are gone, history, undo, wait, history"
  deployed
  run rolling-update.sh --rate 50
  expect_status 0
  expect_output "now every answer is of version 2.0" "now every answer is of version 1.0" "failed requests: 0 of 1000"
  expect_calls <<'EOF'
kubectl config current-context
kubectl --context kind-mlops-lab get --raw /version --request-timeout 10s
kubectl --context kind-mlops-lab get namespace mlops-lab --ignore-not-found -o name
kubectl --context kind-mlops-lab --namespace mlops-lab get deployment api-gateway -o name
kubectl --context kind-mlops-lab --namespace mlops-lab get deployment ml-inference -o name
kubectl --context kind-mlops-lab --namespace mlops-lab get service api-gateway-service -o jsonpath={.spec.ports[?(@.name=="http")].nodePort}
kubectl --context kind-mlops-lab --namespace mlops-lab get deployment ml-inference -o jsonpath={.spec.template.spec.containers[?(@.name=="ml-model")].image}
kubectl --context kind-mlops-lab --namespace mlops-lab set image deployment/ml-inference ml-model=ml-inference:2.0
kubectl --context kind-mlops-lab --namespace mlops-lab annotate deployment/ml-inference kubernetes.io/change-cause=Updated to ml-inference:2.0 --overwrite
kubectl --context kind-mlops-lab --namespace mlops-lab rollout status deployment/ml-inference --timeout 5s
kubectl --context kind-mlops-lab --namespace mlops-lab get pods -l app=ml-inference -o jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}
kubectl --context kind-mlops-lab --namespace mlops-lab get pods -l app=ml-inference -o jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}
kubectl --context kind-mlops-lab --namespace mlops-lab rollout history deployment/ml-inference
kubectl --context kind-mlops-lab --namespace mlops-lab rollout undo deployment/ml-inference
kubectl --context kind-mlops-lab --namespace mlops-lab rollout status deployment/ml-inference --timeout 5s
kubectl --context kind-mlops-lab --namespace mlops-lab get pods -l app=ml-inference -o jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}
kubectl --context kind-mlops-lab --namespace mlops-lab get pods -l app=ml-inference -o jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}
kubectl --context kind-mlops-lab --namespace mlops-lab rollout history deployment/ml-inference
EOF
  grep -q -- '--url http://127.0.0.1:30080/predict --rate 50 --connections 16 ' "$FAKE/load-calls" ||
    fault "load: $(cat "$FAKE/load-calls")"
  [ "$(cat "$FAKE/load-marks")" = "v1 -> v2: ml-inference:1.0 -> ml-inference:2.0
undo" ] || fault "marks: $(cat "$FAKE/load-marks")"
  expect_output "    pods and latencies"
  finish

  begin "rolling update: failed requests fail it"
  deployed
  load_finds 5 1000
  run rolling-update.sh
  expect_status 1
  [ "$(printf '%s\n' "$output" | tail -n 1)" = "failed requests: 5 of 1000" ] || fault "$output"
  finish

  begin "rolling update: a rollout that hangs is undone"
  deployed
  touch "$FAKE/rollout-fails"
  run rolling-update.sh --timeout 1
  expect_status 1
  expect_output "ml-inference is not rolled out within 1 s" "undoing the update of ml-inference" "failed requests: 0 of"
  [ "$(tail -n 1 "$FAKE/calls")" = "kubectl --context kind-mlops-lab --namespace mlops-lab rollout undo deployment/ml-inference" ] ||
    fault "last call: $(tail -n 1 "$FAKE/calls")"
  finish

  begin "rolling update: an old pod that never goes fails it, and the update is undone"
  deployed
  touch "$FAKE/never-gone"
  GONE_SECONDS=2 run rolling-update.sh
  expect_status 1
  expect_output "still terminating after 2 s: ml-inference-old" "undoing the update" "failed requests: 0 of"
  expect_not_in_output "now every answer"
  [ "$(tail -n 1 "$FAKE/calls")" = "kubectl --context kind-mlops-lab --namespace mlops-lab rollout undo deployment/ml-inference" ] ||
    fault "last call: $(tail -n 1 "$FAKE/calls")"
  finish

  begin "rolling update: --version for an image whose tag is none"
  deployed
  run rolling-update.sh --image registry.example:5000/ml-inference:edge
  expect_status 2
  expect_output "the tag of registry.example:5000/ml-inference:edge is no version" "--version"
  expect_calls </dev/null
  run rolling-update.sh --image registry.example:5000/ml-inference:edge --version 2.0
  expect_status 0
  expect_output "now every answer is of version 2.0" "now every answer is of version 1.0"
  finish

  begin "rolling update: an answer of another version than expected fails it"
  deployed
  run rolling-update.sh --version 3.0
  expect_status 1
  expect_output "expected answers of version 3.0 only, got: 2.0"
  finish

  begin "rolling update: two versions before anything is changed"
  deployed
  echo 2.0 >"$FAKE/mixed"
  run rolling-update.sh
  expect_status 1
  expect_output "several versions answer already: 1.0 2.0"
  ! grep -q 'set image' "$FAKE/calls" || fault "the image was set"
  finish

  begin "rolling update: no namespace"
  run rolling-update.sh
  expect_status 3
  expect_output "namespace mlops-lab does not exist"
  finish

  begin "rolling update: nothing deployed"
  deployed
  rm "$FAKE/image"
  run rolling-update.sh
  expect_status 3
  expect_output "there is no deployment ml-inference" "scripts/deploy.sh"
  finish

  begin "rolling update: an image that the cluster does not have is said at once, and the update is undone"
  deployed
  touch "$FAKE/rollout-fails" "$FAKE/image-missing"
  run rolling-update.sh
  expect_status 1
  expect_output "the cluster has no image ml-inference:2.0" "scripts/build-images.sh --only ml-inference --tag 2.0" "undoing the update"
  finish

  begin "rolling update: a cluster that goes away is no reason to wait"
  deployed
  touch "$FAKE/rollout-unreachable"
  run rolling-update.sh
  expect_status 1
  expect_output "Unable to connect to the server"
  [ "$(grep -c 'rollout status' "$FAKE/calls")" = 1 ] || fault "asked again: $(cat "$FAKE/calls")"
  finish

  begin "rolling update: the gateway alone, under kept and new connections"
  deployed
  run rolling-update.sh --gateway
  expect_status 0
  [ "$(printf '%s\n' "$output" | tail -n 1)" = "failed requests: 0 of 2000" ] || fault "$output"
  grep -q -- '--new-connections' "$FAKE/load-calls" || fault "no new connections: $(cat "$FAKE/load-calls")"
  expect_after_checks <<'EOF'
get deployment api-gateway -o jsonpath={.spec.template.spec.containers[?(@.name=="gateway")].image}
set image deployment/api-gateway gateway=api-gateway:1.1
annotate deployment/api-gateway kubernetes.io/change-cause=Updated to api-gateway:1.1 --overwrite
rollout status deployment/api-gateway --timeout 5s
get pods -l app=api-gateway -o jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}
get pods -l app=api-gateway -o jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}
rollout history deployment/api-gateway
rollout undo deployment/api-gateway
rollout status deployment/api-gateway --timeout 5s
get pods -l app=api-gateway -o jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}
get pods -l app=api-gateway -o jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}
rollout history deployment/api-gateway
EOF
  finish

  begin "rolling update: both at once, and both are undone when one hangs"
  deployed
  run rolling-update.sh --both --gateway-image api-gateway:1.2
  expect_status 0
  expect_output "now every answer is of version 2.0" "now every answer is of version 1.0"
  local changes
  changes=$(grep -o 'set image .*\|rollout undo .*\|rollout status deployment/[a-z-]*' "$FAKE/calls")
  [ "$changes" = "set image deployment/ml-inference ml-model=ml-inference:2.0
set image deployment/api-gateway gateway=api-gateway:1.2
rollout status deployment/ml-inference
rollout status deployment/api-gateway
rollout undo deployment/ml-inference
rollout undo deployment/api-gateway
rollout status deployment/ml-inference
rollout status deployment/api-gateway" ] || fault "$changes"
  deployed
  touch "$FAKE/rollout-fails"
  run rolling-update.sh --both --timeout 1
  expect_status 1
  expect_output "undoing the update of ml-inference" "undoing the update of api-gateway"
  [ "$(cat "$FAKE/image" "$FAKE/gateway-image")" = "ml-inference:1.0
api-gateway:1.0" ] || fault "left: $(cat "$FAKE/image" "$FAKE/gateway-image")"
  finish

  begin "rolling update: --gateway or --both"
  run rolling-update.sh --gateway --both
  expect_status 2
  expect_output "--gateway and --both: one of them"
  finish

  begin "rolling update: already there"
  deployed
  run rolling-update.sh --image ml-inference:1.0
  expect_status 1
  expect_output "already runs ml-inference:1.0"
  ! grep -q 'set image' "$FAKE/calls" || fault "the image was set"
  finish

  begin "rolling update: a gateway that does not answer is said before anything is changed"
  deployed
  touch "$FAKE/no-answer"
  run rolling-update.sh
  expect_status 3
  expect_output "does not answer 200 from here" "--url"
  ! grep -q 'set image' "$FAKE/calls" || fault "the image was set"
  finish

  begin "rolling update: no cargo to build the load test with"
  LOAD_TEST='' run rolling-update.sh
  expect_status 3
  expect_output "cargo is missing" "https://rustup.rs"
  expect_calls </dev/null
  finish
}

# --- build-images.sh ---------------------------------------------------------------------------------------------

test_images() {
  begin "images: docker where it works, both images, loaded into kind"
  use kubectl docker podman buildah kind
  run build-images.sh
  expect_status 0
  expect_output "kubectl --context kind-mlops-lab -n mlops-lab rollout restart deployment/api-gateway deployment/ml-inference"
  expect_calls <<'EOF'
docker build --file ROOT/deploy/Dockerfile --target gateway --tag api-gateway:1.0 --build-arg VERSION=1.0 --build-arg MODEL_VERSION=1.0 ROOT
docker build --file ROOT/deploy/Dockerfile --target ml-inference --tag ml-inference:1.0 --build-arg VERSION=1.0 --build-arg MODEL_VERSION=1.0 ROOT
kubectl config current-context
docker save --output TMP/api-gateway.tar api-gateway:1.0
kind load image-archive TMP/api-gateway.tar --name mlops-lab
docker save --output TMP/ml-inference.tar ml-inference:1.0
kind load image-archive TMP/ml-inference.tar --name mlops-lab
EOF
  finish

  begin "images: podman where docker's daemon is down; names a cluster understands; loaded into minikube"
  use kubectl docker podman buildah minikube
  touch "$FAKE/docker-down"
  echo minikube >"$FAKE/context"
  echo minikube >"$FAKE/node-label"
  run build-images.sh --only ml-inference --tag 2.0
  expect_status 0
  case $output in *"rollout restart deployment/ml-inference") ;; *) fault "$output" ;; esac
  expect_calls <<'EOF'
podman build --layers=false --file ROOT/deploy/Dockerfile --target ml-inference --tag ml-inference:2.0 --build-arg VERSION=2.0 --build-arg MODEL_VERSION=2.0 ROOT
kubectl config current-context
kubectl --context minikube --request-timeout 10s get nodes -o jsonpath={.items[0].metadata.labels.minikube\.k8s\.io/name}
podman tag ml-inference:2.0 docker.io/library/ml-inference:2.0
podman save --quiet --format docker-archive --output TMP/ml-inference.tar docker.io/library/ml-inference:2.0
minikube image load --profile minikube TMP/ml-inference.tar
EOF
  finish

  begin "images: buildah when asked for; loaded into k3d"
  use kubectl docker buildah k3d
  echo k3d-lab >"$FAKE/context"
  RUST_IMAGE=localhost/rust run build-images.sh --engine buildah --only api-gateway --tag dev
  expect_status 0
  expect_calls <<'EOF'
buildah bud --layers=false --file ROOT/deploy/Dockerfile --target gateway --tag api-gateway:dev --build-arg VERSION=dev --build-arg MODEL_VERSION=1.0 --build-arg RUST_IMAGE=localhost/rust ROOT
kubectl config current-context
buildah push --quiet api-gateway:dev docker-archive:TMP/api-gateway.tar:docker.io/library/api-gateway:dev
k3d image import TMP/api-gateway.tar --cluster lab
EOF
  finish

  begin "images: prebuilt binaries are packaged from a directory of their own"
  use docker
  mkdir "$FAKE/built"
  touch "$FAKE/built/gateway" "$FAKE/built/ml-inference"
  run build-images.sh --prebuilt "$FAKE/built" --model-version 3.0
  expect_status 0
  expect_output "loaded into no cluster: kubectl is not installed"
  expect_calls <<'EOF'
docker build --file ROOT/deploy/Dockerfile.prebuilt --target gateway --tag api-gateway:1.0 --build-arg VERSION=1.0 --build-arg MODEL_VERSION=3.0 TMP/context
docker build --file ROOT/deploy/Dockerfile.prebuilt --target ml-inference --tag ml-inference:1.0 --build-arg VERSION=1.0 --build-arg MODEL_VERSION=3.0 TMP/context
EOF
  finish

  begin "images: a prebuilt binary that is missing"
  use docker
  mkdir "$FAKE/built"
  run build-images.sh --prebuilt "$FAKE/built"
  expect_status 3
  expect_output "built/gateway is missing"
  expect_calls </dev/null
  finish

  begin "images: --onnxruntime is another target under the same name"
  use docker
  run build-images.sh --onnxruntime --no-load
  expect_status 0
  expect_calls <<'EOF'
docker build --file ROOT/deploy/Dockerfile --target gateway --tag api-gateway:1.0 --build-arg VERSION=1.0 --build-arg MODEL_VERSION=1.0 ROOT
docker build --file ROOT/deploy/Dockerfile --target ml-inference-onnxruntime --tag ml-inference:1.0 --build-arg VERSION=1.0 --build-arg MODEL_VERSION=1.0 ROOT
EOF
  finish

  begin "images: a context that is no local cluster"
  use kubectl docker
  echo elsewhere >"$FAKE/context"
  run build-images.sh
  expect_status 0
  expect_output "loaded into no cluster: context elsewhere"
  finish

  begin "images: --no-load asks no cluster"
  use kubectl docker
  run build-images.sh --no-load
  expect_status 0
  ! grep -q kubectl "$FAKE/calls" || fault "kubectl was called"
  finish

  begin "images: --only takes one of the two"
  run build-images.sh --only nginx
  expect_status 2
  expect_output '--only takes api-gateway or ml-inference, not "nginx"'
  expect_calls </dev/null
  finish

  begin "images: no engine"
  use kubectl
  run build-images.sh
  expect_status 3
  expect_output "no container engine works here" "apt-get install podman"
  finish

  begin "images: the engine asked for is down"
  use docker podman
  touch "$FAKE/docker-down"
  run build-images.sh --engine docker
  expect_status 3
  expect_output "docker is installed but does not work"
  finish

  begin "images: an unknown engine"
  run build-images.sh --engine rkt
  expect_status 2
  expect_output 'unknown engine "rkt"'
  finish

  begin "images: a build that fails"
  use kubectl docker
  touch "$FAKE/build-fails"
  run build-images.sh
  expect_status 1
  expect_output "docker could not build api-gateway:1.0"
  finish

  begin "images: both Dockerfiles end in the same stages"
  local stages
  stages=$(sed -n '/^FROM scratch AS gateway/,$p' "$ROOT/deploy/Dockerfile" |
    sed -e '/^# Behind the other targets/,/^$/d' -e 's|COPY --from=[a-z-]* /out/|COPY |')
  [ "$stages" = "$(sed -n '/^FROM scratch AS gateway/,$p' "$ROOT/deploy/Dockerfile.prebuilt")" ] || fault "they differ"
  [ -n "$stages" ] || fault "no stages found"
  finish
}

# --- load-test.sh ------------------------------------------------------------------------------------------------

test_load() {
  begin "load test: its options are handed on, the report is saved, the status is its own"
  load_finds 3 1000
  run load-test.sh --duration 1s --rate 5 --header "a: b"
  expect_status 1
  [ "$(printf '%s\n' "$output" | tail -n 1)" = "failed requests: 3 of 1000" ] || fault "$output"
  [ "$(cat "$FAKE/load-calls")" = "load-test --html $ROOT/target/load-test/report.html --json $ROOT/target/load-test/report.json --duration 1s --rate 5 --header a: b" ] ||
    fault "$(cat "$FAKE/load-calls")"
  finish

  begin "load test: reports where they are wanted"
  load_finds 0 1000
  run load-test.sh --json "$FAKE/here.json" "--html=$FAKE/here.html"
  expect_status 0
  [ "$(cat "$FAKE/load-calls")" = "load-test --json $FAKE/here.json --html=$FAKE/here.html" ] || fault "$(cat "$FAKE/load-calls")"
  finish

  begin "load test: no cargo to build it with"
  LOAD_TEST='' run load-test.sh
  expect_status 3
  expect_output "cargo is missing" "https://rustup.rs"
  finish

  begin "load test: LOAD_TEST names nothing"
  LOAD_TEST=$FAKE/nowhere run load-test.sh
  expect_status 3
  expect_output "nowhere (LOAD_TEST) is missing"
  finish
}

# --- all of them -------------------------------------------------------------------------------------------------

test_options() {
  local path script
  for path in "$SCRIPTS"/*.sh "$SCRIPTS/bench"; do
    script=$(basename "$path")
    grep -q 'lib/common.sh' "$path" || continue
    # Its options are those of the program, which is there with --bin-dir only.
    [ "$script" != load-test.sh ] || [ -n "$bin_dir" ] || continue
    begin "$script: --help, an unknown argument, an option without its value"
    run "$script" --help
    expect_status 0
    expect_output "Usage: scripts/$script" "Exit status:"
    [ "$script" != load-test.sh ] || LOAD_TEST=$bin_dir/load-test
    run "$script" --nonsense
    expect_status 2
    expect_output "unknown argument: --nonsense"
    finish
  done

  begin "up.sh: no cargo"
  use curl
  run up.sh
  expect_status 3
  expect_output "cargo is missing" "https://rustup.rs"
  finish

  begin "up.sh: binaries that are not there"
  use curl
  run up.sh --bin-dir "$FAKE"
  expect_status 3
  expect_output "gateway is missing"
  finish

  begin "bench: names and numbers it does not know, before anything is built"
  run bench --peers nginx,nowhere
  expect_status 2
  expect_output '--peers does not know "nowhere"; there are: nginx,haproxy,pingora,relay,lab-nginx,gateway'
  run bench --workloads get-1,,rate
  expect_status 2
  expect_output '--workloads does not know ""'
  run bench --rounds 0
  expect_status 2
  expect_output "--rounds needs a whole number from 1 to 9999"
  run bench --gateway "$FAKE/nowhere"
  expect_status 2
  expect_output "nowhere is missing or cannot be executed"
  finish

  begin "bench: no cargo"
  run bench
  expect_status 3
  expect_output "cargo is missing" "https://rustup.rs"
  finish

  begin "no script uses what bash 3.2 (macOS) does not know"
  local found
  found=$(grep -nE 'declare -[An]|local -[An]|mapfile|readarray|wait -n|\$\{[a-z_]+(,,|\^\^)|&>>|EPOCHREALTIME|BASHPID' \
    "$SCRIPTS"/*.sh "$SCRIPTS/bench" "$SCRIPTS"/lib/*.sh "$SCRIPTS"/lib/*/*.sh | grep -vE ':[0-9]+: *#' || true)
  [ -z "$found" ] || fault "$found"
  finish

  PATH=$REAL_PATH
  if have shellcheck; then
    begin "shellcheck finds nothing"
    PATH=$REAL_PATH
    found=$(shellcheck -x "$SCRIPTS"/*.sh "$SCRIPTS"/lib/*.sh "$SCRIPTS"/test-scripts/*.sh "$FAKES"/* 2>&1) || fault "$found"
    finish
  else
    skip "shellcheck: not installed"
  fi
}

# --- with the real services --------------------------------------------------------------------------------------

# wait_output FILE TEXT PID
wait_output() {
  local deadline=$((SECONDS + 40))
  until grep -q -- "$2" "$1"; do
    kill -0 "$3" 2>/dev/null && [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.1
  done
}

# end_up SIGNAL: sets $status.
end_up() {
  local deadline=$((SECONDS + 40))
  kill "-$1" "$up"
  while kill -0 "$up" 2>/dev/null; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      fault "up.sh is still there 40 s after SIG$1"
      kill -TERM "$up"
      break
    fi
    sleep 0.1
  done
  status=0
  wait "$up" || status=$?
  up=''
}

drop_up() { [ -z "$up" ] || kill -TERM "$up" 2>/dev/null || true; }

test_real() {
  local url=http://127.0.0.1:31080 ports=(--port 31080 --ml-port 31501) log=$TMP/up.log victim port
  up=''
  PATH=$REAL_PATH
  trap 'drop_up; cleanup_tmp' EXIT

  begin "up.sh: runs the pair, readable, and says what to try"
  PATH=$REAL_PATH
  # Started with job control, as from a terminal: otherwise bash has it ignore SIGINT.
  set -m
  "$SCRIPTS/up.sh" --bin-dir "$bin_dir" "${ports[@]}" >"$log" 2>&1 &
  up=$!
  set +m
  if wait_output "$log" "Ctrl-C ends it" "$up"; then
    [ "$(fetch "$url/predict" && echo x)" = '{"predictions": [2.5, 3.0, 4.5], "model": "half_plus_two", "version": "1.0"}'$'\n'x ] ||
      fault "/predict: $(fetch --include "$url/predict" 2>&1)"
    grep -q "^    curl $url/predict$" "$log" || fault "it does not say what to curl"
    grep -q '^ml-inference-2 *| ' "$log" || fault "no readable line of ml-inference-2: $(cat "$log")"
    grep -q '^gateway *| ' "$log" || fault "no readable line of the gateway: $(cat "$log")"
  else
    fault "it is not ready: $(cat "$log")"
  fi
  finish

  begin "up.sh: a port in use is named"
  PATH=$REAL_PATH
  run up.sh --bin-dir "$bin_dir" "${ports[@]}"
  expect_status 1
  expect_output "port 31501 of 127.0.0.1 is already in use"
  finish

  begin "load-test.sh: GET and POST, by pod and version; statuses; nothing there"
  PATH=$REAL_PATH
  export LOAD_TEST=$bin_dir/load-test
  status=0
  output=$("$SCRIPTS/load-test.sh" --url "$url/predict" --duration 2s --rate 200 --connections 8 2>&1) || status=$?
  expect_status 0
  expect_output "ml-inference-1 (1.0)" "ml-inference-2 (1.0)" "saved: $ROOT/target/load-test/report.html"
  [ "$(printf '%s\n' "$output" | tail -n 1)" = "failed requests: 0 of 400" ] || fault "$output"
  echo '{"instances": [1.0, 2.0, 5.0]}' >"$TMP/body.json"
  output=$("$SCRIPTS/load-test.sh" --url "$url/predict" --duration 1s --rate 50 --post "$TMP/body.json" 2>&1) || status=$?
  expect_status 0
  status=0
  output=$("$SCRIPTS/load-test.sh" --url "$url/nowhere" --duration 1s --rate 50 2>&1) || status=$?
  expect_status 1
  expect_output "status 404" "failed requests: 50 of 50"
  status=0
  output=$("$SCRIPTS/load-test.sh" --url http://127.0.0.1:31999/ --duration 1s 2>&1) || status=$?
  expect_status 3
  expect_output "nothing answers at http://127.0.0.1:31999/" "scripts/up.sh"
  finish

  begin "up.sh: Ctrl-C ends every process cleanly"
  PATH=$REAL_PATH
  end_up INT
  expect_status 0
  output=$(cat "$log")
  expect_output "stopping"
  for port in 31080 31501 31502; do ! port_in_use "$port" || fault "port $port is still taken"; done
  finish

  begin "up.sh: ports and numbers that cannot be"
  PATH=$REAL_PATH
  for arguments in "--port 08080" "--port 0" "--port 65530" "--ml-port 99999" "--replicas 010" "--replicas 0" \
    "--ml-port 30090" "--ml-port 30079 --replicas 3" "--ml-port 65535"; do
    # shellcheck disable=SC2086 # several words
    run up.sh --bin-dir "$bin_dir" $arguments
    expect_status 2
  done
  finish

  begin "up.sh: a replica that dies leaves the others"
  PATH=$REAL_PATH
  : >"$log"
  set -m
  "$SCRIPTS/up.sh" --bin-dir "$bin_dir" "${ports[@]}" >"$log" 2>&1 &
  up=$!
  set +m
  if wait_output "$log" "Ctrl-C ends it" "$up"; then
    victim=$(pgrep -P "$up" ml-inference | head -n 1 || true)
    kill -KILL "$victim"
    wait_output "$log" "ended by itself with status 137" "$up" || fault "its end is not told: $(cat "$log")"
    answers_200 "$url/predict" || fault "the other replica does not answer"
    end_up INT
    expect_status 0
  else
    fault "it is not ready: $(cat "$log")"
    drop_up
  fi
  finish

  begin "up.sh: a process that dies is named, and the last one ends it"
  PATH=$REAL_PATH
  : >"$log" # the redirection below comes too late for wait_output, which would find the run before
  set -m
  "$SCRIPTS/up.sh" --bin-dir "$bin_dir" "${ports[@]}" --replicas 1 --model-version 2.0 >"$log" 2>&1 &
  up=$!
  set +m
  if wait_output "$log" "Ctrl-C ends it" "$up"; then
    case $(fetch "$url/predict") in *'"version": "2.0"'*) ;; *) fault "--model-version is not answered" ;; esac
    victim=$(pgrep -P "$up" ml-inference || true)
    if [ -n "$victim" ]; then kill -KILL "$victim"; else kill -TERM "$up"; fi
    status=0
    wait "$up" || status=$?
    up=''
    output=$(cat "$log")
    expect_status 1
    expect_output "ml-inference-1 ended by itself with status 137"
    ! port_in_use 31080 || fault "the gateway is still there"
  else
    fault "it is not ready: $(cat "$log")"
  fi
  finish

  begin "up.sh: a service that refuses its settings is reported"
  PATH=$REAL_PATH
  status=0
  output=$(BATCH_SIZE=many "$SCRIPTS/up.sh" --bin-dir "$bin_dir" "${ports[@]}" 2>&1 </dev/null) || status=$?
  expect_status 1
  expect_output "BATCH_SIZE" "ended by itself with status 78: a setting is wrong"
  finish

  local demo
  for demo in rolling-update.sh scale.sh kill.sh reload.sh; do
    begin "$demo --local: no request failed"
    run_demo "$demo"
    expect_no_loss
    if [ "$demo" = rolling-update.sh ]; then
      expect_output "now every answer is of version 2.0" "now every answer is of version 1.0"
    fi
    finish
    echo "      $(printf '%s\n' "$output" | tail -n 1)"
  done

  PATH=$REAL_PATH
  if ! unshare --net ip link set lo up >/dev/null 2>&1 || ! unshare --net iptables -t nat -L >/dev/null 2>&1; then
    skip "rolling-update.sh --both --local: no network namespace with iptables to be had"
    return
  fi
  begin "rolling-update.sh --both --local: no request failed, on new connections neither"
  run_demo rolling-update.sh --both
  expect_no_loss
  expect_output "api-gateway-6 has taken the place of api-gateway-4" "a new connection for each request"
  finish
  echo "      $(printf '%s\n' "$output" | tail -n 1)"

  begin "rolling-update.sh --gateway --local: without a drain window requests are lost, and it says so"
  DRAIN_WINDOW=0 run_demo rolling-update.sh --gateway
  expect_status 1
  expect_output "Connection refused"
  case $(printf '%s\n' "$output" | tail -n 1) in "failed requests: "[1-9]*) ;; *) fault "$output" ;; esac
  finish
}

# run_demo SCRIPT ARGUMENTS...: with the real programs.
run_demo() {
  local script=$1
  shift
  PATH=$REAL_PATH
  status=0
  output=$(LOAD_TEST=$bin_dir/load-test "$SCRIPTS/$script" --local --bin-dir "$bin_dir" "${ports[@]}" "$@" 2>&1 </dev/null) || status=$?
}

expect_no_loss() {
  expect_status 0
  case $(printf '%s\n' "$output" | tail -n 1) in "failed requests: 0 of "[1-9]*) ;; *) fault "$output" ;; esac
}

# --- the demos on a cluster --------------------------------------------------------------------------------------

# after_load: what kubectl was asked for once the load ran, without options that every call has.
after_checks() { sed -e 's|^kubectl --context kind-mlops-lab --namespace mlops-lab ||' -e 's|[^ :=]*/mlops-lab\.[A-Za-z0-9]*|TMP|g' "$FAKE/calls" | sed '1,6d'; }

expect_after_checks() {
  local wanted got
  wanted=$(cat)
  got=$(after_checks)
  [ "$got" = "$wanted" ] || fault "calls differ (< expected, > got):
$(diff <(printf '%s\n' "$wanted") <(printf '%s\n' "$got"))"
}

last_call() { after_checks | tail -n 1; }

test_demos() {
  local gone='get pods -l app=ml-inference -o jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}'
  local hpa='get hpa -o jsonpath={.items[?(@.spec.scaleTargetRef.name=="ml-inference")].metadata.name}'
  begin "scale: up, until all answer, and back"
  deployed
  echo 3 >"$FAKE/replicas"
  run scale.sh --connections 8
  expect_status 0
  expect_output "3 -> 6 replicas" "6 replicas answer" "6 -> 3 replicas" "3 replicas answer" "failed requests: 0 of 1000"
  expect_after_checks <<EOF
$hpa
get deployment ml-inference -o jsonpath={.spec.replicas}
scale deployment/ml-inference --replicas 6
rollout status deployment/ml-inference --timeout 5s
$gone
$gone
get pods -l app=ml-inference -o wide
scale deployment/ml-inference --replicas 3
rollout status deployment/ml-inference --timeout 5s
$gone
$gone
get pods -l app=ml-inference -o wide
EOF
  [ "$(cat "$FAKE/load-marks")" = "3 -> 6 replicas
6 -> 3 replicas" ] || fault "marks: $(cat "$FAKE/load-marks")"
  finish

  begin "scale: not against an autoscaler"
  deployed
  echo 3 >"$FAKE/replicas"
  printf ml-inference-hpa >"$FAKE/autoscaler"
  run scale.sh
  expect_status 1
  expect_output "the autoscaler ml-inference-hpa looks after ml-inference"
  [ ! -f "$FAKE/load-calls" ] || fault "load ran all the same"
  finish

  begin "scale: what does not come up is scaled back"
  deployed
  echo 3 >"$FAKE/replicas"
  touch "$FAKE/rollout-fails"
  run scale.sh --timeout 1s
  expect_status 1
  expect_output "ml-inference is not rolled out within 1 s" "scaling back to 3 replicas" "failed requests: 0 of"
  [ "$(last_call)" = "scale deployment/ml-inference --replicas 3" ] || fault "last call: $(last_call)"
  finish

  begin "kill: a pod in order, a pod by force"
  deployed
  run kill.sh
  expect_status 0
  expect_after_checks <<EOF
get pods -l app=ml-inference --field-selector status.phase=Running -o jsonpath={.items[0].metadata.name}
delete pod ml-inference-0
rollout status deployment/ml-inference --timeout 5s
$gone
$gone
get pods -l app=ml-inference --field-selector status.phase=Running -o jsonpath={.items[0].metadata.name}
delete pod ml-inference-0 --grace-period 0 --force
rollout status deployment/ml-inference --timeout 5s
$gone
$gone
EOF
  finish

  begin "kill: failed requests fail it"
  deployed
  load_finds 3 1000
  run kill.sh
  expect_status 1
  [ "$(printf '%s\n' "$output" | tail -n 1)" = "failed requests: 3 of 1000" ] || fault "$output"
  finish

  begin "reload: log level, a broken file, and back, each seen in the log of every gateway pod"
  deployed
  echo info >"$FAKE/log-level"
  run reload.sh
  expect_status 0
  expect_output "every gateway pod: settings changed" "every gateway pod: refused" "failed requests: 0 of 1000"
  [ "$(cat "$FAKE/log-level")" = info ] || fault "the level stays $(cat "$FAKE/log-level")"
  [ "$(after_checks | grep -c '^logs api-gateway-[01] --since-time ')" -eq 6 ] || fault "$(after_checks)"
  [ "$(after_checks | grep -c '^patch ')" -eq 4 ] || fault "$(after_checks)"
  finish

  begin "reload: a gateway that takes nothing up fails it, and all is put back"
  deployed
  echo info >"$FAKE/log-level"
  touch "$FAKE/deaf"
  KUBELET_SECONDS=1 run reload.sh
  expect_status 1
  expect_output "not every gateway pod has logged \"settings changed\" within 1 s" "putting LOG_LEVEL back"
  [ "$(cat "$FAKE/log-level")" = info ] || fault "the level stays $(cat "$FAKE/log-level")"
  finish

  test_hpa "$gone" "$hpa"

  local script
  for script in scale.sh kill.sh reload.sh hpa.sh; do
    begin "$script: wrong options, and nothing deployed"
    run "$script" --rate many
    expect_status 2
    expect_output "--rate needs a whole number"
    run "$script" --port 65530
    expect_status 2
    expect_output "--port needs a port from 1 to 65525"
    run "$script" --sideways
    expect_status 2
    expect_output "unknown argument: --sideways"
    touch "$FAKE/namespaces/mlops-lab"
    run "$script"
    expect_status 3
    expect_output "there is no deployment api-gateway in namespace mlops-lab"
    finish
  done
}

# autoscaled: three replicas of half_plus_two, and an autoscaler that sees these readings, look by look.
autoscaled() {
  deployed
  echo 3 >"$FAKE/replicas"
  echo half_plus_two >"$FAKE/model"
  cp "$FAKE/model" "$FAKE/served"
  printf '%s\n' "$@" >"$FAKE/looks"
}

# expect_as_before: the model and the replicas are what they were, and the autoscaler is gone.
expect_as_before() {
  [ "$(cat "$FAKE/model") $(cat "$FAKE/served") $(cat "$FAKE/replicas")" = "half_plus_two half_plus_two 3" ] ||
    fault "MODEL_NAME $(cat "$FAKE/model"), served $(cat "$FAKE/served"), replicas $(cat "$FAKE/replicas")"
  after_checks | grep -q '^delete hpa ml-inference-hpa ' || fault "the autoscaler stays: $(after_checks)"
}

# test_hpa GONE HPA: the calls that look for pods that are leaving, and for an autoscaler.
test_hpa() {
  local gone=$1 hpa=$2 demo deadline
  local container='.spec.template.spec.containers[?(@.name=="ml-model")].resources' down='.spec.behavior.scaleDown'
  local look='get hpa ml-inference-hpa -o jsonpath={.status.currentReplicas}|{.status.desiredReplicas}|{.status.currentMetrics[0].resource.current.averageUtilization}'
  export POLL_SECONDS=0 QUIET_SECONDS=0

  begin "hpa: the model, the autoscaler, load until the replicas follow, less until they settle, and all back"
  autoscaled "3|3|24" "3|6|104" "6|6|101" "6|6|52" "4|4|12" "3|3|12" "2|2|15"
  load_finds 0 1000
  run hpa.sh
  expect_status 0
  expect_output "now every answer is of the model mlp" "58 a second take 50m of CPU from each of 3 pods, which request 50m" \
    "3 replicas, 6 wanted, CPU at 104 % of the request (target 50 %)" "6 -> 2 replicas: 180 s by the autoscaler's rules" \
    "now every answer is of the model half_plus_two"
  [ "$(printf '%s\n' "$output" | tail -n 1)" = "failed requests: 0 of 2000" ] || fault "$output"
  expect_after_checks <<EOF
top pods -l app=ml-inference --no-headers
exec deployment/ml-inference -c ml-model -- /ml-inference --help
get deployment ml-inference -o jsonpath={.spec.replicas}
get configmap shared-config -o jsonpath={.data.MODEL_NAME}
$hpa
patch configmap shared-config --type merge -p {"data":{"MODEL_NAME":"mlp"}}
rollout restart deployment/ml-inference
rollout status deployment/ml-inference --timeout 5s
$gone
$gone
apply -f -
get hpa ml-inference-hpa -o jsonpath={.spec.minReplicas}|{.spec.metrics[0].resource.target.averageUtilization}|{$down.stabilizationWindowSeconds}|{$down.policies[0].type}|{$down.policies[0].value}|{$down.policies[0].periodSeconds}
$look
rollout status deployment/ml-inference --timeout 5s
get deployment ml-inference -o jsonpath={$container.requests.cpu}|{$container.limits.cpu}
$look
$look
rollout status deployment/ml-inference --timeout 5s
$look
$look
$look
$look
rollout status deployment/ml-inference --timeout 5s
$gone
$gone
delete hpa ml-inference-hpa --ignore-not-found
scale deployment/ml-inference --replicas 3
patch configmap shared-config --type merge -p {"data":{"MODEL_NAME":"half_plus_two"}}
rollout restart deployment/ml-inference
rollout status deployment/ml-inference --timeout 5s
$gone
$gone
EOF
  expect_as_before
  grep -q '/predict --rate 5 .*--post .*/row.json' "$FAKE/load-calls" || fault "light load: $(cat "$FAKE/load-calls")"
  grep -q '/predict --rate 58 .*/hpa-heavy.json .*--post .*/row.json' "$FAKE/load-calls" || fault "heavy load: $(cat "$FAKE/load-calls")"
  [ "$(cat "$FAKE/load-marks")" = "model: half_plus_two -> mlp
an autoscaler for ml-inference
3 replicas
heavy load
6 replicas
the heavy load is gone
4 replicas
3 replicas
2 replicas
as it was before" ] || fault "marks: $(cat "$FAKE/load-marks")"
  finish

  begin "hpa: --quick, and the overlay's namespace"
  autoscaled "3|6|104" "6|6|50" "6|6|12" "2|2|12"
  touch "$FAKE/namespaces/mlops-lab-dev"
  run hpa.sh --quick --overlay dev --rate 40
  expect_status 0
  grep -qF 'patch hpa ml-inference-hpa --type merge -p {"spec":{"behavior":{"scaleDown":{"stabilizationWindowSeconds":30,"policies":null}}}}' "$FAKE/calls" ||
    fault "the autoscaler is not quicker: $(after_checks)"
  grep -q '^  namespace: mlops-lab-dev$' "$FAKE"/stdin.* || fault "another namespace: $(cat "$FAKE"/stdin.*)"
  grep -q '/predict --rate 40 ' "$FAKE/load-calls" || fault "heavy load: $(cat "$FAKE/load-calls")"
  finish

  begin "hpa: an autoscaler that is there is used and left as it is"
  autoscaled "3|3|24" "3|6|104" "6|6|50" "3|3|12"
  printf ml-inference-hpa >"$FAKE/autoscaler"
  run hpa.sh --quick
  expect_status 1
  expect_output "the autoscaler ml-inference-hpa is there already, and --quick would change it"
  run hpa.sh
  expect_status 0
  expect_output "6 -> 3 replicas"
  ! after_checks | grep -qE '^(apply|patch hpa|delete|scale) ' || fault "$(after_checks)"
  [ "$(cat "$FAKE/served")" = half_plus_two ] || fault "served: $(cat "$FAKE/served")"
  finish

  begin "hpa: no metrics, before anything is changed"
  autoscaled "3|3|24"
  touch "$FAKE/no-metrics"
  run hpa.sh
  expect_status 3
  expect_output "no CPU metrics of ml-inference" "error: Metrics API not available" "metrics-server/releases" "--kubelet-insecure-tls"
  echo my-profile >"$FAKE/context"
  echo my-profile >"$FAKE/node-label"
  run hpa.sh --url http://127.0.0.1:30080/predict
  expect_status 3
  expect_output "minikube addons enable metrics-server --profile my-profile"
  ! grep -qE ' (patch|apply|rollout) ' "$FAKE/calls" || fault "$(cat "$FAKE/calls")"
  finish

  begin "hpa: an image without the model, before anything is changed"
  autoscaled "3|3|24"
  touch "$FAKE/old-image"
  run hpa.sh
  expect_status 3
  expect_output "does not have the model mlp" "scripts/build-images.sh --only ml-inference"
  ! grep -qE ' (patch|apply|rollout) ' "$FAKE/calls" || fault "$(cat "$FAKE/calls")"
  finish

  begin "hpa: replicas that do not follow fail it, and all is put back"
  autoscaled "3|3|24" "3|3|40"
  run hpa.sh --timeout 1
  expect_status 1
  expect_output "the replicas did not follow within 1 s: 3, CPU at 40 % of the request" "unable to compute" "putting the replicas and the model back"
  [ "$(printf '%s\n' "$output" | grep '^failed requests')" = "failed requests: 0 of 2000" ] || fault "$output"
  expect_as_before
  finish

  begin "hpa: failed requests fail it, those of both loads count"
  autoscaled "3|3|24" "3|6|104" "6|6|50" "2|2|12"
  load_finds 2 1000
  run hpa.sh
  expect_status 1
  expect_output "requests of the heavy load failed"
  [ "$(printf '%s\n' "$output" | grep '^failed requests')" = "failed requests: 4 of 2000" ] || fault "$output"
  expect_as_before
  finish

  begin "hpa: Ctrl-C under the heavy load puts all back"
  autoscaled "3|3|24" "3|6|104"
  set -m
  POLL_SECONDS=0.1 "$BASH" "$SCRIPTS/hpa.sh" >"$FAKE/output" 2>&1 </dev/null &
  demo=$!
  set +m
  deadline=$((SECONDS + 40))
  until grep -q '6 wanted' "$FAKE/output" || [ "$SECONDS" -ge "$deadline" ]; do sleep 0.1; done
  kill -INT "$demo"
  status=0
  wait "$demo" || status=$?
  output=$(cat "$FAKE/output")
  expect_status 130
  expect_output "6 wanted" "putting the replicas and the model back"
  expect_as_before
  finish

  begin "hpa: not on processes"
  run hpa.sh --local
  expect_status 2
  expect_output "--local: an autoscaler needs a cluster"
  finish
  unset POLL_SECONDS QUIET_SECONDS
}

install_tools
test_deploy
test_no_cluster
test_secrets
test_cleanup
test_rolling_update
test_demos
test_images
test_load
test_options
if [ -n "$bin_dir" ]; then
  test_real
else
  skip "up.sh, load-test.sh and the demos --local for real: no --bin-dir"
fi

echo
if [ "$skipped" -gt 0 ]; then
  echo "$passed passed, $failed failed, $skipped skipped"
else
  echo "$passed passed, $failed failed"
fi
[ "$failed" -eq 0 ]
