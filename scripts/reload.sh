#!/usr/bin/env bash
# Changes settings of the running pair under constant load, and no request may fail on the way.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
for part in load cluster pair demo; do
  # shellcheck source=/dev/null
  . "$ROOT/scripts/lib/$part.sh"
done

usage() {
  cat <<'EOF'
Usage: scripts/reload.sh [options]            on the cluster that deploy.sh deployed to
       scripts/reload.sh --local [options]    on processes of this machine

Changes settings while load runs through the gateway, and ends with "failed requests: N of M". With --local: weights that move
the load from version 1.0 to 2.0 and back, a file that is none, the log level, and an API key that is replaced while clients
use the old one. On a cluster: the log level in shared-config and a file that is none in gateway-config, both put right again.

EOF
  demo_options
}

# --- on this machine ---------------------------------------------------------------------------------------------

# weights OLD NEW: of the first replica, which is version 1.0, and the second, 2.0. Every route wants a key.
weights() {
  write_gateway_yaml "{address: \"127.0.0.1:$ML_PORT\", weight: $1}, {address: \"127.0.0.1:$((ML_PORT + 1))\", weight: $2}" \
    "routes:
  - {prefix: /predict, cluster: \"ml-inference-service:5000\", rewrite: /, idempotent: true, require_api_key: true}"
}

# write_key DIRECTORY KEY VALUE: in one piece.
write_key() {
  printf '%s' "$3" >"$TMP/new-key"
  mv "$TMP/new-key" "$TMP/$1/$2"
}

# status_with KEY: what the gateway answers a client with this key.
status_with() { fetch --output /dev/null --write-out '%{http_code}' --header "X-API-Key: $1" "$URL"; }

is_answered() { [ "$(status_with "$1")" = "$2" ]; }

shift_weights() {
  local split
  for split in "1 1" "1 9"; do
    # shellcheck disable=SC2086 # two numbers
    taken_up weights $split || return 1
    note "weights $split"
    mark_load "weights $split"
    sleep 1
  done
  taken_up weights 9 1
}

break_file() {
  printf 'clusters: [\n' >"$TMP/gateway.yaml.new"
  mv "$TMP/gateway.yaml.new" "$TMP/gateway.yaml"
  within 10 is_refused || {
    warn "the gateway does not say that it refuses the file"
    return 1
  }
  note "$(gateway_status | sed -n 's/^ *"refused": /refused: /p')"
  taken_up weights 1 1
}

is_refused() { gateway_status | grep -q '"refused": "'; }

more_logs() {
  taken_up write_key config LOG_LEVEL debug || return 1
  sleep 1
  taken_up write_key config LOG_LEVEL info
}

replace_key() {
  # The old one first: without it the clients of this load would be turned away.
  taken_up write_key secrets API_KEY_PREVIOUS old-key && taken_up write_key secrets API_KEY new-key || return 1
  if ! is_answered old-key 200 || ! is_answered new-key 200; then
    warn "both keys should be accepted, but they are answered $(status_with old-key) and $(status_with new-key)"
    return 1
  fi
  note "old and new key are both accepted"
  sleep 1
  # The load keeps its key, so it is the new one that goes again.
  taken_up write_key secrets API_KEY old-key && taken_up rm "$TMP/secrets/API_KEY_PREVIOUS" && is_answered new-key 401 &&
    note "a key that is gone is answered 401"
}

run_local() {
  mkdir -p "$TMP/config" "$TMP/secrets"
  write_key config LOG_LEVEL info
  write_key secrets API_KEY old-key
  # shellcheck disable=SC2034 # lib/demo.sh uses it
  GATEWAY_ENV=(CONFIG_DIRS="$TMP/config" SECRET_DIRS="$TMP/secrets")
  # shellcheck disable=SC2034 # this one too
  LOAD_ARGS=(--header "X-API-Key: old-key")
  weights 9 1
  start_pair 1 2
  start_replicas 2 2 2.0 || exit "$EXIT_FAILED"
  begin_load
  sleep 1
  step "weights" shift_weights || return 1
  step "a broken file" break_file || return 1
  step "log level" more_logs || return 1
  step "API key" replace_key
}

# --- on a cluster ------------------------------------------------------------------------------------------------

level_before=''
file_before=''
: "${KUBELET_SECONDS:=150}"

# nudge: a change of a pod makes the kubelet look at its volumes at once instead of within a minute or so.
nudge() {
  in_namespace annotate pods -l 'app in (api-gateway, ml-inference)' "mlops-lab/looked-at=$(date +%s)" --overwrite >/dev/null
}

# all_log SINCE TEXT: whether every gateway pod has logged it since then.
all_log() {
  local pod
  for pod in $(in_namespace get pods -l app=api-gateway -o 'jsonpath={.items[*].metadata.name}'); do
    in_namespace logs "$pod" --since-time "$1" | grep -qF "$2" || return 1
  done
}

# everywhere TEXT COMMAND...: runs the command and waits until every gateway pod has logged the text.
everywhere() {
  local text=$1 since
  shift
  since=$(date -u +%Y-%m-%dT%H:%M:%SZ)
  "$@" && nudge || return 1
  within "$KUBELET_SECONDS" all_log "$since" "$text" || {
    warn "not every gateway pod has logged \"$text\" within $KUBELET_SECONDS s"
    return 1
  }
  note "every gateway pod: $text"
}

set_level() { in_namespace patch configmap shared-config --type merge -p "{\"data\":{\"LOG_LEVEL\":\"$1\"}}"; }

# set_file FILE: gateway.yaml of the ConfigMap.
set_file() {
  in_namespace create configmap gateway-config --from-file "gateway.yaml=$1" --dry-run=client -o json >"$TMP/gateway-config.json" &&
    in_namespace patch configmap gateway-config --type merge --patch-file "$TMP/gateway-config.json"
}

run_cluster() {
  enter_cluster
  level_before=$(in_namespace get configmap shared-config -o 'jsonpath={.data.LOG_LEVEL}')
  [ "$level_before" = debug ] && die "$EXIT_FAILED" "LOG_LEVEL is debug already in namespace $NAMESPACE" "choose an overlay with another: --overlay base"
  in_namespace get configmap gateway-config -o 'jsonpath={.data.gateway\.yaml}' >"$TMP/gateway.yaml"
  printf 'clusters: [\n' >"$TMP/broken.yaml"
  begin_load
  sleep 1
  step "log level: $level_before -> debug" everywhere "settings changed" set_level debug || return 1
  file_before=$TMP/gateway.yaml
  step "a broken file" everywhere "refused" set_file "$TMP/broken.yaml" || return 1
  step "back" everywhere "settings changed" put_back
}

put_back() {
  set_file "$file_before" && file_before='' && set_level "$level_before" && level_before=''
}

undo() {
  [ "$MODE" = cluster ] || return 0
  if [ -n "$file_before" ]; then
    warn "putting gateway-config back"
    set_file "$file_before" >&2 || return 1
  fi
  if [ -n "$level_before" ]; then
    warn "putting LOG_LEVEL back"
    set_level "$level_before" >&2
  fi
}

parse_demo "$@"
demo
