#!/bin/sh
# Prints the table of docs/durability.md: ejabberd, Prosody and Sabir, each with archive and stream management on, are killed
# (SIGKILL) under the same clients, and what they had acknowledged is looked for.
#
#   bench/peers/peer.sh install      once, on Debian
#   scripts/durability.sh [KILLS [flags of go test]]      10 kills of each; a quarter of an hour
#
# As root in a network namespace of its own, where every port is free and nothing but loopback is there.
set -eu
cd "$(dirname "$0")/.."
[ -x bin/sabir ] || { echo "durability: bin/sabir is missing: make build" >&2; exit 1; }
kills=10
case ${1:-} in
[0-9]*)
	kills=$1
	shift
	;;
esac
export SABIR_PEERS=1
run="go test -count=1 -timeout $((10 + kills * 3))m -v -run TestPeers $* ./internal/interop/crash -args -kills $kills"
if [ "$(id -u)" = 0 ] && unshare -n true 2>/dev/null; then
	exec unshare -n sh -c 'ip link set lo up && exec "$@"' durability $run
fi
exec $run
