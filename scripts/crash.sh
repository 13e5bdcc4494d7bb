#!/bin/sh
# The server is killed (SIGKILL) under chatting clients, at random and at each named crash point, again and again; what it had
# acknowledged must be there afterwards, once and in order. On SQLite, and on PostgreSQL where one is installed.
#
#   scripts/crash.sh [KILLS [flags of go test, such as -v or -run TestMessages]]
#
# KILLS (25) is how often it is killed under messages, on each database; a fifth of that under rosters, subscriptions and
# passwords. docs/durability.md tells what is looked for.
set -eu
cd "$(dirname "$0")/.."
[ -x bin/sabir ] || { echo "crash: bin/sabir is missing: make build" >&2; exit 1; }
kills=25
case ${1:-} in
[0-9]*)
	kills=$1
	shift
	;;
esac
export SABIR_CRASH=1
run="go test -count=1 -timeout $((10 + kills / 2))m $* ./internal/interop/crash -args -kills $kills -rounds $(((kills + 4) / 5))"
if [ -n "${SABIR_TEST_POSTGRES:-}" ]; then
	exec $run
fi
for d in "${PG_BIN:-}" $(ls -d /usr/lib/postgresql/*/bin /usr/local/pgsql/bin 2>/dev/null || true); do
	if [ -x "$d/initdb" ]; then
		exec sh scripts/postgres-test.sh run $run
	fi
done
if [ -n "${CI:-}" ]; then
	echo "crash: CI runs on PostgreSQL too: install it (Debian: apt-get install postgresql)" >&2
	exit 1
fi
echo "crash: no PostgreSQL is installed, so on SQLite only"
exec $run
