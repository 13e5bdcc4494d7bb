#!/usr/bin/env bash
# What a newcomer does, in a clean clone: `make run` must print the web client's address and two accounts within two minutes,
# downloads included, and they must be able to chat. Then the same for a person who has only the binaries.
#
#   scripts/fresh-clone.sh          the clone has an empty home; Go's and npm's caches stay as they are
#   FRESH=1 scripts/fresh-clone.sh  with empty caches: everything is downloaded
#
# It clones HEAD: what is not committed is not tried. The ports are those of `make run` (5222, 5223, 5443 …), which must be free.
set -euo pipefail
cd "$(dirname "$0")/.."
source=$(pwd)
# As everybody else has them: not the settings of this repository's machine.
modcache=$(go env GOMODCACHE) gocache=$(go env GOCACHE) gopath=$(go env GOPATH)
npmcache=$(npm config get cache 2>/dev/null || true)

tmp=$(mktemp -d "${TMPDIR:-/tmp}/sabir-fresh.XXXXXX")
pids=()
finish() {
	code=$?
	# Each is the leader of a group of its own, in which its compilers and the server are.
	for p in "${pids[@]}"; do
		kill -- "-$p" 2>/dev/null || kill "$p" 2>/dev/null || true
	done
	for p in "${pids[@]}"; do
		wait "$p" 2>/dev/null || true
	done
	if [ $code -ne 0 ]; then
		echo "fresh-clone: FAILED; what was printed:" >&2
		tail -n 40 "$tmp"/*.out "$tmp"/*.err >&2 2>/dev/null || true
	fi
	# Go's module cache is not writable.
	chmod -R u+w "$tmp" 2>/dev/null || true
	rm -rf "$tmp" || { sleep 2 && rm -rf "$tmp"; } || true
	exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM

die() { echo "fresh-clone: $*" >&2; exit 1; }
say() { echo "fresh-clone: $* ($SECONDS s)"; }

mkdir "$tmp/home"
export HOME="$tmp/home" XDG_CONFIG_HOME="$tmp/home/.config" XDG_CACHE_HOME="$tmp/home/.cache" XDG_DATA_HOME="$tmp/home/.local/share"
if [ -n "${FRESH:-}" ]; then
	unset GOPATH GOMODCACHE GOCACHE
else
	export GOPATH=$gopath GOMODCACHE=$modcache GOCACHE=$gocache
	[ -z "$npmcache" ] || export npm_config_cache=$npmcache
fi

# In CI the checkout may belong to another user, whom git has to be told to trust.
printf '[safe]\n\tdirectory = *\n' >"$tmp/gitconfig"
GIT_CONFIG_GLOBAL="$tmp/gitconfig" git clone -q "file://$source" "$tmp/sabir"
cd "$tmp/sabir"
say "cloned $(git log -1 --format='%h %s')"

# await FILE PATTERN SECONDS PID: until the pattern stands in the file.
await() {
	local end=$((SECONDS + $3))
	until grep -q "$2" "$1" 2>/dev/null; do
		kill -0 "$4" 2>/dev/null || die "the process has ended before it printed $2"
		[ $SECONDS -lt $end ] || die "no $2 within $3 s"
		sleep 0.2
	done
}

# 1. make run. Jobs get groups of their own.
set -m
make run >"$tmp/run.out" 2>"$tmp/run.err" &
make_pid=$!
pids+=($make_pid)
await "$tmp/run.out" 'End it with' 120 $make_pid
# make's child is the server: it is stopped by its own id, and make ends with it.
server=$(pgrep -P $make_pid -f 'bin/sabir local' | head -n 1)
[ -n "$server" ] || die "make has no child that is the server"
took=$SECONDS
[ $took -le 120 ] || die "make run took $took s"
url=$(sed -n 's/^  web client  *//p' "$tmp/run.out")
c2s=$(sed -n 's/^ *c2s  *//p' "$tmp/run.out")
mapfile -t accounts < <(sed -n 's/^ *\([^ ]*@localhost\)  *\([^ ]*\).*/\1:\2/p' "$tmp/run.out")
[ -n "$url" ] && [ -n "$c2s" ] && [ ${#accounts[@]} -eq 2 ] || die "make run has not printed an address and two accounts"
say "make run: $url, ${accounts[0]%%:*} and ${accounts[1]%%:*}"

# Two minutes include what a newcomer does next: to open the page and to chat.
ca=sabir-local/certificates/ca.crt
page() { curl -fsS --max-time 10 --cacert "$ca" "$1"; }
page "$url" >"$tmp/index.html"
grep -qi 'converse' "$tmp/index.html" || die "$url is not the web client (is npm reachable?)"
page "${url}client-config.json" | grep -q '"domain":"localhost"' || die "client-config.json is not right"
page "${url}app.js" >/dev/null
page "${url}.well-known/host-meta.json" | grep -q 'wss://' || die "host-meta.json names no WebSocket"
say "the web client is served"

cat >"$tmp/chat.xt" <<'EOF'
# Two people chat
# spec: RFC 6121 §5

[Client] Amina
	jid: amina@localhost/quay
	password: password

[Client] Jonas
	jid: jonas@localhost/ship
	password: password

-----

Amina connects

Amina sends:
	<presence/>

Amina receives:
	<presence from="${Amina's full JID}"/>

Jonas connects

Jonas sends:
	<message to="${Amina's JID}" type='chat' id='1'><body>Good morning!</body></message>

Amina receives:
	<message from="${Jonas's full JID}" to="${Amina's JID}" type='chat' id='1'><body>Good morning!</body></message>

Amina sends:
	<message to="${Jonas's full JID}" type='chat' id='2'><body>Good morning, Jonas.</body></message>

Jonas receives:
	<message from="${Amina's full JID}" to="${Jonas's full JID}" type='chat' id='2'><body>Good morning, Jonas.</body></message>

Jonas disconnects

Amina disconnects
EOF
for transport in tcp websocket; do
	address=$c2s
	[ $transport = tcp ] || address="wss://${url#https://}xmpp-websocket"
	bin/xt run --domain localhost --address "$address" --transport $transport --ca "$ca" --account "${accounts[0]}" --account "${accounts[1]}" "$tmp/chat.xt"
done
say "the two accounts chat"

kill "$server"
for _ in $(seq 100); do
	kill -0 "$server" 2>/dev/null || break
	sleep 0.1
done
kill -0 "$server" 2>/dev/null && die "the server does not stop"
wait $make_pid && code=0 || code=$?
pids=()
say "stopped, make exits with $code"

# 3. A person who has only the binaries, somewhere else.
mkdir "$tmp/elsewhere"
cp bin/sabir bin/xt "$tmp/elsewhere/"
transcripts=("$tmp/sabir"/mod/ping/testdata/*.xt "$tmp/sabir"/mod/roster/testdata/*.xt "$tmp/sabir"/mod/offline/testdata/*.xt "$tmp/sabir"/internal/xmpptest/testdata/*.xt)
cd "$tmp/elsewhere"
offset=$((3000 + RANDOM % 9000))
./sabir local --dir D --domain example.test --accounts 3 --port-offset $offset --json >"$tmp/local.out" 2>"$tmp/local.err" &
server=$!
pids=("$server")
await "$tmp/local.out" '"pid"' 30 $server
./xt run --json "$tmp/local.out" "${transcripts[@]}" >"$tmp/xt.out" || { grep -A15 '^FAIL' "$tmp/xt.out" >&2; die "transcripts fail"; }
tail -n 1 "$tmp/xt.out"
ran=$(sed -n 's/^\([0-9]*\) passed.*/\1/p' "$tmp/xt.out")
[ "$ran" -ge 5 ] || die "only $ran transcripts ran"
kill "$server"
wait "$server" || die "sabir local exits with $?"
pids=()
say "done"
