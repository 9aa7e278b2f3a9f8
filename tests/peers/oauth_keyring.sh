#!/usr/bin/env bash
# OAuth logins in gnome-keyring: the same few checks of tests/peers/oauth.mjs, and nothing left behind after a logout.
# Usage: oauth_keyring.sh BINARY.
source "$(dirname "$0")/private_bus.sh"

start_unlocked_keyring
node "$here/oauth.mjs" "$binary" keyring || failed=10
same "a logout leaves no item" "" "$(items)"
exit "$failed"
