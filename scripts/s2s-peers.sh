#!/bin/sh
# s2s-peers.sh: Sabir against Prosody and ejabberd, as servers.
#
#   scripts/s2s-peers.sh [flags of go test, such as -run TestPeers/prosody -v, or -short for fewer messages]
#
# Needs root, for a network namespace in which there is nothing but loopback, so that the DNS server of the test can have
# 127.0.53.53:53, and for mount namespaces in which /etc/resolv.conf names it; and Debian's packages, which
# `bench/peers/peer.sh install` installs. Where that cannot be had it says so; in CI that is an error.
set -eu
cd "$(dirname "$0")/.."
cannot() {
	echo "s2s-peers: skipped: $1" >&2
	[ -z "${CI:-}" ] || exit 1
	exit 0
}
[ "$(id -u)" = 0 ] || cannot "it needs root"
for program in prosody erl unshare setpriv ip; do
	command -v "$program" >/dev/null || cannot "$program is missing: bench/peers/peer.sh install"
done
unshare -n -m ip link set lo up 2>/dev/null || cannot "namespaces cannot be made here"
case " $* " in *" -run"*) ;; *) set -- -run TestPeers "$@" ;; esac
SABIR_S2S_PEERS=1 exec go test ./internal/s2s -count=1 -timeout "${PEERS_TIMEOUT:-15m}" \
	-exec "unshare -n -m sh -c 'ip link set lo up && exec \"\$@\"' sh" "$@"
