#!/usr/bin/env bash
# Tests a built image, as Kubernetes would run it: read-only, no capabilities, uid 65532, 64 MiB.
# Prints sizes and times; ends non-zero at the first thing that is not as it should be.
#
#   IMAGE   what to test, in place of what make image builds
#   RUNNER  docker or podman, in place of the first that has the image
#
# Needs Linux, curl, openssl and python3. Containers use free ports of the host's network.
set -euo pipefail
cd "$(dirname "$0")"

image=$(./name.sh)
runner=${RUNNER:-}
for candidate in docker podman; do
  [[ -z "$runner" ]] && "$candidate" image inspect "$image" >/dev/null 2>&1 && runner=$candidate
done
[[ -n "$runner" ]] || { echo "test.sh: there is no image $image: make image" >&2; exit 1; }

work=$(mktemp -d)
container='' api=''
remove_container() {
  [[ -n "$container" ]] || return 0
  "$runner" kill --signal KILL "$container" >/dev/null 2>&1 || true
  "$runner" wait "$container" >/dev/null 2>&1 || true
  "$runner" rm --force "$container" >/dev/null && container=''
}
clean_up() {
  remove_container || true
  [[ -z "$api" ]] || kill "$api" 2>/dev/null || true
  rm -rf "$work"
}
trap clean_up EXIT

ok() { printf 'ok      %s\n' "$*"; }
fail() {
  printf 'FAILED  %s\n' "$*" >&2
  [[ -z "$container" ]] || "$runner" logs "$container" 2>&1 | tail -n 20 >&2
  exit 1
}
expect() { # WHAT WANTED GOT
  [[ "$3" == "$2" ]] || fail "$1: $3, not $2"
  ok "$1: $3"
}
at_most() { # WHAT LIMIT GOT, both whole numbers; further words say more
  (($3 <= $2)) || fail "$1: $3, more than $2 ${*:4}"
  ok "$1: $3 ${*:4}"
}
kib() { echo $((($1 + 1023) / 1024)); }
now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

echo "== $image, looked into"

config() { "$runner" image inspect --format "{{$1}}" "$image"; }
label() { config "index .Config.Labels \"org.opencontainers.image.$1\""; }
expect 'user' 65532:65532 "$(config .Config.User)"
expect 'entry point' '[/usr/local/bin/smtp-gateway]' "$(config .Config.Entrypoint)"
expect 'ports' 'map[2465/tcp:{} 2587/tcp:{} 8080/tcp:{}]' "$(config .Config.ExposedPorts)"
expect 'port of the first listener' SMTP_PORT=2587 "$(config 'range .Config.Env}}{{println .}}{{end' | grep SMTP || true)"
expect 'version' "$(awk -F '"' '/^version/ { print $2; exit }' ../../Cargo.toml)" "$(label version)"
for name in title description source licenses revision created; do
  [[ "$(label "$name")" =~ ^(unknown)?$ ]] && fail "label $name: '$(label "$name")'"
  ok "$name: $(label "$name")"
done

container=$("$runner" create "$image")
"$runner" export "$container" >"$work/root.tar"
remove_container
expect 'shells, interpreters and package managers' '' \
  "$(tar tf "$work/root.tar" | grep -E '(^|/)(sh|ash|bash|busybox|dash|ksh|zsh|perl|python3?|apt|apt-get|dpkg)$' || true)"
tar xf "$work/root.tar" -C "$work" etc/ssl/certs/ca-certificates.crt usr/local/bin/smtp-gateway
expect 'a hundred certificate authorities' yes \
  "$([[ $(grep -c 'BEGIN CERTIFICATE' "$work/etc/ssl/certs/ca-certificates.crt") -ge 100 ]] && echo yes || echo no)"
binary=$work/usr/local/bin/smtp-gateway
expect 'paths of the build in the program' '' \
  "$(grep -aoE '/(build|root|home|tmp|usr/local)/[[:print:]]{1,60}' "$binary" | head -n 3 || true)"
at_most 'KiB of the image, compressed' 25600 "$(kib "$("$runner" save "$image" | gzip | wc -c)")" \
  "(the program: $(kib "$(gzip -c "$binary" | wc -c)"))"

echo '== in a container: read-only, no capabilities, 64 MiB'

certificate() { # NAME SUBJECT OPTION...
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -x509 -days 1 -keyout "$work/$1.key" \
    -out "$work/$1.crt" -subj "/CN=$2" "${@:3}" 2>/dev/null
}
certificate ca 'Test CA'
certificate tls localhost -CA "$work/ca.crt" -CAkey "$work/ca.key" -addext subjectAltName=DNS:localhost \
  -addext basicConstraints=critical,CA:FALSE

