#!/usr/bin/env bash
# build-image.sh ARCHIVE: builds the image, once, into an OCI archive that also says what is in it (SBOM)
# and how it was made (provenance). Loads the same layers into docker as $IMAGE, for tests.
set -euo pipefail
archive=$1

# Docker's own builder makes no attestations.
docker buildx create --name attesting --driver docker-container
mkdir -p "$(dirname "$archive")"
BUILDER=docker BUILDX_BUILDER=attesting \
  BUILD_OPTIONS="--output=type=oci,dest=$archive --provenance=mode=max --sbom=true" make image
python3 .github/scripts/sbom.py "$archive" target/sbom

skopeo copy "oci-archive:$archive" "docker-archive:$archive.docker:$IMAGE"
docker load --input "$archive.docker"
