# Sourced by the suites that want a Secret Service: a private D-Bus, gnome-keyring on it, checks, a service with keys.
# Restarts the suite in an empty environment, so that it cannot touch the caller's bus, keyring or files.
set -uo pipefail
suite=$(basename "$0" .sh)
here=$(cd "$(dirname "$0")" && pwd)
binary=$1

if [[ -z ${ASISTRY_PRIVATE_BUS:-} ]]; then
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  mkdir -m 700 "$scratch/run" "$scratch/home"
  # No service directories: the bus must not start a second, locked daemon by itself.
  cat >"$scratch/bus.conf" <<CONF
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "busconfig.dtd">
<busconfig><type>session</type><listen>unix:path=$scratch/run/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow receive_sender="*" eavesdrop="true"/>
<allow eavesdrop="true"/><allow own="*"/></policy></busconfig>
CONF
  env -i PATH="$PATH" HOME="$scratch/home" XDG_RUNTIME_DIR="$scratch/run" PYTHON="${ASISTRY_PEERS_PYTHON:-python3}" ASISTRY_PEERS_MODULES="${ASISTRY_PEERS_MODULES:-}" \
    ASISTRY_PRIVATE_BUS="$scratch" dbus-run-session --config-file="$scratch/bus.conf" -- "$0" "$binary"
  exit
fi
scratch=$ASISTRY_PRIVATE_BUS
unset ASISTRY_PRIVATE_BUS
trap 'for job in $(jobs -p); do kill -KILL "$job"; done 2>/dev/null' EXIT

# ---- checks ----

failed=0
passed() { echo "ok $suite: $*"; }
fault() { # fault NAME DETAIL…
  echo "FAIL $suite: $1"
  shift
  (($# == 0)) || printf '     %s\n' "$@"
  failed=10
}
# check NAME PATTERN EXIT COMMAND…: the command says what matches and ends with this code. What it said is in $said.
check() {
  local name=$1 pattern=$2 code=$3 status start
  shift 3
  start=$(date +%s%N)
  said=$("$@" 2>&1)
  status=$?
  took=$((($(date +%s%N) - start) / 1000000))
  if [[ $status == "$code" && $said =~ $pattern ]]; then
    passed "$name ($took ms)"
  else
    fault "$name" "expected exit $code and /$pattern/; got exit $status: $said"
  fi
}
# same NAME EXPECTED GOT
same() { if [[ $2 == "$3" ]]; then passed "$1"; else fault "$1" "expected: $2" "got:      $3"; fi; }
# until_ SECONDS COMMAND…: waits until the command succeeds.
until_() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do ((SECONDS < end)) || return 1; sleep 0.02; done
}

# ---- the keyring ----

# put ITEM, with the secret on stdin; got ITEM; items: the names of all that is ours.
put() { secret-tool store --label=asistry service asistry username "$1"; }
got() { secret-tool lookup service asistry username "$1"; }
items() { secret-tool search --all service asistry 2>&1 | sed -n 's/^attribute.username = //p' | sort; }
# start_keyring [ARGUMENT…]: a gnome-keyring-daemon with its own files; its process is $keyring.
# With $keyring_home set, it has the files that are there.
start_keyring() {
  keyring_home=${keyring_home:-$(mktemp -d "$scratch/keyring.XXXX")}
  printf secret | XDG_DATA_HOME=$keyring_home gnome-keyring-daemon --foreground --components=secrets \
    --control-directory="$keyring_home/control" "$@" >"$keyring_home/log" 2>&1 8>&- &
  keyring=$!
  until_ 10 owned || { fault "the keyring never came to the bus" "$(cat "$keyring_home/log")"; exit 10; }
}
start_unlocked_keyring() {
  start_keyring --unlock
  # It owns its name a moment before its collection takes items.
  until_ 10 sh -c 'echo x | secret-tool store --label=x service probe username x && secret-tool clear service probe' ||
    { fault "the keyring takes no items"; exit 10; }
}
stop_keyring() {
  kill -KILL "$keyring"
  wait "$keyring" 2>/dev/null
  keyring_home=
  until_ 10 not owned
}
not() { ! "$@"; }
secrets() { # secrets OBJECT METHOD ARGUMENT…
  local object=$1 method=$2
  shift 2
  gdbus call --session --timeout 5 --dest org.freedesktop.secrets --object-path "$object" --method "org.freedesktop.$method" "$@"
}
owned() {
  gdbus call --session --dest org.freedesktop.DBus --object-path /org/freedesktop/DBus \
    --method org.freedesktop.DBus.NameHasOwner org.freedesktop.secrets | grep -q true
}

# ---- services ----

# start_service: a test service that accepts the keys in the file $accepted, one per line; its address is $url, its requests are in $requests.
start_service() {
  accepted=$scratch/accepted requests=$scratch/requests
  : >"$accepted" >"$requests"
  "$PYTHON" "$here/keyed_service.py" "$accepted" "$requests" >"$scratch/port" &
  service=$!
  until_ 15 test -s "$scratch/port" || { fault "the stand-in did not start"; exit 10; }
  origin=http://127.0.0.1:$(cat "$scratch/port")
  url=$origin/mcp
}

# ---- asistry ----

# asistry=(BINARY OPTION…) is set by the suite.
with() { KEY=$1 "${@:2}"; } # with KEY COMMAND…: the key is in the environment, not in an argument
add() { with "$1" "${asistry[@]}" keys add --no-verify --from-env KEY "${@:2}"; }
rotate() { with "$1" "${asistry[@]}" keys rotate --no-verify --from-env KEY "${@:2}"; }
reveal() { "${asistry[@]}" keys show --reveal --yes "$@" 2>&1; }
# list FIELD,…: these fields of each key in the list.
list() {
  "$binary" keys list --json | "$PYTHON" -c '
import json, sys
print(*(" ".join(str(key[field]) for field in sys.argv[1].split(",")) for key in json.load(sys.stdin)), sep="\n")' "$1"
}
# Inconsistencies in the stores: items missing in the list, keys without an item, superfluous files.
leftovers() {
  diff <(items) <("$binary" keys list --jq '.[] | select(.store == "keyring").item' | sort)
  find "$HOME" -name '.asistry-*'
}
# bridge: between $scratch/in and $scratch/out, with $scratch/log; ask ID METHOD [PARAMS]: one request, its answer in $said.
bridge() {
  rm -f "$scratch/in" && mkfifo "$scratch/in"
  : >"$scratch/out"
  "${asistry[@]}" -vv bridge <"$scratch/in" >"$scratch/out" 2>"$scratch/log" &
  bridge=$!
  exec 8>"$scratch/in"
}
ask() {
  echo '{"jsonrpc":"2.0","id":'"$1"',"method":"'"$2"'"'"${3:+,\"params\":$3}"'}' >&8
  until_ 10 grep -q '"id":'"$1"'[,}]' "$scratch/out"
  said=$(grep '"id":'"$1"'[,}]' "$scratch/out")
}
hang_up() { exec 8>&-; wait "$bridge"; }
