#!/usr/bin/env bash
# An autoscaler follows load that costs real CPU, up and down again, and no request may fail on the way.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
for part in load cluster pair demo; do
  # shellcheck source=/dev/null
  . "$ROOT/scripts/lib/$part.sh"
done

usage() {
  cat <<'EOF'
Usage: scripts/hpa.sh [options]    on the cluster that deploy.sh deployed to

Lets ml-inference serve the model mlp, whose rows cost a few milliseconds of CPU each, and puts an autoscaler over it
(deploy/components/autoscaling). Beside a light load that never ends, a heavy one comes until the replicas have followed, and
goes until they have settled. Shows what the autoscaler sees whenever it changes, puts everything back, also after Ctrl-C, and
ends with "failed requests: N of M". An autoscaler that is there already is used as it is, and left.

The autoscaler scales in after a minute of low readings, and by a quarter of the pods a minute: most of the five minutes or so
that this takes is waiting for that.

  --rate R             requests a second of the heavy load, one row each (measured, so that the replicas double)
  --connections C      at the same time (16)
  --quick              scale in after half a minute and all at once, as the lab's php-apache does: three minutes or so
EOF
  cluster_options
  cat <<'EOF'
  --help

It needs metrics-server, and an image of ml-inference that has mlp. The heavy load has a report of its own, hpa-heavy.
EOF
  demo_end
}

readonly LIGHT_RATE=5 # rows of mlp a second: half of one pod's target
# Longer than the autoscaler's period: it has looked again and wants no more.
: "${QUIET_SECONDS:=20}" "${POLL_SECONDS:=2}"
RATE=''
quick=''

# --- what is there before ----------------------------------------------------------------------------------------

before=''        # replicas
model_before=''  # MODEL_NAME in shared-config
served_before='' # the model that answers
autoscaler=''

need_metrics() {
  local problem server
  server=https://github.com/kubernetes-sigs/metrics-server/releases/latest/download/components.yaml
  problem=$(in_namespace top pods -l app=ml-inference --no-headers 2>&1 >/dev/null) && return
  cluster_kind
  local get=("kubectl --context $CONTEXT apply -f $server")
  case $CLUSTER_KIND in
  minikube) get=("minikube addons enable metrics-server --profile $CLUSTER_NAME") ;;
  kind)
    get+=("kubectl --context $CONTEXT -n kube-system patch deployment metrics-server --type json \\"
      "  -p '[{\"op\":\"add\",\"path\":\"/spec/template/spec/containers/0/args/-\",\"value\":\"--kubelet-insecure-tls\"}]'")
    ;;
  esac
  die "$EXIT_UNAVAILABLE" "context \"$CONTEXT\" has no CPU metrics of ml-inference, and an autoscaler needs them" \
    "${problem:-kubectl said nothing}" "if there is no metrics-server:" "${get[@]}" \
    "then wait a minute or two, until this shows them: kubectl --context $CONTEXT -n $NAMESPACE top pods"
}

need_mlp() {
  local help
  help=$(in_namespace exec deployment/ml-inference -c ml-model -- /ml-inference --help 2>/dev/null) || help=''
  case $help in *mlp*) return ;; esac
  die "$EXIT_UNAVAILABLE" "the image that ml-inference runs does not have the model mlp; build and load one that does:" \
    "scripts/build-images.sh --only ml-inference" \
    "kubectl --context $CONTEXT -n $NAMESPACE rollout restart deployment/ml-inference"
}

look_around() {
  before=$(in_namespace get deployment ml-inference -o 'jsonpath={.spec.replicas}')
  model_before=$(in_namespace get configmap shared-config -o 'jsonpath={.data.MODEL_NAME}')
  served_before=$(model_of_answer) || served_before=''
  [ -n "$served_before" ] || die "$EXIT_FAILED" "$URL does not say which model answers: is it ml-inference, asked without a key?"
  autoscaler=$(in_namespace get hpa -o 'jsonpath={.items[?(@.spec.scaleTargetRef.name=="ml-inference")].metadata.name}')
  [ -z "$autoscaler" ] || [ -z "$quick" ] ||
    die "$EXIT_FAILED" "the autoscaler $autoscaler is there already, and --quick would change it" "leave --quick out"
}

# --- the model ---------------------------------------------------------------------------------------------------

write_row() {
  awk 'BEGIN { for (i = 0; i < 64; i++) row = row (i ? ", " : "") i / 64; print "{\"instances\": [[" row "]]}" }' >"$TMP/row.json"
}

model_of_answer() { fetch "$URL" | sed -n 's/.*"model": "\([^"]*\)".*/\1/p'; }

# set_model NAME: in shared-config; without a name the key goes.
set_model() {
  local value=null
  [ -z "$1" ] || value="\"$1\""
  in_namespace patch configmap shared-config --type merge -p "{\"data\":{\"MODEL_NAME\":$value}}"
}

