#!/usr/bin/env bash
# Prints the name of this checkout's image: IMAGE, or the one that the chart of this version asks for.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=$(awk -F '"' '/^version/ { print $2; exit }' Cargo.toml)
printf '%s\n' "${IMAGE:-ghcr.io/cakemail/smtp-gateway:$version}"
