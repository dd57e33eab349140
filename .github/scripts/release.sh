#!/usr/bin/env bash
# release.sh vX.Y.Z IMAGE: makes the release of that tag: the notes, the chart in target/, and what is in
# the image. IMAGE has its digest. Needs docker login and GH_TOKEN.
set -euo pipefail
tag=$1 image=$2

for architecture in amd64 arm64; do
  sbom=target/smtp-gateway-${tag#v}-linux-$architecture.spdx.json
  docker buildx imagetools inspect "$image" --format "{{json (index .SBOM \"linux/$architecture\").SPDX}}" >"$sbom"
  jq --exit-status .spdxVersion "$sbom"
done

{
  GITHUB_OUTPUT='' bash .github/scripts/release-notes.sh "$tag"
  cat <<NOTES

---
The image is \`$image\`. Who signed it:

\`\`\`sh
cosign verify $image \\
  --certificate-identity https://github.com/$GITHUB_REPOSITORY/.github/workflows/publish.yml@refs/tags/$tag \\
  --certificate-oidc-issuer https://token.actions.githubusercontent.com
\`\`\`
NOTES
} >target/notes.md

options=(--repo "$GITHUB_REPOSITORY" --verify-tag --title "$tag" --notes-file target/notes.md)
[[ "$tag" == *-* ]] && options+=(--prerelease)
gh release create "$tag" "${options[@]}" target/smtp-gateway-*.tgz target/*.spdx.json
