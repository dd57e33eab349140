#!/usr/bin/env bash
# release.sh vX.Y.Z IMAGE: makes the release of that tag: the notes, the chart, and what is in the images of
# target/image-*. IMAGE has its digest. Needs GH_TOKEN.
set -euo pipefail
tag=$1 image=$2

for archive in target/image-*/image.tar; do
  architecture=${archive#target/image-}
  python3 .github/scripts/sbom.py "$archive" "target/smtp-gateway-${tag#v}-${architecture%/*}"
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
