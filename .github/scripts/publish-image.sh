#!/usr/bin/env bash
# publish-image.sh REPOSITORY: pushes target/image-*/image.tar, one for each architecture, joins them under
# the tags that TAGS names, and signs the whole. Needs docker login.
set -euo pipefail
repository=$1
read -ra tags <<<"${TAGS:?}"

digest_of() { skopeo inspect --raw "$1" | sha256sum | sed 's/^\(\w*\).*/sha256:\1/'; }

images=()
for archive in target/image-*/image.tar; do
  image=$repository@$(digest_of "oci-archive:$archive")
  skopeo copy --all --preserve-digests "oci-archive:$archive" "docker://$image"
  images+=("$image")
done
((${#images[@]} == 2)) || { printf 'there are images for %s architectures, not 2\n' "${#images[@]}" >&2; exit 1; }

docker buildx imagetools create "${tags[@]/#/--tag=$repository:}" "${images[@]}"
digest=$(digest_of "docker://$repository:${tags[0]}")
bash .github/scripts/sign.sh "$repository@$digest" publish.yml
echo "digest=$digest" >>"$GITHUB_OUTPUT"
