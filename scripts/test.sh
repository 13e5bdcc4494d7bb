#!/bin/sh
# All tests, shuffled. With the race detector where there is a C compiler, which it needs; on PostgreSQL too where one is
# installed (or where SABIR_TEST_POSTGRES names one). In CI both are asked for.
set -eu
cd "$(dirname "$0")/.."

race=
if [ "$(go env CGO_ENABLED)" != 0 ] && command -v "$(go env CC | cut -d' ' -f1)" >/dev/null 2>&1; then
	race=-race
elif [ -n "${CI:-}" ]; then
	echo "test: CI runs with the race detector: install a C compiler (Debian: apt-get install gcc libc6-dev)" >&2
	exit 1
else
	echo "test: no C compiler, so without the race detector"
fi

run="go test $race -shuffle=on -timeout ${TEST_TIMEOUT:-40m} ./..."
if [ -n "${SABIR_TEST_POSTGRES:-}" ]; then
	exec $run
fi
for d in "${PG_BIN:-}" $(ls -d /usr/lib/postgresql/*/bin /usr/local/pgsql/bin 2>/dev/null || true); do
	if [ -x "$d/initdb" ]; then
		exec sh scripts/postgres-test.sh run $run
	fi
done
if [ -n "${CI:-}" ]; then
	echo "test: CI runs on PostgreSQL too: install it (Debian: apt-get install postgresql)" >&2
	exit 1
fi
echo "test: no PostgreSQL is installed, so on SQLite only"
exec $run
