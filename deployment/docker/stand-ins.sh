#!/usr/bin/env bash
# Runs a command where both bases of the image have stand-ins, so that the unchanged Dockerfile can be
# built and tested on a machine that reaches Debian's packages and no image registry:
#
#   bash deployment/docker/stand-ins.sh make image image-test
#
# The stand-in of the rust image is Debian with a C compiler, and this machine's Rust and crates; that of
# the distroless image has the files of the same Debian packages as the real one. What comes out is for
# tests, not for use. Needs root, mmdebstrap, podman, buildah, runc and cargo.
#
# podman keeps the stand-ins as localhost/stand-in-build and localhost/stand-in-runtime; without them they
# are made anew.
set -euo pipefail
cd "$(dirname "$0")/../.."
(($#)) || { sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2; exit 2; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# With these, a machine without systemd, with old control groups or low limits runs containers too.
cat >"$work/containers.conf" <<'CONF'
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
CONF
export CONTAINERS_CONF=$work/containers.conf BUILDAH_ISOLATION=chroot BUILDER=buildah RUNNER=podman

# The bases, as the Dockerfile names them: rust, then distroless.
mapfile -t bases < <(sed -n 's/^FROM \([^ ]*\).*/\1/p' deployment/docker/Dockerfile)
suite=$(sed -n 's/^FROM .*slim-\([a-z]*\)@.*/\1/p' deployment/docker/Dockerfile)
if [[ ${#bases[@]} -ne 2 || -z "$suite" ]]; then
  echo 'stand-ins.sh: the Dockerfile has other bases than this script knows' >&2
  exit 1
fi
build=localhost/stand-in-build:$suite
runtime=localhost/stand-in-runtime:$suite

make_stand_ins() {
  # What distroless/cc is made of, besides its user and certificates.
  local packages=(base-files gcc-14-base libc6 libgcc-s1 libgomp1 libssl3t64 libstdc++6 libzstd1
    media-types netbase tzdata zlib1g)
  cat >"$work/unpack" <<UNPACK
set -e
mkdir /runtime /packages
cd /packages
chown _apt .
apt-get download -qq ${packages[*]}
for package in *.deb; do dpkg-deb -x "\$package" /runtime; done
install -D /etc/ssl/certs/ca-certificates.crt /runtime/etc/ssl/certs/ca-certificates.crt
echo nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin >/runtime/etc/passwd
echo nonroot:x:65532: >/runtime/etc/group
UNPACK
  mmdebstrap --quiet --variant=minbase --include=ca-certificates,gcc,libc6-dev \
    --customize-hook="chroot \"\$1\" sh <'$work/unpack'" \
    --customize-hook="tar -C \"\$1/runtime\" -cf '$work/runtime.tar' . && rm -r \"\$1/runtime\" \"\$1/packages\"" \
    "$suite" "$work/build.tar"
  podman import --quiet --change 'ENV PATH=/usr/local/rust/bin:/usr/sbin:/usr/bin' \
    --change 'ENV CARGO_HOME=/usr/local/cargo' --change 'ENV CARGO_NET_OFFLINE=true' "$work/build.tar" "$build"
  podman import --quiet --change 'USER 65532' --change 'ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt' \
    "$work/runtime.tar" "$runtime"
}
{ podman image exists "$build" && podman image exists "$runtime"; } || make_stand_ins

cargo fetch --locked --quiet
options=(
  --pull-never --network host
  --build-context "${bases[0]}=container-image://$build"
  --build-context "${bases[1]}=container-image://$runtime"
  --volume "$(rustc --print sysroot):/usr/local/rust:ro"
  --volume "${CARGO_HOME:-$HOME/.cargo}/registry:/usr/local/cargo/registry:ro"
)
export BUILD_OPTIONS=${options[*]}
"$@"
