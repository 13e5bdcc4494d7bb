#!/bin/sh
# s2s-peers.sh: Sabir against Prosody and ejabberd, as servers.
#
#   scripts/s2s-peers.sh [flags of go test, such as -run TestPeers/prosody -v]
#
# Needs root, for a mount namespace in which /etc/resolv.conf names the DNS server of the test (127.0.53.53:53), and
# Debian's packages, which `bench/peers/peer.sh install` installs. It stays on loopback and writes to temporary folders.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "s2s-peers: it needs root" >&2; exit 1; }
for program in prosody erl unshare setpriv; do
	command -v "$program" >/dev/null || { echo "s2s-peers: $program is missing: bench/peers/peer.sh install" >&2; exit 1; }
done
[ $# -gt 0 ] || set -- -run 'TestPeers'
SABIR_S2S_PEERS=1 exec go test ./internal/s2s -count=1 -timeout "${PEERS_TIMEOUT:-15m}" "$@"
