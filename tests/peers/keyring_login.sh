#!/usr/bin/env bash
# A login in gnome-keyring; and without any store, and with the six variables that a desktop client hands on.
# Usage: keyring_login.sh BINARY.
source "$(dirname "$0")/private_bus.sh"

"$PYTHON" "$here/login_service.py" >"$scratch/port" &
until_ 15 test -s "$scratch/port" || { fault "the stand-in did not start"; exit 10; }
origin=http://127.0.0.1:$(cat "$scratch/port")
visit="$PYTHON -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1]).read()'"
printf '#!/bin/sh\necho "$1" >>%q\nexec %s "$1"\n' "$scratch/opened" "$visit" >"$scratch/browser"
chmod +x "$scratch/browser"
export BROWSER=$scratch/browser
asistry=("$binary" --url "$origin/mcp")
count() { "$PYTHON" -c 'import json, sys, urllib.request
print(json.load(urllib.request.urlopen(sys.argv[1]))[sys.argv[2]])' "$origin/count" "$1"; }

# Nothing owns the name of the Secret Service yet.
check "no store: login refuses before a window opens" 'keyring was not found' 4 "${asistry[@]}" login
same "no store: no window was opened" 0 "$(count windows)"
bridge
ask 1 initialize '{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}'
check "no store: the handshake of a bridge is answered" '"protocolVersion":"2025-11-25"' 0 echo "$said"
ask 2 tools/call '{"name":"hello","arguments":{}}'
check "no store: a bridge logs in from memory" 'it works' 0 echo "$said"
check "no store: the bridge says so" 'will end with this process' 0 cat "$scratch/log"
exec 8>&-
wait "$bridge"

start_unlocked_keyring
check "a login is stored in the keyring" 'logged in through' 0 "${asistry[@]}" login
before=$(count windows)
check "another process uses it" 'it works' 0 "${asistry[@]}" call hello
check "whoami names the store" '"store": "keyring"' 0 "${asistry[@]}" whoami --json
same "no other window was opened" "$before" "$(count windows)"
items >"$scratch/items"
check "the login is an item of the keyring" 'v1/mcp/\+login/' 0 cat "$scratch/items"
same "no token is in a file" "" "$(grep -rl marked- "$HOME" "$scratch/log" 2>/dev/null)"
check "keys list does not take it for a key" '' 0 "${asistry[@]}" keys list
secrets /org/freedesktop/secrets Secret.Service.Lock "['/org/freedesktop/secrets/collection/login']" >/dev/null
check "a locked keyring is named" 'keyring is locked' 4 "${asistry[@]}" call hello
stop_keyring
start_unlocked_keyring
check "what is lost in the keyring is logged in anew" 'it works' 0 "${asistry[@]}" call hello
check "logout" 'logged out' 0 "${asistry[@]}" logout
check "there is no login then" 'not logged in' 4 "${asistry[@]}" whoami
check "a login after it uses the same client" 'logged in through' 0 "${asistry[@]}" login
check "logout and forget" 'logged out' 0 "${asistry[@]}" logout --forget-client
same "nothing is left in the keyring" "" "$(items | grep login)"

# What the official clients hand on: no BROWSER, no bus.
six=(env -i HOME="$HOME" LOGNAME=peer PATH="$PATH" SHELL=/bin/sh TERM=dumb USER=peer)
asistry=("${six[@]}" "$binary" --url "$origin/mcp")
bridge
ask 1 initialize '{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}'
ask 2 tools/list
check "six variables: the error has the URL" "open $origin/authorize" 0 echo "$said"
page=$(grep -o "$origin/authorize[^ \"]*" <<<"$said" | head -1)
check "six variables: the URL logs in" '' 0 "$BROWSER" "$page"
ask 3 tools/call '{"name":"hello","arguments":{}}'
check "six variables: the bridge goes on" 'it works' 0 echo "$said"
exec 8>&-
wait "$bridge"

exit $failed
