#!/bin/sh
# Installs from Debian what the tests with real peers need. Services that come with the packages are not started: the tests
# start their own, on loopback.
set -eu
[ "$(id -u)" -eq 0 ] || { echo "install-debian: run it as root" >&2; exit 1; }
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
made=
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod +x $policy
	made=yes
fi
trap '[ -z "$made" ] || rm -f "$policy"' EXIT
apt-get update -qq
apt-get install -y -qq --no-install-recommends "$@" >/dev/null
