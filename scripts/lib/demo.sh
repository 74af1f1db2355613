# shellcheck shell=bash disable=SC2034 # what is set here is used by the scripts
# A demonstration: something is done to the pair while load runs through the gateway, and no request may fail.
# Sourced after common.sh, load.sh, cluster.sh and pair.sh. A demo has the functions usage, run_local and run_cluster, and may
# have undo, which puts right what an end in the middle leaves behind.

DEMO=${SCRIPT%.sh}
MODE=cluster
RATE=100
CONNECTIONS=16
URL=''
OVERLAY=base
TIMEOUT=180
PROFILE=debug
CARGO_ARGS=()
LOAD_ARGS=()
demo_context=''

# The gateway of a local demo looks at its files this often; a pod's does every second.
readonly LOCAL_RELOAD_SECONDS=0.1

demo_options() {
  cat <<'EOF'
  --rate R             requests a second (100)
  --connections C      at the same time (16)

On a cluster:
EOF
  cluster_options
  cat <<'EOF'

With --local (processes of this machine):
  --port P             the gateway's port (30080); its admin listener takes P + 10
  --ml-port P          the first replica's port (5001)
  --bin-dir DIR        run DIR/gateway and DIR/ml-inference instead of building
  --release            build with the release profile
  --help

EOF
  demo_end
}

cluster_options() {
  cat <<'EOF'
  --url URL            what to ask (http://.../predict); by default the gateway's nodePort
  --overlay NAME       base, dev, staging or prod (base)
  --context NAME       the kubectl context (the current one)
  --timeout S          how many seconds to wait for each rollout (180)
EOF
}

demo_end() {
  cat <<'EOF'
The report is saved as target/load-test/NAME.json and NAME.html.

Exit status: 0 all went through and no request failed, 1 otherwise, 2 wrong arguments, 3 a tool or cluster is missing.
EOF
}

# parse_demo ARGUMENTS...: the options every demo has.
parse_demo() {
  while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) usage && exit 0 ;;
    --local) MODE=local && shift && continue ;;
    --release) PROFILE=release CARGO_ARGS=(--release) && shift && continue ;;
    --rate | --connections | --timeout) need_value "$1" $# && need_number "$1" "${2%s}" ;;
    # The admin listener takes the port ten above.
    --port) need_value "$1" $# && need_port "$1" "$2" 65525 ;;
    --ml-port) need_value "$1" $# && need_port "$1" "$2" 65500 ;;
    --url | --overlay | --context | --bin-dir) need_value "$1" $# ;;
    *) usage_error "unknown argument: $1" ;;
    esac
    case $1 in
    --rate) RATE=$2 ;;
    --connections) CONNECTIONS=$2 ;;
    --port) GATEWAY_PORT=$2 ADMIN_PORT=$(($2 + 10)) ;;
    --ml-port) ML_PORT=$2 ;;
    --url) URL=$2 ;;
    --overlay) OVERLAY=$2 ;;
    --context) demo_context=$2 ;;
    --timeout) TIMEOUT=${2%s} ;;
    --bin-dir) use_binaries "$2" ;;
    esac
    shift 2
  done
}

# demo: runs it, and ends the script.
demo() {
  local went_through=yes status=0
  need_load_test
  need_curl
  make_tmp
  trap demo_exit EXIT
  trap 'exit 130' INT TERM HUP
  "run_$MODE" || went_through=no
  stop_load || status=$?
  say "what the load saw"
  show_load
  [ "$status" -eq 0 ] || exit "$status"
  [ "$went_through" = yes ] || exit "$EXIT_FAILED"
}

demo_exit() {
  local status=$?
  trap '' INT TERM HUP
  drop_load
  if declare -F undo >/dev/null; then undo || status=$EXIT_FAILED; fi
  stop_pair
  cleanup_tmp
  exit "$status"
}

begin_load() {
  say "load on $URL: $RATE requests a second, $CONNECTIONS connections"
  start_load "$DEMO" "$URL" "$RATE" "$CONNECTIONS" ${LOAD_ARGS[@]+"${LOAD_ARGS[@]}"}
}

# step TITLE COMMAND...
step() {
  local title=$1
  shift
  say "$title"
  mark_load "$title"
  "$@"
}

# within SECONDS COMMAND...: waits until the command succeeds.
within() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.2
  done
}

