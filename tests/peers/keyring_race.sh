#!/usr/bin/env bash
# Two processes add and rotate keys at the same moment, while others read: no key is lost, no reader finds none.
# Usage: keyring_race.sh BINARY.
source "$(dirname "$0")/private_bus.sh"

rounds=20
start_service
asistry=("$binary" -p asistry --url "$url")

# write WHO: in each round a key of its own name, one of a name that the other wants too, a rotation of the key in use.
# What a command reported as stored is in $scratch/stored.WHO as "NAME KEY".
write() {
  local who=$1 n key
  for ((n = 1; n <= rounds; n++)); do
    printf -v key 'ask_%s_%015d' "$who" "$n"
    reported "own-$who-$n" add "$key" --name "own-$who-$n"
    if add "$key" --name "both-$n" >"$scratch/said.$who" 2>&1; then
      echo "both-$n $key"
    elif ! grep -qE "another process has just stored|there is a key .* already" "$scratch/said.$who"; then
      echo "! $(cat "$scratch/said.$who")"
    fi
    reported default rotate "$key" --name default
  done >"$scratch/stored.$who"
}
reported() { # reported NAME COMMAND KEY …
  local name=$1
  shift
  if "$@" >"$scratch/said.$who" 2>&1; then echo "$name $2"; else echo "! $name: $(cat "$scratch/said.$who")"; fi
}
# read_all: until $scratch/done is there; a line for each look, "ok" or what was wrong.
read_keys() {
  local said
  until [[ -e $scratch/done ]]; do
    said=$(reveal --name default)
    [[ $said =~ ^ask_[0-9a-z_]*$ ]] && echo ok || echo "keys show: $said"
    said=$("$binary" keys list --json 2>&1) && [[ $said == *'"default"'* ]] && echo ok || echo "keys list: $said"
  done
}
read_by_bridge() {
  local said
  until [[ -e $scratch/done ]]; do
    said=$(echo '{"jsonrpc":"2.0","id":1,"method":"tools/list"}' | "${asistry[@]}" bridge --drain 20s 2>&1)
    [[ $said == *'"id":1,"result"'* ]] && echo ok || echo "bridge: $said"
  done
}
looks() { # looks NAME FILE: all were ok, and there were some
  local bad
  bad=$(grep -v '^ok$' "$2" | sort | uniq -c | head -5)
  if [[ -n $bad || ! -s $2 ]]; then fault "$1" "${bad:-nobody looked}"; else passed "$1: $(grep -c ok "$2") looks"; fi
}

race() { # race STORE
  local who n name key first last
  rm -rf "$HOME/.local" "$scratch/done"
  add ask_first_000000000000000 --name default 2>/dev/null || fault "$1: the first key is not stored"
  { echo ask_first_000000000000000; for who in a b; do for ((n = 1; n <= rounds; n++)); do printf 'ask_%s_%015d\n' $who "$n"; done; done; } >"$accepted"
  write a & first=$!
  write b & last=$!
  read_keys >"$scratch/looks" & readers=$!
  read_by_bridge >"$scratch/bridges" & bridges=$!
  wait "$first" "$last"
  touch "$scratch/done"
  wait "$readers" "$bridges"
  same "$1: what was to be stored was" "" "$(grep -h '^!' "$scratch/stored".[ab] | head -5)"
  same "$1: each name went to one of the two" "$rounds" "$(grep -hc '^both-' "$scratch/stored".[ab] | paste -sd+ | bc_)"
  same "$1: the list knows them all" "$((3 * rounds + 1))" "$(list name | sort -u | wc -l)"
  local wrong=""
  while read -r name key; do
    [[ $name == default ]] || [[ $(reveal --name "$name") == "$key" ]] || wrong+="$name: $(reveal --name "$name") instead of $key"$'\n'
  done < <(cat "$scratch/stored".[ab])
  same "$1: each has the value that was reported" "" "$wrong"
  key=$(reveal --name default)
  if grep -qx "default $key" <(tail -qn1 "$scratch/stored".[ab]); then
    passed "$1: the rotated key is one of the two that came last"
  else
    fault "$1: the rotated key is $key" "$(tail -qn1 "$scratch/stored".[ab])"
  fi
  looks "$1: keys show and keys list always find the key" "$scratch/looks"
  looks "$1: a bridge always finds the key" "$scratch/bridges"
}
bc_() { read -r sum && echo $((sum)); }

start_unlocked_keyring
race keyring
same "keyring: nothing is left over" "" "$(leftovers)"
# More than one in flight, and the list still tells what is there.
same "keyring: as many items as keys" "$((3 * rounds + 1))" "$(items | wc -l)"
stop_keyring

export ASISTRY_KEY_STORE=file ASISTRY_KEY_PASSPHRASE="a passphrase"
race file
same "file: nothing is left over" "" "$(find "$HOME" -name '.asistry-*')"
exit $failed
