#!/usr/bin/env bash
# Looks for what may be abused in the workflows, and for checks of .ci/run that they leave out or make with
# other versions of the tools.
set -euo pipefail
cd "$(dirname "$0")/../.."

zizmor --offline --quiet .github

missing=0
while read -r target; do
  if ! grep -qrE "make $target( |\$)" .github/workflows/{ci,image,chart}.yml .github/scripts; then
    printf '.ci/run has "make %s", and no workflow of a pull request has it\n' "$target" >&2
    missing=1
  fi
done < <(sed -nE 's/^ *([A-Z_]+=[0-9]+ )*make ([a-z -]+)$/\2/p' .ci/run | tr ' ' '\n')
while read -r package; do
  if ! grep -qF -- "$package" .ci/run; then
    printf 'a workflow has %s, and .ci/run another version\n' "$package" >&2
    missing=1
  fi
done < <(grep -ohE '[a-z-]+==[0-9.]+' .github/workflows/*.yml | sort -u)
exit "$missing"
