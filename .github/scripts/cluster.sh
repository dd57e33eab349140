#!/usr/bin/env bash
# cluster.sh NODE_IMAGE ARCHIVE: makes a cluster in docker with the gateway's image from the OCI archive,
# installs the chart with its development values in a namespace that refuses all but "restricted" pods,
# and lets `helm test` send a message. Namespace and release are called smtp-gateway.
set -euo pipefail
node=$1 archive=$2

kind_version=0.33.0
kind_sha256=aee6151561422756b764a4ae28e7f44cda5af5a9eead3cc9985112b1de8d8e0d
kind=$RUNNER_TEMP/kind
curl --fail --silent --show-error --location --output "$kind" \
  "https://github.com/kubernetes-sigs/kind/releases/download/v$kind_version/kind-linux-amd64"
sha256sum --check --quiet <<<"$kind_sha256  $kind"
chmod +x "$kind"

"$kind" create cluster --image "$node" --wait 120s
# Under the name that the chart asks for, so that nobody looks for it elsewhere.
skopeo copy "oci-archive:$archive" "docker-archive:$archive.docker:$(deployment/docker/name.sh)"
"$kind" load image-archive "$archive.docker"

kubectl create namespace smtp-gateway
kubectl label namespace smtp-gateway pod-security.kubernetes.io/enforce=restricted
helm install smtp-gateway helm/smtp-gateway --namespace smtp-gateway --values helm/smtp-gateway/values-dev.yaml \
  --wait --timeout 120s
helm test smtp-gateway --namespace smtp-gateway --logs
