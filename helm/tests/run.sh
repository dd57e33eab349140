#!/usr/bin/env bash
# Checks the chart: installs what that takes, builds the gateway, and runs main.py.
set -euo pipefail
cd "$(dirname "$0")/../.."

bash helm/tests/tools.sh
# In CI nothing may be left out for want of a program.
if [[ -n "${CI:-}" && ! -x target/chart-tools/bin/promtool ]]; then
  printf 'promtool is not to be had:\n' >&2
  cat target/chart-tools/promtool.log >&2
  exit 1
fi
printf 'building the gateway, which is asked about settings\n'
cargo build --quiet
PYTHONDONTWRITEBYTECODE=1 exec target/chart-tools/checks/bin/python helm/tests/main.py
