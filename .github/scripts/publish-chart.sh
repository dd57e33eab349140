#!/usr/bin/env bash
# publish-chart.sh REPOSITORY: packs the chart into target/, pushes it and signs it. Needs docker login and
# helm registry login.
set -euo pipefail
repository=$1

version=$(sed -n 's/^version: //p' helm/smtp-gateway/Chart.yaml)
helm package helm/smtp-gateway --destination target
helm push "target/smtp-gateway-$version.tgz" "oci://$repository"
digest=$(skopeo inspect --raw "docker://$repository/smtp-gateway:$version" | sha256sum | sed 's/^\(\w*\).*/sha256:\1/')
bash .github/scripts/sign.sh "$repository/smtp-gateway@$digest" release.yml