# header NAME: its value in one answer of $URL.
header() {
  fetch --output /dev/null --dump-header - "$URL" 2>/dev/null | tr -d '\r' |
    awk -v name="$1:" 'tolower($1) == name { print $2 }'
}

# pods_seen: how many pods give forty answers.
pods_seen() {
  local i
  for ((i = 0; i < 40; i++)); do header x-served-by; done | sort -u | grep -c . || true
}

pods_answer() { [ "$(pods_seen)" -eq "$1" ]; }

everyone_answers() {
  within 20 pods_answer "$1" || {
    warn "$(pods_seen) replicas answer instead of $1"
    return 1
  }
  note "$1 replicas answer"
}

# --- on this machine ---------------------------------------------------------------------------------------------

ML_PIDS=() # indexed by replica
GATEWAY_PIDS=() # indexed by gateway
GATEWAY_ENV=() # NAME=VALUE

# start_replicas FIRST LAST VERSION
start_replicas() {
  local i
  for ((i = $1; i <= $2; i++)); do
    start_ml_inference "$i" "$3"
    ML_PIDS[i]=$STARTED_PID
  done
  for ((i = $1; i <= $2; i++)); do wait_ml_ready "${ML_PIDS[i]}" "$i" || return 1; done
}

# stop_replica INDEX: as a deleted pod, in order.
stop_replica() {
  local pid=${ML_PIDS[$1]} status=0
  unset "ML_PIDS[$1]"
  stop_process "$pid" || status=$?
  [ "$status" -eq 0 ] || warn "ml-inference-$1 ended with status $status instead of 0 after SIGTERM"
}

need_binaries() {
  if [ -z "$BIN_DIR" ]; then build_binaries "$PROFILE" ${CARGO_ARGS[@]+"${CARGO_ARGS[@]}"}; fi
}

# start_pair REPLICAS [MOST]: MOST is how many ports the demo will need.
start_pair() {
  need_binaries
  need_free_ports "${2:-$1}"
  say "starting $1 x ml-inference (version 1.0) and the gateway"
  start_replicas 1 "$1" 1.0 || exit "$EXIT_FAILED"
  [ -f "$TMP/gateway.yaml" ] || write_gateway_yaml "$(endpoints 1 "$1")"
  start_gateway_at 1 "127.0.0.1:$GATEWAY_PORT" "127.0.0.1:$ADMIN_PORT" || exit "$EXIT_FAILED"
  URL=http://127.0.0.1:$GATEWAY_PORT/predict
}

# start_gateway_at NUMBER LISTEN_ADDRESS ADMIN_ADDRESS
start_gateway_at() {
  start_process "api-gateway-$1" env CONFIG_FILE="$TMP/gateway.yaml" RELOAD_INTERVAL="$LOCAL_RELOAD_SECONDS" \
    POD_NAME="api-gateway-$1" LISTEN_ADDRESS="$2" ADMIN_ADDRESS="$3" \
    ${GATEWAY_ENV[@]+"${GATEWAY_ENV[@]}"} "$BIN_DIR/gateway"
  GATEWAY_PIDS[$1]=$STARTED_PID
  wait_ready "$STARTED_PID" "http://$3/readyz"
}

# endpoints FIRST LAST: the replicas as a list of gateway.yaml.
endpoints() {
  local i list=''
  for ((i = $1; i <= $2; i++)); do list="$list${list:+, }\"127.0.0.1:$((ML_PORT + i - 1))\""; done
  printf '%s\n' "$list"
}

# write_gateway_yaml ENDPOINTS [MORE LINES]: in one piece, as the kubelet brings a ConfigMap.
write_gateway_yaml() {
  cat >"$TMP/gateway.yaml.new" <<EOF
clusters:
  - name: ml-inference-service:5000
    endpoints: [$1]
${2:-}
EOF
  mv "$TMP/gateway.yaml.new" "$TMP/gateway.yaml"
}

gateway_status() { fetch "http://127.0.0.1:$ADMIN_PORT/status.json"; }

# status_field NAME: the first number or text of this name on the gateway's status page.
status_field() { gateway_status | sed -n "s/^ *\"$1\": \"\{0,1\}\([^\",]*\).*/\1/p" | head -n 1; }

generation_is_past() { [ "$(status_field generation)" -gt "$1" ]; }