: >"$work/inbox"
coproc API { exec python3 api-double.py "$work/inbox" key-of-the-api; }
api=$API_PID
read -r api_port <&"${API[0]}"
read -r smtp_port http_port < <(python3 -c 'import socket
sockets = [socket.create_server(("", 0)) for _ in range(2)]
print(*(one.getsockname()[1] for one in sockets))')

echo key-of-the-api >"$work/api-key"
echo secret >"$work/shop"
cat >"$work/gateway.yaml" <<YAML
api:
  provider: json
  url: http://127.0.0.1:$api_port/messages
  key_file: /etc/smtp-gateway/secrets/api-key
auth:
  source: static
  accounts: [{name: shop, password_file: /etc/smtp-gateway/secrets/shop}]
YAML
chmod 0755 "$work"
chmod 0444 "$work"/{gateway.yaml,tls.crt,tls.key,api-key,shop}

options=(
  --network host --read-only --cap-drop ALL --security-opt no-new-privileges
  --memory 64m --memory-swap 64m --cpus 0.5 --pids-limit 64
  --env "SMTP_PORT=$smtp_port" --env "HTTP_PORT=$http_port"
)
for file in config/gateway.yaml tls/tls.crt tls/tls.key secrets/api-key secrets/shop; do
  options+=(--volume "$work/${file##*/}:/etc/smtp-gateway/$file:ro")
done
# podman mounts /tmp and others to write to; Kubernetes does not.
[[ "$runner" == docker ]] || options+=(--read-only-tmpfs=false)

health() { curl --silent --output /dev/null --write-out '%{http_code}' "http://127.0.0.1:$http_port/health/$1" || true; }

# From the start of the container, its runtime included, to the first 200 of /health/ready.
times=()
for _ in 1 2 3 4 5; do
  remove_container
  container=$("$runner" create "${options[@]}" "$image" --config /etc/smtp-gateway/config/gateway.yaml)
  begin=$(now_ms)
  "$runner" start "$container" >/dev/null
  until [[ "$(health ready)" == 200 ]]; do
    (($(now_ms) - begin < 20000)) || fail 'not ready after 20 s'
    sleep 0.01
  done
  times+=("$(($(now_ms) - begin))")
done
at_most 'ms from start to ready, median' 1000 "$(printf '%s\n' "${times[@]}" | sort -n | sed -n 3p)" "(of ${times[*]})"

state() { "$runner" inspect --format "{{.State.$1}}" "$container"; }
pid=$(state Pid)
status() { sed -n "s/^$1:\s*//p" "/proc/$pid/status"; }
expect 'uid' '65532 65532 65532 65532' "$(status Uid | tr '\t' ' ')"
expect 'gid' '65532 65532 65532 65532' "$(status Gid | tr '\t' ' ')"
expect 'capabilities in force' 0000000000000000 "$(status CapEff)"
expect 'capabilities within reach' 0000000000000000 "$(status CapBnd)"
expect 'no new privileges' 1 "$(status NoNewPrivs)"
expect 'root file system' ro "$(awk '$5 == "/" { print substr($6, 1, 2) }' "/proc/$pid/mountinfo")"
expect 'MiB for messages, 40 % of the limit' 25 \
  "$(curl --silent "http://127.0.0.1:$http_port/metrics" | awk '$1 == "smtp_memory_budget_bytes" { print int($2 / 1048576) }')"

# A message with an attachment of so many MiB, a third more as base64.
send() { # SUBJECT MIB OPTION...
  {
    printf '%s\r\n' 'From: shop@example.com' 'To: ann@example.net' "Subject: $1" \
      'Content-Type: application/octet-stream' 'Content-Transfer-Encoding: base64' ''
    head -c $(($2 * 1048576)) /dev/zero | base64 --wrap=76 | sed 's/$/\r/'
  } | curl --silent --show-error --ssl-reqd --url "smtp://localhost:$smtp_port/app.example.com" \
    --cacert "$work/ca.crt" --user shop:secret --mail-from shop@example.com \
    --mail-rcpt ann@example.net --upload-file - "${@:3}"
}
arrived() { grep -c "\"subject\":\"$1\"" "$work/inbox" || true; }
refused() { # EXIT_CODE SUBJECT MIB OPTION...
  local code=0
  send "${@:2}" 2>/dev/null || code=$?
  expect "curl $2, exit code" "$1" "$code"
  expect 'of those the API has' 0 "$(arrived "$2")"
}

send Hello 0 || fail 'the message was refused'
expect 'messages the API has: sent with STARTTLS, a certificate that was verified, AUTH' 1 "$(arrived Hello)"
refused 67 'with a wrong password' 0 --user shop:wrong
refused 60 'that does not know the CA' 0 --cacert /etc/ssl/certs/ca-certificates.crt
send Large 17 || fail 'the message of 23 MiB was refused'
expect 'messages of 23 MiB the API has' 1 "$(arrived Large)"

# More than there is memory for: they have to wait, or to come again.
senders=() accepted=0
for _ in $(seq 12); do
  send Crowd 6 2>>"$work/refusals" &
  senders+=($!)
done
for sender in "${senders[@]}"; do
  if wait "$sender"; then accepted=$((accepted + 1)); fi
done
expect 'refusals other than 452, of twelve messages of 8 MiB at once' '' "$(grep -v ' 452$' "$work/refusals" || true)"
[[ "$accepted" -gt 0 ]] || fail 'none was accepted'
expect "of the $accepted that were accepted the API has" "$accepted" "$(arrived Crowd)"
expect 'still the same process' "$pid" "$(state Pid)"
ok "most memory it ever had: $(status VmHWM)"

echo '== SIGTERM'

begin=$(now_ms)
"$runner" stop --time 60 "$container" >/dev/null &
stop=$!
until [[ "$(health ready)" == 503 ]]; do
  (($(now_ms) - begin < 5000)) || fail 'ready 5 s after SIGTERM'
  sleep 0.05
done
ok 'not ready any more'
send Late 0 || fail 'a message in the pause before listeners close was refused'
expect 'messages the API has: sent in the pause before listeners close' 1 "$(arrived Late)"
wait "$stop"
expect "exit code, after $((($(now_ms) - begin) / 1000)) s" 0 "$(state ExitCode)"
expect 'killed for want of memory' false "$(state OOMKilled)"
