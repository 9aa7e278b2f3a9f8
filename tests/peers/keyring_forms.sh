#!/usr/bin/env bash
# `keys add` for each of the five services, with what people paste: the right key is stored, nothing else leaves a trace.
# Usage: keyring_forms.sh BINARY.
source "$(dirname "$0")/private_bus.sh"

start_unlocked_keyring
start_service
mkdir -p "$HOME/.config/asistry"
printf '[profiles.shop]\nservice = "task-tracking"\nbase_url = "%s"\nworkspace_id = "w1"\n' "$origin" >"$HOME/.config/asistry/config.toml"

# PROFILE, the beginning of its keys, that of another service, whether its keys can be tried.
services="asistry ask_ bsk_ yes
zuko eyJ ask_ yes
shop mcp_live_ ask_ yes
agentstack anon_ask_ bsk_ no
bob-studio bsk_ mcp_live_ yes"
body=0123456789abcdefghij
while read -r profile prefix other tried; do
  printf '%s\n' "$prefix$body" >"$scratch/right"
  printf '%s\n' "$other$body" >"$scratch/wrong prefix"
  printf '%s…abcd\n' "$prefix" >"$scratch/preview"
  printf '\n' >"$scratch/empty line"
  head -c 10240 /dev/zero | tr '\0' x >"$scratch/10 KB of garbage"
  head -c 300 /dev/urandom >"$scratch/binary blob" && printf '\xff\xfe' >>"$scratch/binary blob"
  cp "$scratch/right" "$accepted"
  asistry=("$binary" -p "$profile" --url "$url")
  [[ $profile != shop ]] || asistry=("$binary" -p shop) # its endpoint is of the configuration
  : >"$requests"
  for bad in "wrong prefix:begin with" "preview:masked preview" "empty line:is empty" "10 KB of garbage:longer than any key" "binary blob:binary, not text"; do
    file=${bad%%:*}
    for way in --from-file --stdin; do
      from=("$way") && [[ $way == --stdin ]] || from+=("$scratch/$file")
      check "$profile: $way: $file is refused" "${bad#*:}" 2 "${asistry[@]}" keys add --no-verify "${from[@]}" <"$scratch/$file"
      [[ $said != *"$body"* ]] || fault "$profile: the message repeats what was pasted" "$said"
    done
  done
  check "$profile: what is no key cannot be forced" 'longer than any key' 2 "${asistry[@]}" keys add --no-verify --force --from-file "$scratch/10 KB of garbage"
  same "$profile: nothing is listed, stored or sent" "" "$(list name)$(items)$(cat "$requests")"
  if [[ $tried == yes ]]; then
    check "$profile: the right key is tried and stored" 'it works: 1 tools' 0 "${asistry[@]}" keys add --from-file "$scratch/right"
  else
    check "$profile: the right key is stored, untried" 'NOT TRIED' 0 "${asistry[@]}" keys add --from-file "$scratch/right"
  fi
  item=$(list profile,item | sed -n "s/^$profile //p")
  same "$profile: secret-tool reads it" "$prefix$body" "$(got "$item")"
  same "$profile: nothing else is there" "$item" "$(items)"
  check "$profile: … and removes it" "removed $profile/default" 0 "${asistry[@]}" keys remove --yes
  same "$profile: nothing is left" "" "$(list name)$(items)"
done <<<"$services"

kill "$service"
stop_keyring
exit $failed
