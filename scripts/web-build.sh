#!/bin/sh
# web-build.sh: puts the web client together (web/client/dist), from npm's
# packages as the lock file names them. Does nothing when nothing changed since.
# Never fails the build: without Node.js or the registry it says so, and the
# server is built with a page in the client's place.
set -u
cd "$(dirname "$0")/../web/client" || exit 0

warn() {
	printf '\nWARNING: the web client was not built: %s\n' "$1" >&2
	if [ -e dist/manifest.json ]; then
		printf '         The build of it that lies in web/client/dist is kept; it may be old.\n\n' >&2
	else
		printf '         The server works without it and says at / how to add it.\n\n' >&2
	fi
	exit 0
}

# What the build depends on, in one line.
inputs() {
	cat package.json package-lock.json .npmrc build.mjs src/* | sha256sum | cut -d' ' -f1
}

now=$(inputs)
if [ -e dist/manifest.json ] && [ "$(cat dist/inputs.sha256 2>/dev/null)" = "$now" ]; then
	exit 0
fi

command -v node >/dev/null 2>&1 || warn 'node is not installed (Node.js 20 or later is needed)'
command -v npm >/dev/null 2>&1 || warn 'npm is not installed'

installed=node_modules/.sabir-lock.sha256
lock=$(cat package.json package-lock.json | sha256sum | cut -d' ' -f1)
if [ "$(cat $installed 2>/dev/null)" != "$lock" ]; then
	log=$(mktemp) || warn 'no temporary file can be made'
	if ! npm ci --ignore-scripts --no-audit --no-fund --fetch-retries=1 --fetch-timeout=60000 >"$log" 2>&1; then
		tail -n 5 "$log" >&2
		rm -f "$log"
		warn 'npm ci failed (is the npm registry reachable?)'
	fi
	rm -f "$log"
	echo "$lock" >$installed
fi

node build.mjs || warn 'web/client/build.mjs failed'
echo "$now" >dist/inputs.sha256
