#!/bin/sh
# A throw-away PostgreSQL server for tests, on a unix socket and a free loopback port.
#
#   scripts/postgres-test.sh start [DIR]   makes and starts it, prints its URL (for SABIR_TEST_POSTGRES) on stdout
#   scripts/postgres-test.sh stop DIR|URL  stops it by its process id and deletes its files
#   scripts/postgres-test.sh run CMD...    starts it, runs CMD with SABIR_TEST_POSTGRES set, stops it; exits as CMD did
#
# DIR is made with mktemp unless it is given; it must not exist. PostgreSQL does not run as root: root hands it to the
# user postgres. The binaries come from PG_BIN, PATH, or where Debian puts them. The server is as durable as one in
# production, so that what is measured on it counts; PG_FAST=1 switches the disk off.
set -eu

die() { echo "postgres-test: $*" >&2; exit 1; }

find_bin() {
	if [ -n "${PG_BIN:-}" ]; then echo "$PG_BIN"; return; fi
	if command -v initdb >/dev/null 2>&1; then dirname "$(command -v initdb)"; return; fi
	for d in $(ls -d /usr/lib/postgresql/*/bin /usr/local/pgsql/bin /opt/homebrew/opt/postgresql*/bin 2>/dev/null | sort -V -r); do
		if [ -x "$d/initdb" ]; then echo "$d"; return; fi
	done
	die "no PostgreSQL found: install it (Debian: apt-get install postgresql) or set PG_BIN to the folder of initdb"
}

# As the unprivileged user.
as_user() {
	if [ "$(id -u)" -ne 0 ]; then "$@"; return; fi
	id postgres >/dev/null 2>&1 || die "run as root it needs the user postgres"
	if command -v setpriv >/dev/null 2>&1; then
		setpriv --reuid=postgres --regid="$(id -g postgres)" --clear-groups -- "$@"
	else
		runuser -u postgres -- "$@"
	fi
}

start() {
	bin=$(find_bin)
	if [ $# -gt 0 ]; then
		dir=$1
		mkdir -m 700 "$dir" || die "$dir must be a new folder"
		dir=$(cd "$dir" && pwd)
	else
		dir=$(mktemp -d "${TMPDIR:-/tmp}/sabir-pg.XXXXXX")
	fi
	if [ "$(id -u)" -eq 0 ]; then chown postgres: "$dir"; fi
	# A socket's path has room for about 100 bytes.
	[ ${#dir} -lt 80 ] || die "$dir is too long for a socket"
	cd "$dir"
	as_user "$bin/initdb" -D "$dir/data" -U sabir -A trust --no-locale -E UTF8 >"$dir/initdb.log" 2>&1 ||
		{ cat "$dir/initdb.log" >&2; die "initdb failed"; }
	{
		echo "unix_socket_directories = '$dir'"
		echo "listen_addresses = '127.0.0.1'"
		echo "max_connections = 200"
		echo "shared_buffers = 128MB"
		if [ -n "${PG_FAST:-}" ]; then printf 'fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n'; fi
	} >>"$dir/data/postgresql.conf"
	# Nobody reserves a port: take one at random, and another if it is taken.
	for try in 1 2 3 4 5 6 7 8 9 10; do
		port=$(od -An -N2 -tu2 /dev/urandom | tr -d ' ')
		port=$((20000 + port % 20000))
		if as_user "$bin/pg_ctl" -D "$dir/data" -s -w -t 60 -l "$dir/server.log" -o "-p $port" start >/dev/null 2>&1; then
			echo "postgres://sabir@127.0.0.1:$port/postgres?sslmode=disable"
			echo "postgres://sabir@127.0.0.1:$port/postgres?sslmode=disable" >"$dir/url"
			echo "postgres-test: stop it with: $0 stop $dir" >&2
			return
		fi
		grep -q "could not bind\|Address already in use" "$dir/server.log" || break
	done
	cat "$dir/server.log" >&2
	die "the server did not start"
}

stop() {
	[ $# -eq 1 ] || die "stop needs the folder or the URL that start printed"
	dir=$1
	case $dir in
	postgres*)
		dir=$(grep -lFx "$1" "${TMPDIR:-/tmp}"/sabir-pg.*/url 2>/dev/null | head -n 1)
		[ -n "$dir" ] || die "no server of $1 under ${TMPDIR:-/tmp}"
		dir=$(dirname "$dir")
		;;
	esac
	[ -f "$dir/data/PG_VERSION" ] || die "$dir is no folder of this script"
	if [ -f "$dir/data/postmaster.pid" ]; then
		pid=$(head -n 1 "$dir/data/postmaster.pid")
		kill -INT "$pid" 2>/dev/null || true # fast shutdown
		i=0
		while kill -0 "$pid" 2>/dev/null; do
			i=$((i + 1))
			if [ $i -eq 100 ]; then kill -QUIT "$pid"; fi
			if [ $i -gt 150 ]; then die "process $pid does not end"; fi
			sleep 0.1
		done
	fi
	rm -rf "$dir"
}

run() {
	[ $# -gt 0 ] || die "run needs a command"
	back=$(pwd)
	dir=$(mktemp -u "${TMPDIR:-/tmp}/sabir-pg.XXXXXX")
	trap 'cd "$back"; if [ -d "$dir" ]; then stop "$dir"; fi' EXIT
	trap 'exit 130' INT TERM
	start "$dir" >/dev/null
	SABIR_TEST_POSTGRES=$(cat "$dir/url")
	export SABIR_TEST_POSTGRES
	cd "$back"
	code=0
	"$@" || code=$?
	exit $code
}

case ${1:-} in
start | stop | run) cmd=$1; shift; "$cmd" "$@" ;;
*) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
