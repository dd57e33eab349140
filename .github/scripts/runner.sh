#!/usr/bin/env bash
# Prepares one of GitHub's machines for make: the oldest Rust that the project builds with, packages of
# the system that SYSTEM names, and programs that come as Python packages, which PYTHON names.
set -euo pipefail

rust=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
rustup toolchain install "$rust" --profile minimal --component clippy,rustfmt
rustup default "$rust"

read -ra system <<<"${SYSTEM:-}"
if ((${#system[@]})); then
  sudo apt-get update -qq
  sudo apt-get install -y -qq --no-install-recommends "${system[@]}"
fi

read -ra python <<<"${PYTHON:-}"
if ((${#python[@]})); then
  python3 -m venv "$RUNNER_TEMP/packages"
  "$RUNNER_TEMP/packages/bin/pip" install --quiet --disable-pip-version-check "${python[@]}"
  echo "$RUNNER_TEMP/packages/bin" >>"$GITHUB_PATH"
fi
