#!/usr/bin/env bash
# A Kubernetes cluster on this machine, with the gateway of this checkout in it and its sandbox's inbox.
#
#   deployment/local/k3d.sh up        create, build, load, install and send; again after a change
#
#   deployment/local/k3d.sh create    a cluster in docker, unless it is there
#   deployment/local/k3d.sh build     the image, with docker (make image)
#   deployment/local/k3d.sh load      the image into the cluster
#   deployment/local/k3d.sh install   the chart with values-dev.yaml, and wait until it is ready;
#                                     further arguments are helm's, such as --set config.log.level=INFO
#   deployment/local/k3d.sh send      a message, and see that it arrived in the inbox
#   deployment/local/k3d.sh look      at the inbox, on http://127.0.0.1:8080/, until Ctrl-C
#   deployment/local/k3d.sh down      the cluster, and all in it
#
#   CLUSTER    its name (smtp-gateway)
#   IMAGE      of the gateway, in place of the one that the chart asks for
#   HTTP_PORT  of the inbox on this machine (8080)
#
# Your own kubeconfig stays as it is: kubectl and helm get one of this cluster's.
# Needs docker, k3d, kubectl, helm and curl.
set -euo pipefail
cd "$(dirname "$0")/../.."

cluster=${CLUSTER:-smtp-gateway}
IMAGE=$(deployment/docker/name.sh)
export IMAGE
release=smtp-gateway

say() { printf '\n==> %s\n' "$*"; }
die() {
  printf 'k3d.sh: %s\n' "$*" >&2
  exit 1
}
usage() { sed -n '2,/^set /s/^# \{0,1\}//p' "$0"; }

need() {
  local program missing=()
  for program in "$@"; do
    command -v "$program" >/dev/null || missing+=("$program")
  done
  ((${#missing[@]} == 0)) || die "please install: ${missing[*]}"
}
exists() { k3d cluster list "$cluster" >/dev/null 2>&1; }
# Says which cluster kubectl and helm speak to.
use_cluster() {
  exists || die "there is no cluster $cluster: $0 create"
  KUBECONFIG=$(k3d kubeconfig write "$cluster") || die "there is no kubeconfig of cluster $cluster"
  export KUBECONFIG
}
kube() { kubectl --namespace "$release" "$@"; }

create() {
  need docker k3d
  if exists; then
    say "cluster $cluster is there"
    k3d cluster start "$cluster"
    return
  fi
  say "creating cluster $cluster"
  k3d cluster create "$cluster" --wait --timeout 180s \
    --kubeconfig-update-default=false --kubeconfig-switch-context=false \
    --k3s-arg '--disable=traefik@server:*'
}

build() {
  need docker
  say "building $IMAGE"
  BUILDER=docker deployment/docker/build.sh
}

load() {
  need docker k3d
  exists || die "there is no cluster $cluster: $0 create"
  docker image inspect "$IMAGE" >/dev/null 2>&1 || die "there is no image $IMAGE: $0 build"
  say "loading $IMAGE"
  k3d image import "$IMAGE" --cluster "$cluster"
}

install() {
  need docker k3d kubectl helm
  use_cluster
  local id
  id=$(docker image inspect --format '{{.Id}}' "$IMAGE") || die "there is no image $IMAGE: $0 build"
  say "installing the chart"
  # The tag stays when the image changes: its id in the pods makes them new.
  if ! helm upgrade --install "$release" helm/smtp-gateway --namespace "$release" --create-namespace \
    --values helm/smtp-gateway/values-dev.yaml --set "image.repository=${IMAGE%:*}" \
    --set "image.tag=${IMAGE##*:}" --set image.pullPolicy=Never --set-string "podAnnotations.image=$id" \
    --wait --timeout 120s "$@"; then
    kube get pods >&2 || true
    kube describe pods --selector "app.kubernetes.io/instance=$release" 2>/dev/null | tail -n 20 >&2 || true
    kube logs "deployment/$release" --tail 20 >&2 || true
    die 'the gateway did not become ready'
  fi
  kube get pods
}

# forward SERVICE PORT: from a free port of this machine, which it leaves in $port, until this script ends.
forwards='' scratch=''
stop_forwards() {
  # shellcheck disable=SC2086 # several
  [[ -z "$forwards" ]] || kill $forwards 2>/dev/null || true
  [[ -z "$scratch" ]] || rm -rf "$scratch"
}
forward() {
  local log pid
  [[ -n "$scratch" ]] || scratch=$(mktemp -d)
  log=$scratch/$1
  : >"$log"
  # Not by kube: the pid would be that of a shell around it.
  kubectl --namespace "$release" port-forward "service/$1" ":$2" >"$log" 2>&1 &
  pid=$!
  forwards+=" $pid"
  for _ in $(seq 100); do
    port=$(sed -n 's/^Forwarding from 127\.0\.0\.1:\([0-9]*\) .*/\1/p' "$log")
    [[ -z "$port" ]] || return 0
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  cat "$log" >&2
  die "cannot reach service $1: is it installed?"
}

send() {
  need k3d kubectl curl
  use_cluster
  local port smtp_port subject inbox
  trap stop_forwards EXIT
  forward "$release" 587
  smtp_port=$port
  forward "$release-http" 8080
  subject="Hello from k3d.sh $$-$RANDOM"

  say "sending \"$subject\""
  printf '%s\r\n' 'From: App <app@example.com>' 'To: Ann <ann@example.net>' "Subject: $subject" '' 'It works.' |
    curl --silent --show-error --max-time 30 --insecure --ssl-reqd --url "smtp://127.0.0.1:$smtp_port" \
      --user app:secret --mail-from app@example.com --mail-rcpt ann@example.net --upload-file - ||
    die 'the gateway did not take the message'
  inbox=$(curl --silent --show-error --fail --max-time 10 "http://127.0.0.1:$port/api/messages")
  [[ "$inbox" == *"\"subject\":\"$subject\""* ]] || die "it is not in the inbox: $inbox"
  printf 'it arrived: %s\n' "$inbox"
}

look() {
  need k3d kubectl
  use_cluster
  say "http://127.0.0.1:${HTTP_PORT:-8080}/ (Ctrl-C ends it)"
  kube port-forward "service/$release-http" "${HTTP_PORT:-8080}:8080"
}

down() {
  need k3d
  say "deleting cluster $cluster"
  k3d cluster delete "$cluster"
}

up() {
  need docker k3d kubectl helm curl
  create
  build
  load
  install
  send
  printf '\nThe inbox: %s look\nThe end:   %s down\n' "$0" "$0"
}

case ${1:-help} in
  up | create | build | load | send | look | down)
    (($# == 1)) || die "$1 takes no arguments"
    "$1"
    ;;
  install) install "${@:2}" ;;
  help | -h | --help) usage ;;
  *)
    usage >&2
    die "there is no command $1"
    ;;
esac
