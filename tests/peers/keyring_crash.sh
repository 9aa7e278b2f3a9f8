#!/usr/bin/env bash
# Killed at every write: before each message to the keyring, each replaced file, each fsync, of every command that changes keys.
# Afterwards the old state or the new one holds, and ordinary commands go on from there. Usage: keyring_crash.sh BINARY.
source "$(dirname "$0")/private_bus.sh"

start_service
asistry=("$binary" -p asistry --url "$url")
points=0
serial=0
processor=$(taskset -cp $$ | sed 's/.*: //; s/[-,].*//')
fresh() { printf -v new 'ask_%020d' $((++serial)); } # a key that was never there, in $new
# sent: the key that a call sends; the service refuses them all.
sent() {
  : >"$requests"
  "${asistry[@]}" call x >/dev/null 2>&1
  sed -n 's/^initialize \(.*\) refused/\1/p' "$requests"
}

# each_kill NAME SYSCALLS PREPARE AFTERWARDS COMMAND…: kills the command before its 1st, 2nd, … of these system calls, until it has
# no more of them. PREPARE runs before each, AFTERWARDS after each kill; it prints what is wrong. CALL@FILE means calls on that file.
# strace counts the calls of each thread for itself: a run that survived because they were shared out otherwise is repeated,
# $patience times.
each_kill() {
  local name=$1 calls=$2 prepare=$3 afterwards=$4 killed=0 missed=0 wrong="" call only n tries status all
  shift 4
  for call in ${calls//,/ }; do
    only=()
    [[ $call != *@* ]] || only=(-P "$HOME/.local/share/asistry/${call#*@}")
    call=${call%@*}
    for ((n = 1, tries = 1; n < 200; )); do
      $prepare >/dev/null
      odd=$((n % 2))
      # One processor: then the threads of the key store are mostly one.
      KEY=$new timeout 20 sh -c '"$@"; exit $?' sh taskset -c "$processor" strace -f -qq -o "$scratch/trace" -e trace="$call" \
        "${only[@]}" -e inject="$call:signal=KILL:when=$n" "$@" >/dev/null 2>&1
      status=$?
      if [[ $status == 137 ]]; then
        wrong+=$($afterwards 2>&1 | sed "s/^/$call $n: /")
        killed=$((killed + 1)) n=$((n + 1)) tries=1
        continue
      fi
      [[ $status == 0 ]] || { wrong+="$call $n: left alone it ends with $status"; break; }
      $afterwards >/dev/null # whatever a command that survived did
      all=$(grep -c "$call(" "$scratch/trace")
      ((n <= all && patience > 0)) || break
      ((tries++ < patience)) || { missed=$((missed + 1)) n=$((n + 1)) tries=1; }
    done
  done
  if ((killed == 0)); then
    fault "$name: nothing was killed"
  elif [[ -n $wrong ]]; then
    fault "$name" "$wrong"
  else
    passed "$name: killed at $killed points$( ((missed == 0)) || echo ", not at $missed")"
  fi
  points=$((points + killed))
}
is() { [[ $2 == "$3" ]] || echo "$1: expected $2, got $3"; }
either() { [[ $2 == "$3" || $2 == "$4" ]] || echo "$1: expected $3 or $4, got $2"; }
quiet() { "$@" >/dev/null 2>&1 || echo "$* ended with $?"; }
# An origin that a key is bound to has a mark in the store beside the key.
clean() { is "after $1 nothing is left over" "" "$(leftovers | grep -v -e '+bound/' -e '^[0-9,]*d[0-9,]*$')"; }
# There is a profile whose keys have nothing to do with all this; storing one there is the ordinary command that cleans up.
other=("$binary" -p bob-studio)
ordinary() {
  KEY=bsk_1 quiet "${other[@]}" keys add --no-verify --from-env KEY
  rotating || clean "an ordinary command" # a new key that waits is no leftover
  quiet "${other[@]}" keys remove --yes
}
empty() { "${asistry[@]}" keys remove --yes >/dev/null 2>&1; fresh; }
none='asistry: there is no stored key asistry/default'
stored() { reveal "$@" | head -1; }

# ---- add ----

after_first_add() {
  either "the key" "$(stored)" "$new" "$none"
  [[ $(stored) == "$new" ]] || quiet add "$new"
  is "the key after a second try" "$new" "$(stored)"
  clean "a second try"
}
after_lone_add() {
  either "the key" "$(stored)" "$new" "$none"
  ordinary
}
with_old() { fresh; old=$new; "${asistry[@]}" keys remove --yes --name b 2>/dev/null; [[ $(stored) == ask_* ]] || add "$old" 2>/dev/null; old=$(stored); fresh; }
after_second_add() {
  is "the key in use" "$old" "$(stored)"
  [[ $(stored --name b) == "$new" ]] || quiet add "$new" --name b
  is "the second key" "$new" "$(stored --name b)"
  is "the key in use" "$old" "$(stored)"
  clean "a second try"
}

# ---- rotate ----

rotating() { [[ $("$binary" keys list --jq 'any(.[]; .rotationInterrupted)') == true ]]; }
after_rotate() {
  local now
  now=$(stored)
  either "the key" "$now" "$old" "$new"
  is "the key that is sent" "$now" "$(sent)"
  if rotating; then
    is "the key of an interrupted rotation" "$old" "$now"
    ordinary # which leaves the rotation alone
    rotating || echo "an ordinary command ended the rotation"
    if ((odd)); then
      if "${asistry[@]}" keys rotate --resume --no-verify 2>"$scratch/said"; then
        is "the key after --resume" "$new" "$(stored)"
      else
        grep -q 'was not stored yet' "$scratch/said" || cat "$scratch/said"
        is "the key after --resume of nothing" "$old" "$(stored)"
      fi
    else
      "${asistry[@]}" keys rotate --undo 2>/dev/null || echo "--undo failed"
      is "the key after --undo" "$old" "$(stored)"
    fi
  fi
  ordinary
  rotating && echo "a rotation is still open"
  quiet rotate "${new}1"
  is "the key of the next rotation" "${new}1" "$(stored)"
  clean "the next rotation"
}
# A rotation whose service cannot say yes or no waits for its end.
staged() {
  with_old
  echo GONE >"$accepted"
  with "$new" "${asistry[@]}" keys rotate --from-env KEY 2>/dev/null
  : >"$accepted"
  rotating || fault "no rotation waits" >&2
}
after_undo() {
  is "the key" "$old" "$(stored)"
  rotating && quiet "${asistry[@]}" keys rotate --undo
  is "the key after --undo" "$old" "$(stored)"
  ordinary
}
after_resume() {
  either "the key" "$(stored)" "$old" "$new"
  if rotating; then
    is "the key before --resume" "$old" "$(stored)"
    quiet "${asistry[@]}" keys rotate --resume --no-verify
  fi
  is "the key after --resume" "$new" "$(stored)"
  ordinary
}

# ---- use, bind, remove ----

two() {
  with_old
  add "$new" --name b 2>/dev/null
  "${asistry[@]}" keys use default 2>/dev/null
}
after_use() {
  either "the key" "$(stored)" "$old" "$new"
  quiet "${asistry[@]}" keys use b
  is "the key after a second try" "$new" "$(stored)"
  ordinary
}
after_bind() {
  is "the key" "$old" "$(stored)"
  quiet "${asistry[@]}" keys bind http://127.0.0.1:10 --yes
  is "the bound origin" "['http://127.0.0.1:10']" "$(list name,boundTo | sed -n 's/^default //p')"
  ordinary
}
unbound() { "${asistry[@]}" keys remove --yes 2>/dev/null; with_old; }
after_remove() {
  either "the key" "$(stored)" "$old" "$none"
  # The list decides: a key that was removed is not used, even where its item is still there.
  if [[ $(stored) == "$none" ]]; then
    is "the key that is sent, of none" "" "$(sent)"
    ((odd)) && "${asistry[@]}" keys remove --yes >/dev/null 2>&1
  else
    is "the key that is sent" "$old" "$(sent)"
    quiet "${asistry[@]}" keys remove --yes
  fi
  is "the key after a second try" "$none" "$(stored)"
  ordinary
}

# Each of these with the system calls to be killed at.
add_first() { each_kill "$store: add of a first key, and once more" "$1" empty after_first_add "${asistry[@]}" keys add --no-verify --from-env KEY; }
add_lone() { each_kill "$store: add of a first key, then another command" "$1" empty after_lone_add "${asistry[@]}" keys add --no-verify --from-env KEY; }
add_second() { each_kill "$store: add of a second key" "$1" with_old after_second_add "${asistry[@]}" keys add --no-verify --from-env KEY --name b; }
rotate_() { each_kill "$store: rotate" "$1" with_old after_rotate "${asistry[@]}" keys rotate --no-verify --from-env KEY; }
resume() { each_kill "$store: rotate --resume" "$1" staged after_resume "${asistry[@]}" keys rotate --resume --no-verify; }
undo() { each_kill "$store: rotate --undo" "$1" staged after_undo "${asistry[@]}" keys rotate --undo; }
use() { each_kill "$store: use" "$1" two after_use "${asistry[@]}" keys use b; "${asistry[@]}" keys remove --yes --name b 2>/dev/null; }
bind_() { each_kill "$store: bind" "$1" unbound after_bind "${asistry[@]}" keys bind http://127.0.0.1:10 --yes; }
remove() { each_kill "$store: remove" "$1" with_old after_remove "${asistry[@]}" keys remove --yes; }

start_unlocked_keyring
store=keyring patience=5
for command in add_lone add_second rotate_ resume undo remove; do $command renameat,fsync,sendmsg; done
for command in add_first use bind_; do $command renameat,fsync; done
"${asistry[@]}" keys remove --yes 2>/dev/null
same "nothing is left in the keyring" "" "$(items)"
stop_keyring

# The encrypted file costs a fifth of a second each time: fewer points. Its own later renames are out of the reach of
# strace's counting, but before each of them the disk is as it is at the fsync of the list before it.
store=file patience=0
export ASISTRY_KEY_STORE=file ASISTRY_KEY_PASSPHRASE="a passphrase"
for command in add_lone resume undo remove; do $command renameat,renameat@keys.enc; done
rotate_ renameat,fsync,renameat@keys.enc
same "no temporary file is left" "" "$(find "$HOME" -name '.asistry-*')"
passed "all in all $points points"
exit $failed
