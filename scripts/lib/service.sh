# shellcheck shell=bash disable=SC2034 # what is set here is used by the scripts
# The gateway's Service without a cluster: gateways with addresses of their own, and what kube-proxy does in front of them.
# Sourced after common.sh, pair.sh and demo.sh. Linux.
#
#   client → 127.0.0.1:GATEWAY_PORT → translated, per connection, to one of → 127.0.1.1:8080, 127.0.1.2:8080, …
#
# All of it is in a network namespace, which ends with the processes in it: nothing of the machine's own network is touched.

# How long a rule outlives its pod's SIGTERM: the kubelet ends the pod and the EndpointSlice changes at the same time, and
# kube-proxy writes its rules when the news has reached it.
readonly PROXY_SECONDS=0.5

SERVING=()    # numbers of the gateways that get new connections
GATEWAY_NEXT=1

in_network() { [ -n "${IN_NETWORK:-}" ]; }

# enter_network ARGUMENTS...: the script again, with these arguments, in a network of its own.
enter_network() {
  local how=(unshare --net) tool
  [ "$(uname -s)" = Linux ] || die "$EXIT_UNAVAILABLE" "this needs Linux's network namespaces" "on a cluster it needs none: leave out --local"
  for tool in unshare ip iptables iptables-restore; do
    need "$tool" "get it with: apt-get install util-linux iproute2 iptables"
  done
  [ "$(id -u)" = 0 ] || how=(unshare --user --map-root-user --net)
  "${how[@]}" true 2>/dev/null ||
    die "$EXIT_UNAVAILABLE" "a network namespace cannot be made here (${how[*]})" "as root it may: sudo scripts/$SCRIPT …"
  IN_NETWORK=yes exec "${how[@]}" "$BASH" "$ROOT/scripts/$SCRIPT" "$@"
}

open_service() {
  # An ordinary user is root in here only, and may not write where iptables keeps its lock.
  export XTABLES_LOCKFILE=$TMP/xtables.lock
  { ip link set lo up && iptables -t nat -N SERVICE &&
    iptables -t nat -A OUTPUT -d 127.0.0.1 -p tcp --dport "$GATEWAY_PORT" -j SERVICE; } ||
    die "$EXIT_UNAVAILABLE" "addresses cannot be translated here" "see above; the kernel needs the modules iptable_nat or nft_nat"
}

# route_service: new connections go to each of $SERVING with the same chance, by rules as kube-proxy writes them; all of them are
# exchanged in one step. Connections that are open stay where they are.
route_service() {
  local i left=${#SERVING[@]}
  {
    printf '%s\n' '*nat' ':SERVICE - [0:0]'
    for i in "${SERVING[@]}"; do
      printf -- '-A SERVICE -p tcp -m statistic --mode random --probability %s -j DNAT --to-destination 127.0.1.%s:8080\n' \
        "$(awk -v n="$left" 'BEGIN { printf "%.10f", 1 / n }')" "$i"
      left=$((left - 1))
    done
    echo COMMIT
  } | iptables-restore --noflush
}

# add_gateway: one more, which gets connections as soon as it is ready. Sets ADDED.
add_gateway() {
  ADDED=$GATEWAY_NEXT
  GATEWAY_NEXT=$((GATEWAY_NEXT + 1))
  start_gateway_at "$ADDED" "127.0.1.$ADDED:8080" "127.0.1.$ADDED:9090" || return 1
  SERVING+=("$ADDED")
  route_service
}

# replace_gateway NUMBER: as a Deployment does with maxSurge 1 and maxUnavailable 0.
replace_gateway() {
  local i kept=() status=0
  add_gateway || return 1
  send_term "${GATEWAY_PIDS[$1]}"
  sleep "$PROXY_SECONDS"
  for i in "${SERVING[@]}"; do [ "$i" = "$1" ] || kept+=("$i"); done
  SERVING=("${kept[@]}")
  route_service || return 1
  wait_stopped "${GATEWAY_PIDS[$1]}" || status=$?
  unset "GATEWAY_PIDS[$1]"
  [ "$status" -eq 0 ] || warn "api-gateway-$1 ended with status $status instead of 0 after SIGTERM"
  note "api-gateway-$ADDED has taken the place of api-gateway-$1"
}
