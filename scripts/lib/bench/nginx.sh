# shellcheck shell=bash disable=SC2034 # what is set here is used by the script
# nginx at version 1.30 or newer: the machine's own, or else Debian sid's, unpacked beside the build and run with its own
# loader and libraries, so that nothing of the system changes. Sourced after common.sh.

NGINX=''
OLD_NGINX=''
readonly NGINX_OLDEST=1.30 # an older one is no bar: only since 1.29.7 is upstream keep-alive its default
readonly NGINX_PACKAGES=(nginx libc6 libcrypt1 libpcre2-8-0 libssl3t64 zlib1g libzstd1 libgcc-s1)

# new_enough NGINX
new_enough() {
  local version
  version=$("$1" -v 2>&1 | sed -n 's|^nginx version: nginx/\([0-9.]*\).*|\1|p')
  [ -n "$version" ] && printf '%s\n' "$NGINX_OLDEST" "$version" | sort -V -C
}

# find_nginx DIRECTORY: sets NGINX.
find_nginx() {
  NGINX=$1/nginx
  if have nginx && new_enough nginx; then
    NGINX=nginx
    return
  fi
  if ! { [ -x "$NGINX" ] && new_enough "$NGINX"; }; then fetch_nginx "$1" sid; fi
  new_enough "$NGINX" || die "$EXIT_UNAVAILABLE" "Debian sid's nginx does not run here, or is older than $NGINX_OLDEST" \
    "install a newer one (https://nginx.org/en/linux_packages.html), or leave it out with --peers"
}

# find_old_nginx DIRECTORY: sets OLD_NGINX, Debian 13's 1.26.
find_old_nginx() {
  OLD_NGINX=$1/nginx
  if ! { [ -x "$OLD_NGINX" ] && "$OLD_NGINX" -v 2>/dev/null; }; then fetch_nginx "$1" trixie; fi
}

# fetch_nginx DIRECTORY SUITE
fetch_nginx() {
  { have apt-get && have dpkg-deb; } || die "$EXIT_UNAVAILABLE" "nginx is missing, and without apt-get it is not fetched" \
    "install nginx $NGINX_OLDEST or newer, or leave it out with --peers"
  say "fetching nginx from Debian $2 into $1 (once)"
  unpack_nginx "$1" "$2" || die "$EXIT_UNAVAILABLE" "Debian $2's nginx could not be fetched: see above" \
    "install nginx $NGINX_OLDEST or newer, or leave it out with --peers"
}

# The mirror the machine uses anyway.
debian_mirror() {
  local mirrors
  mirrors=$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null) || true
  read -r mirrors _ <<<"${mirrors:-http://deb.debian.org/debian}"
  echo "$mirrors"
}

# unpack_nginx DIRECTORY SUITE
unpack_nginx() {
  local directory=$1 suite=$2 package options
  rm -rf "$directory"
  mkdir -p "$directory/lists/partial" "$directory/cache/archives/partial" "$directory/root"
  # Trusted, because the suite's keys need not be on this machine; it is run for the benchmark only.
  echo "deb [trusted=yes] $(debian_mirror) $suite main" >"$directory/sources.list"
  options=(
    -o "Dir::Etc::sourcelist=$directory/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$directory/lists" -o "Dir::Cache=$directory/cache" -o APT::Sandbox::User=root
  )
  apt-get -qq "${options[@]}" update || return
  (cd "$directory" && apt-get -qq "${options[@]}" download "${NGINX_PACKAGES[@]}") || return
  for package in "$directory"/*.deb; do
    dpkg-deb -x "$package" "$directory/root" || return
  done
  rm -rf "$directory"/*.deb "$directory/lists" "$directory/cache"
  # shellcheck disable=SC2016 # written as it is
  printf '%s\n' '#!/bin/sh' 'root=$(dirname "$0")/root' 'set -- "$root/usr/sbin/nginx" "$@"' \
    'for loader in "$root"/usr/lib/*-linux-gnu/ld-linux-*.so.?; do' \
    '  exec "$loader" --library-path "${loader%/*}" "$@"' 'done' >"$directory/nginx"
  chmod +x "$directory/nginx"
}