# taken_up COMMAND...: runs it, and waits until the gateway has taken up what it changed.
taken_up() {
  local before
  before=$(status_field generation)
  "$@"
  within 10 generation_is_past "$before" || {
    warn "the gateway did not take up the change"
    gateway_status | head -n 20 >&2
    return 1
  }
}

stop_pair() {
  local pid
  for pid in ${GATEWAY_PIDS[@]+"${GATEWAY_PIDS[@]}"}; do send_term "$pid"; done
  for pid in ${GATEWAY_PIDS[@]+"${GATEWAY_PIDS[@]}"}; do wait_stopped "$pid" || true; done
  for pid in ${ML_PIDS[@]+"${ML_PIDS[@]}"}; do
    # A frozen one would not hear the other signal.
    kill -CONT "$pid" 2>/dev/null || true
    send_term "$pid"
  done
  for pid in ${ML_PIDS[@]+"${ML_PIDS[@]}"}; do wait_stopped "$pid" || true; done
}

# --- on a cluster ------------------------------------------------------------------------------------------------

: "${GONE_SECONDS:=45}" # the pods' grace period, 30 s, and some slack

# enter_cluster: finds the namespace, both deployments and the gateway's address.
enter_cluster() {
  NAMESPACE=$(overlay_namespace "$OVERLAY")
  connect_cluster "$demo_context"
  need_namespace
  local deployment
  for deployment in api-gateway ml-inference; do
    in_namespace get deployment "$deployment" -o name >/dev/null 2>&1 ||
      die "$EXIT_UNAVAILABLE" "there is no deployment $deployment in namespace $NAMESPACE" "make it with scripts/deploy.sh"
  done
  if [ -z "$URL" ]; then
    gateway_url || die "$EXIT_UNAVAILABLE" "the gateway's nodePort cannot be found" "give its address with --url"
    URL=$GATEWAY_URL/predict
  fi
  answers_200 "$URL" || {
    warn "$URL does not answer 200 from here; open a way in another terminal and give its address with --url:"
    other_ways
    exit "$EXIT_UNAVAILABLE"
  }
}

# How long `rollout status` waits before it is looked whether there is anything to wait for.
readonly LOOK_SECONDS=5

rolled_out() {
  local deadline=$((SECONDS + TIMEOUT)) look=$((TIMEOUT < LOOK_SECONDS ? TIMEOUT : LOOK_SECONDS))s image=''
  until in_namespace rollout status "deployment/$1" --timeout "$look" 2>"$TMP/rollout"; do
    # Any other failure would come again at once.
    if grep -q 'timed out' "$TMP/rollout"; then
      image=$(image_missing "$1") || return 1
      [ -n "$image" ] || [ "$SECONDS" -ge "$deadline" ] || continue
    fi
    cat "$TMP/rollout" >&2
    in_namespace get pods -l "app=$1" >&2 || true
    if [ -n "$image" ]; then
      warn "the cluster has no image $image: build and load it with scripts/build-images.sh --only $(image_name "$image") --tag ${image##*:}"
    else
      warn "$1 is not rolled out within $TIMEOUT s"
    fi
    return 1
  done
}

# api-gateway of registry.example:5000/lab/api-gateway:1.1
image_name() {
  local name=${1##*/}
  printf '%s\n' "${name%%:*}"
}

# image_missing DEPLOYMENT: the image that a pod waits for and that cannot be had.
image_missing() {
  in_namespace get pods -l "app=$1" \
    -o 'jsonpath={range .items[*].status.containerStatuses[*]}{.image}{" "}{.state.waiting.reason}{"\n"}{end}' |
    awk '$2 ~ /^(ErrImagePull|ImagePullBackOff|ErrImageNeverPull|InvalidImageName)$/ && !found { print $1; found = 1 }'
}

leaving() { in_namespace get pods -l "app=$1" -o 'jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}'; }

none_leaving() { [ -z "$(leaving "$1")" ]; }

# settled DEPLOYMENT: every pod is ready and every old one gone; one that drains serves on, and the load has to see that.
settled() {
  rolled_out "$1" || return 1
  within "$GONE_SECONDS" none_leaving "$1" || {
    warn "still terminating after $GONE_SECONDS s: $(leaving "$1")"
    return 1
  }
}
