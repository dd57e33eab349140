#!/usr/bin/env bash
# Builds the image for this machine's architecture, with docker, podman or buildah, whichever works.
#
#   BUILDER        docker, podman or buildah, in place of the first that works
#   IMAGE          its name, in place of the one that the chart asks for
#   BUILD_OPTIONS  further options for the builder, such as "--no-cache"
#
# Where images are kept and how they are run, podman and buildah take from CONTAINERS_STORAGE_CONF,
# CONTAINERS_CONF and BUILDAH_ISOLATION.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Installed is not enough: docker may have no daemon to talk to.
builder=${BUILDER:-}
for candidate in docker podman buildah; do
  [[ -z "$builder" ]] && "$candidate" info >/dev/null 2>&1 && builder=$candidate
done
if [[ -z "$builder" ]]; then
  printf 'build.sh: neither docker nor podman nor buildah works here\n' >&2
  exit 1
fi

image=$(deployment/docker/name.sh)
version=$(awk -F '"' '/^version/ { print $2; exit }' Cargo.toml)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
[[ -z "$(git status --porcelain 2>/dev/null)" ]] || revision+=-dirty
created=$(date -u +%Y-%m-%dT%H:%M:%SZ)

read -ra options <<<"--file deployment/docker/Dockerfile ${BUILD_OPTIONS:-}"
case $builder in
  docker) export DOCKER_BUILDKIT=1 ;;
  # Layers are kept, as docker does by itself. Without a label named here, buildah 1.28 takes the old
  # labels from its cache, whatever the build arguments in them.
  podman | buildah) options+=(--layers --label "org.opencontainers.image.created=$created") ;;
esac

printf 'building %s with %s\n' "$image" "$builder"
"$builder" build "${options[@]}" --tag "$image" --build-arg "VERSION=$version" \
  --build-arg "REVISION=$revision" --build-arg "CREATED=$created" .
