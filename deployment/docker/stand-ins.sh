#!/usr/bin/env bash
# Runs a command where both bases of the image have stand-ins, so that the unchanged Dockerfile can be
# built and tested on a machine that reaches Debian's packages and no image registry:
#
#   bash deployment/docker/stand-ins.sh make image image-test
#
# The stand-in of the rust image is Debian with a C compiler and this machine's Rust and crates; that of
# the distroless image has the files of the same Debian packages as the real one. What comes out is for
# tests, not for use. Needs root, mmdebstrap, podman, runc, cargo. Both are kept in target/stand-ins.
set -euo pipefail
cd "$(dirname "$0")/../.."
(($#)) || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2; }

kept=$PWD/target/stand-ins
mkdir -p "$kept"

# With these a machine without systemd, with old control groups or low limits runs containers, too.
cat >"$kept/containers.conf" <<'CONF'
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "file"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
CONF
export CONTAINERS_CONF=$kept/containers.conf BUILDAH_ISOLATION=chroot
export BUILDER=${BUILDER:-buildah}

# The names in the Dockerfile: the first is the rust image, the second the distroless one.
mapfile -t bases < <(sed -n 's/^FROM \([^ ]*\).*/\1/p' deployment/docker/Dockerfile)
suite=$(sed -n 's/^FROM .*slim-\([a-z]*\)@.*/\1/p' deployment/docker/Dockerfile)
[[ ${#bases[@]} -eq 2 && -n "$suite" ]] || { echo 'stand-ins.sh: the Dockerfile has other bases than this script knows' >&2; exit 1; }

# What distroless/cc is made of, besides its own user and certificates.
packages='base-files gcc-14-base libc6 libgcc-s1 libgomp1 libssl3t64 libstdc++6 libzstd1 media-types netbase tzdata zlib1g'

if [[ ! -e $kept/runtime.tar ]]; then
  # shellcheck disable=SC2016 # mmdebstrap gives $1
  mmdebstrap --quiet --variant=minbase --include=ca-certificates,gcc,libc6-dev \
    --customize-hook='chroot "$1" sh -ec "mkdir /runtime /debs; cd /debs; chown _apt .; apt-get download -qq '"$packages"'
      for deb in *.deb; do dpkg-deb -x \$deb /runtime; done
      install -D /etc/ssl/certs/ca-certificates.crt /runtime/etc/ssl/certs/ca-certificates.crt
      echo nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin >/runtime/etc/passwd
      echo nonroot:x:65532: >/runtime/etc/group"' \
    --customize-hook='tar -C "$1/runtime" -cf '"$kept"'/runtime.part .; rm -r "$1/runtime" "$1/debs"' \
    "$suite" "$kept/build.tar"
  mv "$kept/runtime.part" "$kept/runtime.tar"
fi
cargo=/usr/local/cargo
podman image exists localhost/stand-in-build || podman import --quiet \
  --change "ENV CARGO_HOME=$cargo" --change 'ENV CARGO_NET_OFFLINE=true' \
  --change 'ENV PATH=/usr/local/rust/bin:/usr/sbin:/usr/bin' "$kept/build.tar" localhost/stand-in-build
podman image exists localhost/stand-in-runtime || podman import --quiet \
  --change 'USER 65532' --change 'ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt' \
  "$kept/runtime.tar" localhost/stand-in-runtime

cargo fetch --locked --quiet
options=(
  --pull-never --network host
  --build-context "${bases[0]}=container-image://localhost/stand-in-build"
  --build-context "${bases[1]}=container-image://localhost/stand-in-runtime"
  --volume "$(rustc --print sysroot):/usr/local/rust:ro"
  --volume "${CARGO_HOME:-$HOME/.cargo}/registry:$cargo/registry:ro"
)
export BUILD_OPTIONS=${options[*]}
"$@"
