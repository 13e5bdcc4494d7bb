#!/bin/sh
# Real peers: slixmpp, XMPP.js, profanity, go-sendxmpp, Dino, Gajim, Libervia, Psi+ and the web client in Chromium talk through
# bin/sabir; newsboat, feedparser and Chromium read what it shows on the web. As root it has Prosody and ejabberd, too.
#
#   scripts/interop.sh [-update] [flags of go test, such as -run TestPairs -v]
#
# -update takes the pictures of docs/images anew. SABIR_INTEROP_FAILED=FOLDER has pictures taken of what fails (Debian: scrot). What
# comes from PyPI and npm is kept in bin/interop, as testdata/agents pins it; the rest comes from Debian (.ci/run names the packages).
set -eu
cd "$(dirname "$0")/.."
agents=internal/interop/testdata/agents
cache=$(pwd)/bin/interop

missing=
for p in libervia-backend psi-plus gajim profanity go-sendxmpp dino-im Xvfb xdotool dbus-run-session sqlite3 tmux newsboat openssl certutil python3 node npm; do
	command -v $p >/dev/null 2>&1 || missing="$missing $p"
done
SABIR_INTEROP_CHROMIUM=${SABIR_INTEROP_CHROMIUM:-$(command -v chromium || true)}
[ -n "$SABIR_INTEROP_CHROMIUM" ] || missing="$missing chromium"
if [ -n "$missing" ]; then
	echo "interop: these programs are missing:$missing" >&2
	echo "interop: Debian: apt-get install newsboat python3-feedparser profanity go-sendxmpp dino-im libervia-backend python3-dbus python3-gi python3-markdown python3-html2text psi-plus libsasl2-modules gajim xvfb xdotool dbus sqlite3 tmux openssl libnss3-tools python3 python3-venv chromium, and Node.js 20" >&2
	exit 1
fi
[ -x bin/sabir ] || { echo "interop: bin/sabir is missing: make build" >&2; exit 1; }

# fresh STAMP FILE...: whether the cache was made of these files.
fresh() {
	stamp=$1
	shift
	now=$(cat "$@" | sha256sum | cut -d' ' -f1)
	[ "$(cat "$stamp" 2>/dev/null)" = "$now" ]
}

mkdir -p "$cache/node"
if ! fresh "$cache/venv/.made" $agents/requirements.txt; then
	rm -rf "$cache/venv"
	python3 -m venv "$cache/venv"
	"$cache/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r $agents/requirements.txt
	echo "$now" >"$cache/venv/.made"
fi
if ! fresh "$cache/node/.made" $agents/package.json $agents/package-lock.json $agents/.npmrc; then
	cp $agents/package.json $agents/package-lock.json $agents/.npmrc "$cache/node/"
	(cd "$cache/node" && npm ci --silent)
	echo "$now" >"$cache/node/.made"
fi

export SABIR_INTEROP=1 SABIR_INTEROP_CHROMIUM
export SABIR_INTEROP_PYTHON="$cache/venv/bin/python" SABIR_INTEROP_NODE="$cache/node"
update=
if [ "${1:-}" = -update ]; then
	update=-update
	shift
fi
exec go test ./internal/interop -count=1 -timeout "${INTEROP_TIMEOUT:-15m}" "$@" ${update:+-args $update}
