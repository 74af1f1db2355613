#!/usr/bin/env bash
# Builds the images and loads them into the local cluster of the current kubectl context.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/engine.sh
. "$ROOT/scripts/lib/engine.sh"
# shellcheck source-path=SCRIPTDIR source=lib/cluster.sh
. "$ROOT/scripts/lib/cluster.sh"

usage() {
  cat <<'EOF'
Usage: scripts/build-images.sh [options]

Builds api-gateway:TAG and ml-inference:TAG from deploy/Dockerfile. When the current kubectl context is a minikube, kind or
k3d cluster, loads them into it: their tags are in no registry.

  --tag TAG            the images' tag (1.0)
  --model-version V    the version ml-inference answers with; by default the tag when that is a number like 2.0, else 1.0
  --only IMAGE         api-gateway, ml-inference, batch-score or rag-api alone
  --batch-score        batch-score:TAG as well, for the Jobs of deploy/batch
  --rag                rag-api:TAG as well, the service of deploy/rag
  --engine NAME        docker, podman or buildah; by default the first that works
  --prebuilt DIR       package the static binaries DIR/gateway, DIR/ml-inference and, if they are wanted, DIR/batch-score and
                       DIR/rag-api instead of building them
  --onnxruntime        ml-inference with onnxruntime's library, which makes it some 35 MB larger; with --prebuilt, DIR/ml-inference is
                       not static and built with --features ml-inference/onnxruntime
  --context NAME       the kubectl context whose cluster gets the images (the current one)
  --no-load            load into no cluster
  --help

A tag built again reaches new pods only: restart the deployments afterwards, as it says at the end.

The second version that scripts/rolling-update.sh rolls out to:
  scripts/build-images.sh --only ml-inference --tag 2.0

RUST_IMAGE names another builder image (default: docker.io/library/rust:1-slim).

Exit status: 0 built (and loaded), 1 something failed, 2 wrong arguments, 3 no container engine.
EOF
}

tag=1.0
model_version=''
images='api-gateway ml-inference'
engine=''
prebuilt=''
onnxruntime=''
batch_score=''
rag=''
context=''
load=yes
while [ $# -gt 0 ]; do
  case $1 in
  --tag) need_value "$1" $# && tag=$2 && shift ;;
  --model-version) need_value "$1" $# && model_version=$2 && shift ;;
  --only)
    need_value "$1" $#
    case $2 in
    api-gateway | ml-inference | batch-score | rag-api) images=$2 ;;
    *) usage_error "--only takes api-gateway, ml-inference, batch-score or rag-api, not \"$2\"" ;;
    esac
    shift
    ;;
  --engine) need_value "$1" $# && engine=$2 && shift ;;
  --prebuilt) need_value "$1" $# && prebuilt=$2 && shift ;;
  --onnxruntime) onnxruntime=yes ;;
  --batch-score) batch_score=yes ;;
  --rag) rag=yes ;;
  --context) need_value "$1" $# && context=$2 && shift ;;
  --no-load) load=no ;;
  --help | -h) usage && exit 0 ;;
  *) usage_error "unknown argument: $1" ;;
  esac
  shift
done
if [ -n "$batch_score" ] && [ "$images" != batch-score ]; then images="$images batch-score"; fi
if [ -n "$rag" ] && [ "$images" != rag-api ]; then images="$images rag-api"; fi
if [ -z "$model_version" ]; then
  model_version=1.0
  if [[ $tag =~ ^[0-9]+(\.[0-9]+)*$ ]]; then model_version=$tag; fi
fi
[ -z "$prebuilt" ] || [ -d "$prebuilt" ] || usage_error "no such directory: $prebuilt"

# target_of IMAGE: its stage in the Dockerfiles.
target_of() {
  case $1 in
  api-gateway) echo gateway ;;
  batch-score) echo batch-score ;;
  rag-api) echo rag-api ;;
  *) echo "ml-inference${onnxruntime:+-onnxruntime}" ;;
  esac
}

binary_of() { if [ "$1" = api-gateway ]; then echo gateway; else echo "$1"; fi; }