# A model is chosen at the start of a pod.
restart() { in_namespace rollout restart deployment/ml-inference; }

all_answer_with() {
  local i
  for ((i = 0; i < 10; i++)); do [ "$(model_of_answer)" = "$1" ] || return 1; done
}

answered_by() {
  within 20 all_answer_with "$1" || {
    warn "the model $(model_of_answer) answers instead of $1: is MODEL_NAME in ml-config too?"
    return 1
  }
  note "now every answer is of the model $1"
}

model_changed=''

switch_model() {
  model_changed=yes
  set_model mlp && restart && settled ml-inference && answered_by mlp
}

# --- what the autoscaler sees ------------------------------------------------------------------------------------

seen=''
replicas=0 wanted=0 cpu='' # CPU in percent of what the pods request
replicas_since=0

# look: one line for every change.
look() {
  local now counts="$replicas $wanted" there=$replicas
  now=$(in_namespace get hpa "$autoscaler" -o "jsonpath={.status.currentReplicas}|{.status.desiredReplicas}|\
{.status.currentMetrics[0].resource.current.averageUtilization}") || return 1
  [ "$now" != "$seen" ] || return 0
  seen=$now
  IFS='|' read -r replicas wanted cpu <<<"$now"
  : "${replicas:=0}" "${wanted:=0}"
  note "$(printf '%4d s: %s replicas, %s wanted, CPU at %s %% of the request (target %s %%)' "$SECONDS" "$replicas" "$wanted" "${cpu:-?}" "$target")"
  [ "$replicas $wanted" = "$counts" ] || replicas_since=$SECONDS
  [ "$replicas" = "$there" ] || mark_load "$replicas replicas"
}

# look_until SECONDS CONDITION...
look_until() {
  local deadline=$((SECONDS + $1))
  shift
  until look && "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep "$POLL_SECONDS"
  done
}

# --- the autoscaler ----------------------------------------------------------------------------------------------

made_autoscaler=''
minimum='' target='' # and how it scales in:
window='' policy='' amount='' period=''

read_terms() {
  local terms down=.spec.behavior.scaleDown
  terms=$(in_namespace get hpa "$autoscaler" -o "jsonpath={.spec.minReplicas}|{.spec.metrics[0].resource.target.averageUtilization}|\
{$down.stabilizationWindowSeconds}|{$down.policies[0].type}|{$down.policies[0].value}|{$down.policies[0].periodSeconds}") || return 1
  IFS='|' read -r minimum target window policy amount period <<<"$terms"
  # What it does not say is Kubernetes' default.
  : "${minimum:=1}" "${window:=300}" "${policy:=Percent}" "${amount:=100}" "${period:=15}"
  [ -n "$target" ] || {
    warn "the autoscaler $autoscaler does not go by the CPU that pods request"
    return 1
  }
}

make_autoscaler() {
  autoscaler=ml-inference-hpa made_autoscaler=yes
  sed "s/^  namespace: .*/  namespace: $NAMESPACE/" "$ROOT/deploy/components/autoscaling/ml-hpa.yaml" | in_namespace apply -f - || return 1
  [ -z "$quick" ] || in_namespace patch hpa "$autoscaler" --type merge \
    -p '{"spec":{"behavior":{"scaleDown":{"stabilizationWindowSeconds":30,"policies":null}}}}'
}

has_minimum() { [ "$replicas" -ge "$minimum" ]; }

put_autoscaler() {
  [ -n "$autoscaler" ] || make_autoscaler || return 1
  read_terms && look_until "$TIMEOUT" has_minimum && rolled_out ml-inference
}

# --- the heavy load ----------------------------------------------------------------------------------------------

# row_cost: the milliseconds that a row takes in the model, as the pods measure it. The least: waiting for a CPU counts too.
row_cost() {
  local i
  for ((i = 0; i < 8; i++)); do fetch "$URL/metrics" || true; done | awk '
    $1 == "ml_inference_inference_duration_seconds_sum{model=\"mlp\"}" { sum = $2 }
    $1 == "ml_inference_inference_duration_seconds_count{model=\"mlp\"}" && $2 > 0 { print sum / $2 * 1000 }
  ' | sort -n | head -n 1
}

