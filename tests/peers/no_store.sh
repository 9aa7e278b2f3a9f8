#!/usr/bin/env bash
# Unavailable key stores: each cause has its own error, in time; nothing is lost and no other store is used instead.
# And with ASISTRY_API_KEY none is asked at all. Usage: no_store.sh BINARY.
source "$(dirname "$0")/private_bus.sh"

start_service
key=ask_one00000000000000
printf '%s\nask_two00000000000000\n' "$key" >"$accepted"
asistry=("$binary" -p asistry --url "$url")
state=$HOME/.local/state/asistry

start_unlocked_keyring
home_of_the_key=$keyring_home
check "a key is stored" 'it works' 0 with "$key" "${asistry[@]}" keys add --from-env KEY
before=$(cat "$state/keys.json")
reasons=()

# refused NAME PATTERN-OF-ADD PATTERN-OF-CALL [COMMAND…]: what `keys add` and `call` say, each below 4 s, with the list as it was.
refused() {
  local name=$1 add=$2 call=$3
  shift 3
  : >"$requests"
  for way in add rotate remove call; do
    case $way in
    add) check "$name: keys add" "$add" 4 with ask_two00000000000000 "$@" "${asistry[@]}" keys add --name two --from-env KEY ;;
    rotate) check "$name: keys rotate" "$call" 4 with ask_two00000000000000 "$@" "${asistry[@]}" keys rotate --from-env KEY ;;
    remove) [[ $name != *collection* ]] && check "$name: keys remove" "$call" 4 "$@" "${asistry[@]}" keys remove --yes ;;
    call) check "$name: call" "$call" 4 "$@" "${asistry[@]}" call hello ;;
    esac
    ((took < 4000)) || fault "$name: $way took $took ms"
    [[ $way != add ]] || reasons+=("$(head -1 <<<"$said")")
  done
  same "$name: the list is as it was" "$before" "$(cat "$state/keys.json")"
  same "$name: nothing is stored elsewhere" "" "$(find "$HOME" -name 'keys.enc*' -o -name '.asistry-*')"
  same "$name: nothing was sent" "" "$(cat "$requests")"
}

secrets /org/freedesktop/secrets Secret.Service.Lock "['/org/freedesktop/secrets/collection/login']" >/dev/null
refused "a locked keyring" 'keyring is locked' 'keyring is locked'

kill -STOP "$keyring"
refused "a keyring that never answers" 'keyring did not answer within 3 s' 'keyring did not answer within 3 s'
bridge
begun=$SECONDS
ask 1 tools/list
check "a keyring that never answers: a bridge" '-32603.*did not answer within 3 s' 0 echo "$said"
((SECONDS - begun <= 4)) || fault "a bridge took $((SECONDS - begun)) s to say so"

stop_keyring
refused "a bus without a keyring" 'keyring was not found' 'keyring was not found'
no_bus=(env DBUS_SESSION_BUS_ADDRESS=unix:path=/nonexistent/bus)
refused "no bus" 'keyring cannot be reached: there is no D-Bus' 'keyring cannot be reached: there is no D-Bus' "${no_bus[@]}"
start_keyring
refused "a keyring without a collection" 'has no collection for keys yet' 'no longer in the system'
stop_keyring
same "each has its own words" 5 "$(printf '%s\n' "${reasons[@]}" | sort -u | grep -c asistry:)"

keyring_home=$home_of_the_key
start_unlocked_keyring
same "the key is still there" "$key" "$(reveal)"
same "and nothing else" "" "$(leftovers)"
# A bridge asks a store that failed again after 10 s.
for n in {2..16}; do
  ask "$n" tools/list
  [[ $said == *result* ]] && break
  sleep 1
done
check "the bridge that found no keyring finds it now" '"result"' 0 echo "$said"
hang_up

# ---- with the key in the environment ----

clean=$scratch/clean
mkdir -p "$clean"
bridged() { echo '{"jsonrpc":"2.0","id":1,"method":"tools/list"}' | "$@" bridge --drain 10s; }
# traced VARIABLE… -- COMMAND…: the command with an untouched home; what it touched is in $scratch/touched.
traced() { env HOME="$clean" "$1" strace -f -qq -e trace=%file,network -o "$scratch/touched" "${@:2}"; }
touched() { grep -cE "connect\(.*AF_UNIX|$clean|asistry/(config|keys|wires|used)" "$scratch/touched"; }

asistry_() { traced ASISTRY_API_KEY=$key "${asistry[@]}" "$@"; }
check "with ASISTRY_API_KEY, call" 'hello there' 0 asistry_ call hello
same "… opens no bus and no file of ours" 0 "$(touched)"
check "with ASISTRY_API_KEY, a bridge" '"id":1,"result"' 0 bridged asistry_
same "… opens no bus and no file of ours" 0 "$(touched)"
same "… and leaves nothing" "" "$(ls -A "$clean")"
same "that was seen by a trace of the network" yes "$(grep -q 'connect(.*AF_INET' "$scratch/touched" && echo yes)"
# The same without it does touch them: the trace would have shown it.
asistry_() { traced ASISTRY_API_KEY= "${asistry[@]}" "$@"; }
check "without it, call looks for a key, and finds that of the keyring" 'hello there' 0 asistry_ call hello
for what in 'connect\(.*AF_UNIX' "$clean/.config/asistry/config.toml" "$clean/.local/state/asistry/keys.json"; do
  same "… and touches $(basename "$what")" yes "$(grep -qE "$what" "$scratch/touched" && echo yes)"
done

kill "$service"
stop_keyring
exit $failed
