# shellcheck shell=bash
# The container engine that builds and keeps images: docker, podman or buildah. Sourced after common.sh.

ENGINE=''

engine_works() {
  case $1 in
  buildah) have buildah ;;
  # An installed client is not yet an engine: Docker's daemon and podman's machine must be running.
  *) have "$1" && "$1" info >/dev/null 2>&1 ;;
  esac
}

# choose_engine [NAME]: sets ENGINE, by default the first that works.
choose_engine() {
  local name
  case ${1:-} in
  '')
    for name in docker podman buildah; do
      if engine_works "$name"; then
        ENGINE=$name
        return
      fi
    done
    die "$EXIT_UNAVAILABLE" "no container engine works here: docker, podman and buildah were tried" \
      "install Docker (https://docs.docker.com/get-docker/) and start it, or: apt-get install podman"
    ;;
  docker | podman | buildah)
    need "$1" "install it, or name another with --engine docker|podman|buildah"
    engine_works "$1" || die "$EXIT_UNAVAILABLE" "$1 is installed but does not work: \"$1 info\" fails" \
      "is its daemon or virtual machine running?"
    ENGINE=$1
    ;;
  *) usage_error "unknown engine \"$1\": docker, podman or buildah" ;;
  esac
}

# build_image IMAGE DOCKERFILE TARGET CONTEXT_DIRECTORY [BUILD ARGUMENTS...]
# Without podman's and buildah's layer cache: older ones (seen with 4.3 and 1.28) take a cached ENV layer although the build
# argument in it changed, and ml-inference:2.0 would say it is 1.0. The slow part, cargo's target directory, is cached apart.
build_image() {
  local image=$1 dockerfile=$2 target=$3 context=$4 build
  shift 4
  case $ENGINE in
  docker) build=(build) ;;
  podman) build=(build --layers=false) ;;
  buildah) build=(bud --layers=false) ;;
  esac
  "$ENGINE" "${build[@]}" --file "$dockerfile" --target "$target" --tag "$image" "$@" "$context"
}

# save_image IMAGE ARCHIVE: podman and buildah keep short names under localhost/, but a cluster reads "name:tag" in a pod
# as docker.io/library/name:tag, so the archive must carry that name.
save_image() {
  local image=$1 archive=$2 full=docker.io/library/$1
  case $ENGINE in
  docker) docker save --output "$archive" "$image" ;;
  podman) podman tag "$image" "$full" && podman save --quiet --format docker-archive --output "$archive" "$full" ;;
  buildah) buildah push --quiet "$image" "docker-archive:$archive:$full" ;;
  esac
}

# image_size IMAGE: an engine may list it under several names.
image_size() {
  local sizes
  sizes=$("$ENGINE" images --format '{{.Size}}' "$1") || return
  printf '%s\n' "${sizes%%$'\n'*}"
}
