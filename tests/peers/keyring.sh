#!/usr/bin/env bash
# A real Secret Service: gnome-keyring on a private D-Bus, with secret-tool putting keys in.
# Usage: keyring.sh BINARY. Refuses to touch the bus or the keyring of whoever runs it.
set -uo pipefail
binary=$1

if [[ -z ${ASISTRY_PRIVATE_BUS:-} ]]; then
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  mkdir -m 700 "$scratch/run" "$scratch/data" "$scratch/home"
  # No service directories: the bus must not start a second, locked daemon by itself.
  cat >"$scratch/bus.conf" <<CONF
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "busconfig.dtd">
<busconfig><type>session</type><listen>unix:dir=$scratch/run</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy></busconfig>
CONF
  env -i PATH="$PATH" HOME="$scratch/home" XDG_RUNTIME_DIR="$scratch/run" XDG_DATA_HOME="$scratch/data" \
    ASISTRY_PRIVATE_BUS=1 dbus-run-session --config-file="$scratch/bus.conf" -- "$0" "$binary"
  exit
fi

failed=0
check() { # check NAME EXPECTED-PATTERN EXPECTED-EXIT COMMAND…
  local name=$1 pattern=$2 code=$3 said status start
  shift 3
  start=$(date +%s%N)
  said=$("$@" 2>&1)
  status=$?
  if [[ $status == "$code" && $said =~ $pattern ]]; then
    echo "ok keyring: $name ($((($(date +%s%N) - start) / 1000000)) ms)"
  else
    echo "FAIL keyring: $name"
    echo "     expected exit $code and /$pattern/; got exit $status: $said"
    failed=10
  fi
}
# until SECONDS COMMAND…: waits until the command succeeds.
until_() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do ((SECONDS < end)) || return 1; done
}

"$binary" sandbox --memory --listen 127.0.0.1:0 --json >"$HOME/services" &
until_ 10 grep -q key "$HOME/services"
url=$(sed 's/.*"url":"\([^"]*\)".*/\1/' "$HOME/services")
key=$(sed 's/.*"key":"\([^"]*\)".*/\1/' "$HOME/services")
origin=${url%/api/*}
name=v1/asistry/default/$origin
call=("$binary" -p asistry --url "$url" call get_workspace_info)
put() { printf %s "$1" | secret-tool store --label=asistry service asistry username "$2"; }

check "a bus without a keyring is told" 'keyring cannot be opened' 4 "${call[@]}"
check "no bus at all is told" 'keyring cannot be opened' 4 env -u DBUS_SESSION_BUS_ADDRESS -u XDG_RUNTIME_DIR "${call[@]}"

printf secret | gnome-keyring-daemon --foreground --unlock --components=secrets >/dev/null 2>&1 &
until_ 10 put probe probe || echo "the keyring never answered"

check "an empty keyring is told, with the command that helps" "username $name" 4 "${call[@]}"
put "$key" "v1/asistry/default/http://127.0.0.1:9"
check "a key of another origin is not found" 'none in the system' 4 "${call[@]}"
put "not a key" "$name"
check "what cannot be a key is refused" 'white space' 4 "${call[@]}"
put "$key" "$name"
check "a stored key is used" 'workspace_name' 0 "${call[@]}"
check "a key in the environment stands over it" 'begin with ask_' 4 env ASISTRY_API_KEY=bsk_1 "${call[@]}"

# A running bridge picks a changed key up: the first call is rejected, the keyring read again.
put "ask_revoked0000" "$name"
mkfifo "$HOME/in"
"$binary" bridge -p asistry --url "$url" <"$HOME/in" >"$HOME/out" 2>/dev/null &
exec 8>"$HOME/in"
echo '{"jsonrpc":"2.0","id":1,"method":"tools/list"}' >&8
until_ 10 grep -q '"id":1.*-32001' "$HOME/out"
put "$key" "$name"
echo '{"jsonrpc":"2.0","id":2,"method":"tools/list"}' >&8
until_ 10 grep -q '"id":2' "$HOME/out"
exec 8>&-
check "a running bridge picks up a changed key" '"id":1.*-32001.*"id":2,"result"' 0 tr '\n' ' ' <"$HOME/out"

kill -- %1 2>/dev/null
exit $failed