# choose_rate: it takes each pod to twice the target, but not near its limit, where requests would pile up.
choose_rate() {
  local cost cpus terms each request container='.spec.template.spec.containers[?(@.name=="ml-model")].resources'
  cost=$(row_cost)
  [ -n "$cost" ] || {
    warn "$URL/metrics does not say how long a row takes: choose a --rate"
    return 1
  }
  cpus=$(in_namespace get deployment ml-inference -o "jsonpath={$container.requests.cpu}|{$container.limits.cpu}") || return 1
  terms=$(awk -F '|' -v replicas="$replicas" -v target="$target" -v cost="$cost" '
    function milli(cpu) { return cpu ~ /m$/ ? cpu + 0 : cpu * 1000 }
    {
      request = milli($1); limit = milli($2); aim = request * target / 100; each = 2 * aim
      if (limit > 0 && each > 0.8 * limit) each = 0.8 * limit
      if (each > 1.2 * aim) printf "%d|%d|%d|%.1f\n", each * replicas / cost + 1, each, request, cost
    }' <<<"$cpus")
  [ -n "$terms" ] || {
    warn "the pods' CPU request and limit (${cpus/|/, }) leave no room above the target of $target % of the request"
    return 1
  }
  IFS='|' read -r RATE each request cost <<<"$terms"
  note "a row takes $cost ms: $RATE a second take ${each}m of CPU from each of $replicas pods, which request ${request}m"
}

replicas_at_start=''

has_followed() {
  [ "$replicas" -gt "$replicas_at_start" ] && [ "$replicas" = "$wanted" ] && [ $((SECONDS - replicas_since)) -ge "$QUIET_SECONDS" ]
}

scale_out() {
  [ -n "$RATE" ] || choose_rate || return 1
  replicas_at_start=$replicas
  start_load "$DEMO-heavy" "$URL" "$RATE" "$CONNECTIONS" --post "$TMP/row.json"
  note "$RATE requests a second on top; CPU is measured every 15 to 60 s, so the autoscaler sees them a little later"
  look_until "$TIMEOUT" has_followed || {
    warn "the replicas did not follow within $TIMEOUT s: $replicas, CPU at ${cpu:-?} % of the request, target $target %; --rate takes more load"
    in_namespace get hpa "$autoscaler" -o 'jsonpath={.status.conditions[?(@.type=="ScalingActive")].message}{"\n"}' >&2 || true
    return 1
  }
  rolled_out ml-inference
}

# --- without it --------------------------------------------------------------------------------------------------

fewest=''

# scale_in_seconds: how long the autoscaler takes down to the fewest, from the moment that its readings are low.
scale_in_seconds() {
  awk -v now="$replicas" -v fewest="$fewest" -v window="$window" -v policy="$policy" -v amount="$amount" -v period="$period" 'BEGIN {
    for (steps = 0; now > fewest && amount > 0; steps++) now = policy == "Percent" ? int(now * (1 - amount / 100)) : now - amount
    print window + (steps > 1 ? (steps - 1) * period : 0)
  }'
}

has_settled() { [ "$replicas" -le "$fewest" ]; }

settle() {
  local status=0 expected
  end_load 1 || status=$?
  [ "$status" -eq 0 ] || warn "requests of the heavy load failed"
  fewest=$minimum
  # An autoscaler that was there had its reasons for as many as there were.
  if [ -z "$made_autoscaler" ] && [ "$before" -gt "$minimum" ]; then fewest=$before; fi
  expected=$(scale_in_seconds)
  note "$replicas -> $fewest replicas: $expected s by the autoscaler's rules, from when it sees that the load is gone"
  look_until $((expected + TIMEOUT)) has_settled || {
    warn "there are still $replicas replicas instead of $fewest; CPU at ${cpu:-?} % of the request, target $target %"
    return 1
  }
  settled ml-inference || status=$?
  return "$status"
}

# --- back --------------------------------------------------------------------------------------------------------

take_autoscaler() {
  [ -n "$made_autoscaler" ] || return 0
  in_namespace delete hpa "$autoscaler" --ignore-not-found && in_namespace scale deployment/ml-inference --replicas "$before" &&
    made_autoscaler=''
}

put_model_back() {
  [ -n "$model_changed" ] || return 0
  set_model "$model_before" && restart && model_changed=''
}

put_back() { take_autoscaler && put_model_back && settled ml-inference && answered_by "$served_before"; }

undo() {
  local status=0
  [ -n "$made_autoscaler$model_changed" ] || return 0
  warn "putting the replicas and the model back; the pods are replaced meanwhile"
  take_autoscaler >&2 || status=$?
  put_model_back >&2 || status=$?
  return "$status"
}

run_cluster() {
  enter_cluster
  need_metrics
  need_mlp
  look_around
  write_row
  say "light load on $URL: $LIGHT_RATE requests a second"
  start_load "$DEMO" "$URL" "$LIGHT_RATE" "$CONNECTIONS" --post "$TMP/row.json"
  if [ "$served_before" != mlp ]; then step "model: $served_before -> mlp" switch_model || return 1; fi
  step "an autoscaler for ml-inference" put_autoscaler || return 1
  step "heavy load" scale_out || return 1
  step "the heavy load is gone" settle || return 1
  step "as it was before" put_back
}

options=()
for option in "$@"; do
  case $option in
  --quick) quick=yes ;;
  --local) usage_error "--local: an autoscaler needs a cluster; scripts/scale.sh --local scales processes" ;;
  *) options+=("$option") ;;
  esac
done
parse_demo ${options[@]+"${options[@]}"}
demo
