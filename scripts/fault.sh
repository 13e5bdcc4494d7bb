#!/bin/sh
# Something is taken away from a running server: the disk's answer, its room, its speed or its power, PostgreSQL, memory,
# descriptors, a client that reads, the network. docs/durability.md tells what it promises under each.
#
#   scripts/fault.sh [flags of go test, such as -v or -run TestDiskFull, and of the tests, such as -network=4000]
#
# All of it needs Linux, root (small file systems, memory limits), strace and PostgreSQL; what is missing is skipped, but not in CI.
set -eu
cd "$(dirname "$0")/.."
[ -x bin/sabir ] || { echo "fault: bin/sabir is missing: make build" >&2; exit 1; }
# Each session is a descriptor here and one in the server.
ulimit -n "$(ulimit -H -n)"
export SABIR_FAULT=1
exec go test -count=1 -timeout 20m ./internal/interop/fault "$@"
