#!/bin/bash
# Dino, a client with a window, as a second device: it finds the history that other devices have made, gets what was sent while it was
# stopped, and resumes its session after the server was killed. Each step prints a line; the test looks for them.
#
#   dino.sh SABIR DIR     as root, within network and mount namespaces of its own (unshare -n -m)
#
# Dino knows a domain and no address, so the namespaces give it a name, the standard ports and a trusted authority. Debian:
# dino-im xvfb xdotool dbus sqlite3 go-sendxmpp iproute2.
set -eu
sabir=$1 dir=$2
domain=dino.test password=a-password-of-tests
step() { echo "STEP $*"; }

ip link set lo up
ip route add default dev lo     # what GLib takes for a network
ip addr add 192.0.2.1/32 dev lo # without another address than the loopback ones, names are not resolved (AI_ADDRCONFIG)
mkdir -p "$dir/home"
{ cat /etc/hosts; echo "127.0.0.1 $domain"; } >"$dir/hosts"
mount --bind "$dir/hosts" /etc/hosts
echo 'nameserver 127.0.0.1' >"$dir/resolv.conf" # nobody is there, which is seen at once; another address is asked for many seconds
mount --bind "$dir/resolv.conf" /etc/resolv.conf
pids=
trap 'kill $pids 2>/dev/null || true; wait' EXIT

start() {
	rm -f "$dir/json"
	"$sabir" local --dir "$dir/data" --domain "$domain" --accounts 2 --password "$password" --scram-iterations 4096 --json >"$dir/json" 2>>"$dir/server.log" &
	server=$!
	pids="$pids $server"
	for _ in $(seq 900); do
		[ -s "$dir/json" ] && return
		sleep 0.1
	done
	echo "the server did not start" >&2
	exit 1
}

# send FROM TO TEXT: another device of FROM sends a message.
send() {
	printf 'username: user%s@%s\npassword: %s\njserver: 127.0.0.1:5222\n' "$1" "$domain" "$password" >"$dir/sendxmpprc"
	chmod 600 "$dir/sendxmpprc"
	echo "$3" | timeout 30 go-sendxmpp -f "$dir/sendxmpprc" "user$2@$domain"
}

db=$dir/home/.local/share/dino/dino.db
# shown TEXT STEP: waits until Dino has exactly one message of this text.
shown() {
	for _ in $(seq 900); do
		n=$(sqlite3 -cmd '.timeout 2000' "$db" "SELECT COUNT(*) FROM message WHERE body = '$1'" 2>/dev/null || echo 0)
		[ "$n" = 1 ] && { step "$2"; return; }
		sleep 0.1
	done
	echo "Dino has '$1' $n times" >&2
	exit 1
}

dino() {
	dbus-run-session -- dino-im --print-xmpp=all >"$dir/dino.log" 2>&1 &
	bus=$!
	pids="$pids $bus"
}

start
cat /etc/ssl/certs/ca-certificates.crt "$dir/data/certificates/ca.crt" >"$dir/authorities.crt"
mount --bind "$dir/authorities.crt" /etc/ssl/certs/ca-certificates.crt
send 2 1 'from the other device'
send 1 2 'before Dino was there'

export HOME=$dir/home XDG_RUNTIME_DIR=$dir/home GDK_BACKEND=x11 GSK_RENDERER=cairo LIBGL_ALWAYS_SOFTWARE=1 NO_AT_BRIDGE=1
# Displays are told apart by abstract sockets, of which a network namespace has its own, and then share a folder and locks with those outside.
mkdir -p /tmp/.X11-unix
mount -t tmpfs tmpfs /tmp/.X11-unix
Xvfb -displayfd 3 -nolock -screen 0 1000x700x24 3>"$dir/display" >"$dir/xvfb.log" 2>&1 &
pids="$pids $!"
for _ in $(seq 300); do
	[ -s "$dir/display" ] && break
	sleep 0.1
done
DISPLAY=:$(cat "$dir/display")
export DISPLAY
dino # makes its database, and shows its window then; who looks into the database before makes it fail
for _ in $(seq 300); do
	xdotool search --onlyvisible --name Dino >/dev/null 2>&1 && break
	sleep 0.1
done
pkill -P "$bus" -x dino-im || true
wait "$bus" || true
sqlite3 -cmd '.timeout 5000' "$db" "INSERT INTO account (bare_jid, resourcepart, password, alias, enabled) VALUES ('user2@$domain', 'dino', '$password', '', 1)"
dino

shown 'from the other device' 'history of own messages'
shown 'before Dino was there' 'history'
send 1 2 'while it runs'
shown 'while it runs' 'live'

client=$(pgrep -P "$bus" -x dino-im)
kill -STOP "$client"
send 1 2 'while it sleeps'
kill -CONT "$client"
shown 'while it sleeps' 'after a stop'

kill -KILL "$server"
wait "$server" || true
start
send 1 2 'after the server was killed'
# COMPAT Dino 0.4.2, 2026-11: it may miss the end of a TLS connection until it pings minutes later. A change of networks makes it look.
ip route del default dev lo
sleep 1
ip route add default dev lo
shown 'after the server was killed' 'after a kill of the server'
if grep -q 'urn:xmpp:sm:3}:resumed' "$dir/dino.log"; then
	step resumed
fi