# stage_prebuilt: the binaries alone in a directory, without debug information and symbols where `strip` is there to take it out.
stage_prebuilt() {
  local image name
  mkdir "$TMP/context"
  for image in $images; do
    name=$(binary_of "$image")
    [ -f "$prebuilt/$name" ] || die "$EXIT_UNAVAILABLE" "$prebuilt/$name is missing"
    cp "$prebuilt/$name" "$TMP/context/$name"
    chmod 755 "$TMP/context/$name"
    ! have strip || strip "$TMP/context/$name" 2>/dev/null || true
    [ "$(target_of "$image")" != ml-inference-onnxruntime ] || stage_onnxruntime
  done
}

# stage_onnxruntime: the binary with the libraries that it needs, under `root`.
stage_onnxruntime() {
  local library
  library=$("$ROOT/scripts/onnxruntime.sh") || exit
  "$ROOT/deploy/onnxruntime-root.sh" "$TMP/context/ml-inference" "$library" "$TMP/context/root" ||
    die "$EXIT_FAILED" "ml-inference and onnxruntime cannot be put together: see above"
}

build() {
  local image revision args
  args=(--build-arg "VERSION=$tag" --build-arg "MODEL_VERSION=$model_version")
  [ -n "$prebuilt" ] || [ -z "${RUST_IMAGE:-}" ] || args+=(--build-arg "RUST_IMAGE=$RUST_IMAGE")
  if revision=$(git -C "$ROOT" rev-parse --verify --quiet HEAD 2>/dev/null); then
    args+=(--label "org.opencontainers.image.revision=$revision")
  fi
  [ -z "$prebuilt" ] || stage_prebuilt
  for image in $images; do
    say "building $image:$tag with $ENGINE"
    if [ -n "$prebuilt" ]; then
      build_image "$image:$tag" "$ROOT/deploy/Dockerfile.prebuilt" "$(target_of "$image")" "$TMP/context" "${args[@]}"
    else
      build_image "$image:$tag" "$ROOT/deploy/Dockerfile" "$(target_of "$image")" "$ROOT" "${args[@]}"
    fi || die "$EXIT_FAILED" "$ENGINE could not build $image:$tag: see above"
  done
}

# load_one ARCHIVE
load_one() {
  case $CLUSTER_KIND in
  minikube) minikube image load --profile "$CLUSTER_NAME" "$1" ;;
  kind) kind load image-archive "$1" --name "$CLUSTER_NAME" ;;
  k3d) k3d image import "$1" --cluster "$CLUSTER_NAME" ;;
  esac
}

not_loaded() {
  say "built; loaded into no cluster: $1"
  exit 0
}

load_images() {
  local image archive deployments=''
  have kubectl || not_loaded "kubectl is not installed"
  CONTEXT=${context:-$(kubectl config current-context 2>/dev/null || true)}
  [ -n "$CONTEXT" ] || not_loaded "kubectl has no current context"
  # A cluster that is down is no reason to fail: the images are built.
  KUBECTL=(kubectl --context "$CONTEXT" --request-timeout 10s)
  cluster_kind
  [ "$CLUSTER_KIND" != other ] || not_loaded "context $CONTEXT is no running minikube, kind or k3d; push the images to its registry"
  need "$CLUSTER_KIND" "context $CONTEXT belongs to it; install it, or build with --no-load"
  for image in $images; do
    say "loading $image:$tag into $CLUSTER_KIND ($CLUSTER_NAME)"
    archive=$TMP/$image.tar
    save_image "$image:$tag" "$archive" || die "$EXIT_FAILED" "$ENGINE could not save $image:$tag: see above"
    load_one "$archive" || die "$EXIT_FAILED" "$CLUSTER_KIND could not load $image:$tag: see above"
    # Each deployment has its image's name. A Job starts new pods anyway.
    [ "$image" = batch-score ] || deployments="$deployments deployment/$image"
  done
  [ -n "$deployments" ] || return 0
  note "pods that already run keep the code they started with; if $tag was there before:"
  note "kubectl --context $CONTEXT -n $NAMESPACE rollout restart$deployments"
}

choose_engine "$engine"
make_tmp
trap cleanup_tmp EXIT
build
for image in $images; do note "$image:$tag $(image_size "$image:$tag")"; done
[ "$load" = no ] || load_images
