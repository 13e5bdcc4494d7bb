#!/bin/sh
# The server is killed (SIGKILL) under 200 chatting clients, again and again; what it had acknowledged must be there afterwards.
# On SQLite, and on PostgreSQL where one is installed.
#
#   scripts/crash.sh [ROUNDS [flags of go test, such as -v]]
set -eu
cd "$(dirname "$0")/.."
[ -x bin/sabir ] || { echo "crash: bin/sabir is missing: make build" >&2; exit 1; }
rounds=5
case ${1:-} in
[0-9]*)
	rounds=$1
	shift
	;;
esac
export SABIR_CRASH=1
run="go test -count=1 -timeout $((5 + rounds))m $* ./internal/interop/crash -args -rounds $rounds"
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
