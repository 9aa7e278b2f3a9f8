#!/usr/bin/env bash
# The life of a key in a real Secret Service: added, used, rotated, chosen, removed; and what a bridge sees of it.
# Usage: keyring.sh BINARY.
source "$(dirname "$0")/private_bus.sh"

# of_asistry FIELD: what the sandbox says of its first service
of_asistry() { sed "s/.*\"asistry\":{[^}]*\"$1\":\"\([^\"]*\)\".*/\1/" "$scratch/services"; }

# Each start of the sandbox makes one more key that works.
keys=()
for _ in 1 2 3; do
  [[ -z ${sandbox:-} ]] || { kill "$sandbox" && wait "$sandbox"; }
  : >"$scratch/services"
  "$binary" sandbox --data "$scratch/sandbox" --listen 127.0.0.1:0 --json >"$scratch/services" &
  sandbox=$!
  until_ 10 grep -q key "$scratch/services" || { fault "the sandbox did not start"; exit 10; }
  keys+=("$(of_asistry key)")
done
url=$(of_asistry url)
origin=${url%/api/*}
item=v1/asistry/default/$origin
asistry=("$binary" -p asistry --url "$url")
call=("${asistry[@]}" call get_workspace_info)

# ---- without asistry's list: by the name of the item alone ----

start_unlocked_keyring
check "an empty keyring is told, with the command that helps" 'no key for the profile asistry.*keys add -p asistry' 4 "${call[@]}"
printf %s "${keys[0]}" | put "v1/asistry/default/http://127.0.0.1:9"
check "a key of another origin is not found" 'no key for' 4 "${call[@]}"
printf 'not a key' | put "$item"
check "what cannot be a key is refused" 'whitespace' 4 "${call[@]}"
printf %s "${keys[0]}" | put "$item"
check "a key put there by hand is used" 'workspace_name' 0 "${call[@]}"
check "a key in the environment stands over it" 'begin with ask_' 4 env ASISTRY_API_KEY=bsk_1 "${call[@]}"

# A running bridge picks a changed key up: the first call is rejected, the keyring read again.
printf ask_revoked0000 | put "$item"
bridge
ask 1 tools/list
printf %s "${keys[0]}" | put "$item"
first=$said
ask 2 tools/list
hang_up
check "a running bridge picks up a key changed by hand" '"id":1.*-32001.*"id":2,"result"' 0 echo "$first $said"
for name in $(items); do secret-tool clear service asistry username "$name"; done
same "the keyring is empty again" "" "$(items)"

# ---- added ----

check "a key that the service refuses is not stored" '' 4 with ask_revoked0000 "${asistry[@]}" keys add --from-env KEY
same "… and neither it nor the probe is in the keyring" "" "$(items)"
check "a key is tried and added" "stored asistry/default .* it works: [0-9]+ tools" 0 with "${keys[0]}" "${asistry[@]}" keys add --from-env KEY
same "secret-tool reads what was stored" "${keys[0]}" "$(got "$item")"
same "… and nothing but that is there" "$item" "$(items)"
same "the list knows it" "asistry default True $origin keyring $item" "$(list profile,name,current,origin,store,item)"
check "the list never shows it" 'asistry.*ask_…' 0 "$binary" keys list
[[ $said != *"${keys[0]}"* ]] || fault "the list shows the key"
if grep -rqF "${keys[0]#ask_}" "$HOME"; then fault "the key is in one of our files"; else passed "the key is in none of our files"; fi
check "it can be tried" 'asistry/default: it works: [0-9]+ tools' 0 "${asistry[@]}" keys test
check "call uses it" 'workspace_name' 0 "${call[@]}"
bridge
ask 1 tools/list
hang_up
check "a bridge uses it" '"id":1,"result"' 0 echo "$said"
check "a second one of the name is refused" 'there is a key asistry/default already' 2 with "${keys[1]}" "${asistry[@]}" keys add --from-env KEY
check "it does not go to another origin" 'is bound to .* and must not be sent to http://127.0.0.1:9' 3 "$binary" -p asistry --url http://127.0.0.1:9/mcp call x
printf '%s\n' "${keys[1]}" >"$scratch/file"
check "a second one of another name is added from a file" 'asistry/default is still the key in use' 0 "${asistry[@]}" keys add --name second --from-file "$scratch/file"
same "both are in the keyring" "$item v1/asistry/second/$origin" "$(items | paste -sd' ')"

# ---- rotated ----

check "a rotation to a refused key leaves the old one" 'the old key stays in use' 4 with ask_revoked0000 "${asistry[@]}" keys rotate --from-env KEY
same "… also in the keyring, alone" "$item v1/asistry/second/$origin ${keys[0]}" "$(items | paste -sd' ') $(got "$item")"
check "a key is rotated, and tried before" 'the new key is in use.* it works: [0-9]+ tools' 0 with "${keys[2]}" "${asistry[@]}" keys rotate --from-env KEY
same "the new one lies beside where the old one was" "${keys[2]}" "$(got "v1/asistry/default~b/$origin")"
same "the old one is gone" "v1/asistry/default~b/$origin v1/asistry/second/$origin" "$(items | paste -sd' ')"
check "call uses the new one" 'workspace_name' 0 "${call[@]}"
check "a rotation does not try a key elsewhere" 'is bound to .* and must not be sent to http://127.0.0.1:9' 3 \
  with "${keys[0]}" "$binary" -p asistry --url http://127.0.0.1:9/mcp keys rotate --from-env KEY
check "a rotation to itself is refused" 'the new key is the old one' 2 with "${keys[2]}" "${asistry[@]}" keys rotate --from-env KEY
check "it is rotated back" 'the new key is in use' 0 with "${keys[0]}" "${asistry[@]}" keys rotate --from-env KEY
same "the items take turns" "$item ${keys[0]}" "$(items | head -1) $(got "$item")"

# ---- chosen ----

check "the second key is put into use" 'asistry/second is now the key in use' 0 "${asistry[@]}" keys use second
same "it is the one that counts" "${keys[1]}" "$("${asistry[@]}" keys show --reveal --yes)"
check "call uses it" 'workspace_name' 0 "${call[@]}"
check "an unknown one is refused, with the names there are" 'no key of that name.*default, second' 4 "${asistry[@]}" keys use third

# ---- where desktop clients start us: six variables, so the bus is looked for in /run/user/UID/bus ----

runtime=/run/user/$(id -u)
# below MOUNT-BUS COMMAND…: a mount namespace with its own /run/user, with the private bus in it or with none.
below() {
  ((EUID == 0)) && set -- -m "$@" || set -- "-m --map-current-user --keep-caps" "$@"
  # shellcheck disable=SC2086
  unshare $1 sh -c 'mount -t tmpfs none /run/user && mkdir -m 700 "$0" && { [ "$1" = no ] || ln -s "$1" "$0/bus"; } && shift && exec "$@"' \
    "$runtime" "${@:2}"
}
if ! below no true 2>/dev/null; then
  # No namespaces here: then in the open, where nobody else has a bus.
  below() {
    [[ $1 == no ]] || { mkdir -p -m 700 "$runtime" && ln -s "$1" "$runtime/bus"; } || return 99
    "${@:2}"
    local status=$?
    [[ $1 == no ]] || rm "$runtime/bus"
    return "$status"
  }
  if [[ -e $runtime/bus || -L $runtime/bus ]] || ! mkdir -p "$runtime"; then
    fault "$runtime/bus is somebody's, or cannot be made, and unshare gives no namespace: run this suite as root, or in a container"
    exit 10
  fi
fi
six=(env -i HOME="$HOME" LOGNAME=peer PATH="$PATH" SHELL=/bin/sh TERM=dumb USER=peer)
bridged() { echo '{"jsonrpc":"2.0","id":1,"method":"tools/list"}' | "$@" bridge --drain 10s; }
check "with six variables and no bus, call says so" "cannot be reached.*$runtime/bus" 4 below no "${six[@]}" "${call[@]}"
check "with six variables, call uses the stored key" 'workspace_name' 0 below "$scratch/run/bus" "${six[@]}" "${call[@]}"
check "with six variables and no bus, a bridge says so" "-32603.*$runtime/bus" 4 bridged below no "${six[@]}" "${asistry[@]}"
check "with six variables, a bridge uses the stored key" '"id":1,"result"' 0 bridged below "$scratch/run/bus" "${six[@]}" "${asistry[@]}"

# ---- removed ----

check "a key in use is removed, and the one that is left is current" 'removed asistry/second.*the current key of asistry is now default' 0 "${asistry[@]}" keys remove --yes
check "the one that is left is used" 'workspace_name' 0 "${call[@]}"
check "it is asked for" 'no terminal to ask on: Remove the key asistry/default' 2 "${asistry[@]}" keys remove --name default
printf 'one more' | secret-tool store --label=x service asistry username "$item" more attributes
check "the last one is removed, with what somebody put beside it" 'removed asistry/default' 0 "${asistry[@]}" keys remove --name default --yes
same "nothing is left in the keyring" "" "$(items)"
same "nothing is left in the list" "" "$(list name)"

# ---- what a bridge reads, and when ----

kill "$sandbox"
start_service
asistry=("$binary" -p asistry --url "$url")
dbus-monitor --session "type='method_call',interface='org.freedesktop.Secret.Item',member='GetSecret'" >"$scratch/monitor" 2>&1 &
monitor=$!
until_ 10 grep -q NameAcquired "$scratch/monitor"
# reads: how often a secret was taken out of the keyring up to now, as the bus saw it.
reads() {
  local mark=/mark$RANDOM # the monitor has seen all that came before it
  secrets "$mark" Secret.Item.GetSecret / >/dev/null 2>&1
  until_ 5 grep -q "path=$mark;" "$scratch/monitor" || echo "the monitor is blind"
  grep 'member=GetSecret' "$scratch/monitor" | grep -vc 'path=/mark'
}

bridge
ask 1 tools/list
check "a bridge without a key says what to do" '-32001.*asistry keys add' 0 echo "$said"
echo ask_one00000000000000 >"$accepted"
with ask_one00000000000000 "${asistry[@]}" keys add --no-verify --from-env KEY 2>/dev/null
ask 2 tools/list
check "a running bridge takes a key that was added meanwhile" '"id":2,"result"' 0 echo "$said"
hang_up

before=$(reads)
bridge
for n in {1..50}; do ask "$n" tools/call '{"name":"hello","arguments":{}}'; done
same "fifty calls took place" 50 "$(grep -c 'hello there' "$scratch/out")"
same "for fifty calls the keyring is read once" 1 "$(($(reads) - before))"
same "… which the log says" 1 "$(grep -c 'reading the key store' "$scratch/log")"
echo ask_two00000000000000 >"$accepted"
before=$(reads)
ask 51 tools/list
check "a key that the service no longer takes is told" '"id":51.*-32001' 0 echo "$said"
same "for a rejection it is read once more" 1 "$(($(reads) - before))"
with ask_two00000000000000 "${asistry[@]}" keys rotate --no-verify --from-env KEY 2>/dev/null
before=$(reads)
ask 52 tools/list
check "a running bridge picks a rotated key up" '"id":52,"result"' 0 echo "$said"
same "… with one more" 1 "$(($(reads) - before))"
same "and the log knows of three" 3 "$(grep -c 'reading the key store' "$scratch/log")"
hang_up

kill "$monitor" "$service"
stop_keyring
exit $failed
