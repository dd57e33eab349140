#!/usr/bin/env bash
# sign.sh REFERENCE WORKFLOW: signs what the reference names, without a key: the signature is made out to
# the workflow that runs. Then verifies it as its users can.
set -euo pipefail
reference=$1 workflow=$2

cosign sign --yes "$reference"
cosign verify --output text "$reference" \
  --certificate-identity "https://github.com/$GITHUB_REPOSITORY/.github/workflows/$workflow@$GITHUB_REF" \
  --certificate-oidc-issuer https://token.actions.githubusercontent.com
