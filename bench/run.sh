#!/bin/sh
# run.sh [flags of bench]: builds the load generator and the floor, and runs
# them. As root in a network namespace of its own, where every port is free and
# nothing is reachable but loopback; otherwise on the machine's loopback.
# Sabir itself is taken from bin/sabir as it lies: build it before.
set -eu
cd "$(dirname "$0")/.."
mkdir -p bin
go build -o bin/bench ./bench
go build -o bin/floor ./bench/floor
# Thousands of sessions need as many descriptors, here and in each server.
ulimit -n "$(ulimit -H -n)"
if [ "$(id -u)" = 0 ] && unshare -n true 2>/dev/null; then
	# In a mount namespace too: two servers find one another by a DNS server of the run's own.
	exec unshare -n -m sh -c '
		ip link set lo up
		echo "nameserver 127.0.53.53" >bin/resolv.conf
		mount --bind bin/resolv.conf /etc/resolv.conf
		exec bin/bench "$@"' bench "$@"
fi
exec bin/bench "$@"
