#!/usr/bin/env bash
# release-notes.sh vX.Y.Z: prints what CHANGELOG.md says about that version. Refuses a tag that is not the
# version of the program, of the chart and of the image in the chart, and one that nothing is said about.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=${1#v}

die() {
  printf 'release-notes.sh: %s\n' "$*" >&2
  exit 1
}

[[ "$1" == v* ]] || die "$1 does not begin with v"
chart=helm/smtp-gateway/Chart.yaml
for found in \
  "Cargo.toml: $(sed -n '0,/^version = /s/^version = "\(.*\)"$/\1/p' Cargo.toml)" \
  "version of $chart: $(sed -n 's/^version: "\{0,1\}\([^"]*\).*/\1/p' "$chart")" \
  "appVersion of $chart: $(sed -n 's/^appVersion: "\{0,1\}\([^"]*\).*/\1/p' "$chart")"; do
  [[ "${found##*: }" == "$version" ]] || die "the tag is $1, $found"
done

notes=$(awk -v version="$version" '
  /^## / { inside = ($2 == version || $2 == "[" version "]"); next }
  inside' CHANGELOG.md)
[[ "$notes" == *[![:space:]]* ]] || die "CHANGELOG.md says nothing about $version"
printf '%s\n' "$notes"

if [[ -n "${GITHUB_OUTPUT:-}" ]]; then
  # A release to try does not become the newest.
  [[ "$version" == *-* ]] && tags=$version || tags="$version latest"
  echo "tags=$tags" >>"$GITHUB_OUTPUT"
fi
