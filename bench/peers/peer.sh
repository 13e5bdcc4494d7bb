#!/bin/bash
# peer.sh: another XMPP server on loopback, to measure against.
#
#   peer.sh install                     Debian's packages, no service started
#   peer.sh start NAME --dir D --port P [--accounts N] [--password W] [--archive [--sqlite|--postgres URL]]
#        [--node N --subscribers K]    prosody: with node N of its publish-subscribe service, which u0 owns and u1 ... uK are subscribed to
#        [--domain D --s2s-port P]      as domain D, with a listener for other servers, proved by dialback
#                                       prints one JSON object and returns once it accepts
#   peer.sh stop --dir D                ends what was started with D, by its pid
#
# NAME is ejabberd, prosody (with its generational collector, four times cheaper
# than as shipped) or prosody-shipped. Fair settings: the modules that Debian's
# package enables, limits and shapers lifted, log level warning, one listener
# for clients with STARTTLS required and a self-signed P-256 certificate,
# accounts u0 ... uN-1 with SCRAM-SHA-1 keys of 4096 iterations. --archive stores
# every message in both archives, with the server's default store; --sqlite in the
# SQL store that the server's own documentation recommends for it, on SQLite or on the
# PostgreSQL of URL, as scripts/postgres-test.sh prints it, in the database that it names.
#
# All state lives in D. Started by root, each server runs as its Debian user;
# otherwise as whoever calls.
set -eu

usage() {
	sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
	exit 2
}

die() {
	echo "peer.sh: $*" >&2
	exit 1
}

install_peers() {
	[ "$(id -u)" = 0 ] || die "install needs root"
	export DEBIAN_FRONTEND=noninteractive
	# Debian starts a service as soon as it is unpacked, unless this file says no.
	local policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' >$policy
		chmod +x $policy
		trap "rm -f $policy" EXIT
	fi
	apt-get update -q
	apt-get install -q -y --no-install-recommends ejabberd erlang-p1-sqlite3 erlang-p1-pgsql prosody lua-dbi-sqlite3 lua-dbi-postgresql postgresql lua-event openssl
}

# run_as USER COMMAND...: as USER when we are root.
run_as() {
	local user=$1
	shift
	if [ "$(id -u)" = 0 ]; then
		exec setpriv --reuid "$user" --regid "$user" --init-groups -- "$@"
	fi
	exec "$@"
}

# Every account gets the same salt and password and so the same keys (RFC 5802 §3):
# one derivation instead of thousands, on both sides.
salt=sabir-bench-salt
iterations=4096

hmac_hex() { # KEYHEX TEXT
	printf %s "$2" | openssl mac -digest SHA1 -macopt "hexkey:$1" HMAC | tr 'A-F' 'a-f'
}

derive_keys() { # PASSWORD; sets stored_key and server_key, in hex
	local salted client
	salted=$(openssl kdf -keylen 20 -kdfopt digest:SHA1 -kdfopt "pass:$1" -kdfopt "salt:$salt" \
		-kdfopt "iter:$iterations" PBKDF2 | tr -d ':\n')
	client=$(hmac_hex "$salted" 'Client Key')
	stored_key=$(unhex "$client" | openssl dgst -sha1 -r | cut -c1-40)
	server_key=$(hmac_hex "$salted" 'Server Key')
}

# unhex HEX: the octets that HEX names.
unhex() {
	local escaped
	escaped=$(printf %s "$1" | sed 's/../\\x&/g')
	printf %b "$escaped"
}

# b64 HEX: HEX as base64.
b64() {
	unhex "$1" | openssl base64 -A
}

make_cert() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
		-subj "/CN=$domain" -addext "subjectAltName=DNS:$domain,DNS:conference.$domain,DNS:localhost" \
		-keyout "$dir/key.pem" -out "$dir/cert.pem" 2>/dev/null
	cat "$dir/cert.pem" "$dir/key.pem" >"$dir/both.pem"
}

# parse_postgres: the parts of postgres://USER@HOST:PORT/DATABASE?...
parse_postgres() {
	local rest=${postgres#*://}
	rest=${rest%%\?*}
	pg_user=${rest%%@*} rest=${rest#*@}
	pg_host=${rest%%:*} rest=${rest#*:}
	pg_port=${rest%%/*} pg_database=${rest#*/}
}

start_ejabberd() {
	# Each list element of the listener and of modules: only what Debian enables, without what listens
	# elsewhere (STUN, MQTT, federation, HTTP) and without fail2ban, which is a limit.
	cat >"$dir/ejabberd.yml" <<-EOF
		loglevel: warning
		hosts:
		  - $domain
		certfiles:
		  - "$dir/both.pem"
		listen:
		  -
		    port: $port
		    ip: "127.0.0.1"
		    module: ejabberd_c2s
		    max_stanza_size: 262144
		    backlog: 1024
		    access: all
		    starttls_required: true
		    protocol_options: [no_sslv3, no_tlsv1, no_tlsv1_1, cipher_server_preference, no_compression]
		$(if [ -n "$s2s_port" ]; then printf '  -\n    port: %s\n    ip: "127.0.0.1"\n    module: ejabberd_s2s_in\n    max_stanza_size: 524288\n' "$s2s_port"; fi)
		$(if [ -n "$http_port" ]; then printf '  -\n    port: %s\n    ip: "127.0.0.1"\n    module: ejabberd_http\n    request_handlers:\n      /ws: ejabberd_http_ws\n' "$http_port"; fi)
		s2s_use_starttls: required
		# Else it would not try again for up to five minutes where a server of a test was slow once.
		s2s_max_retry_delay: 1
		disable_sasl_mechanisms: [digest-md5, X-OAUTH2]
		auth_password_format: scram
		auth_scram_hash: sha
		access_rules:
		  muc_create:
		    allow: all
		  pubsub_createnode:
		    allow: all
		shaper_rules:
		  max_user_sessions: 100000
		  max_user_offline_messages: 100000
		modules:
		  mod_adhoc: {}
		  mod_admin_extra: {}
		  mod_announce: {}
		  mod_avatar: {}
		  mod_blocking: {}
		  mod_caps: {}
		  mod_carboncopy: {}
		  mod_client_state: {}
		  mod_configure: {}
		  mod_disco: {}
		  mod_last: {}
		  mod_muc:
		    access: all
		    access_create: muc_create
		    max_users: 5000
		    min_message_interval: 0
		    min_presence_interval: 0
		    history_size: 20
		  mod_offline:
		    access_max_user_messages: max_user_offline_messages
		  mod_ping: {}
		  mod_privacy: {}
		  mod_private: {}
		  mod_pubsub:
		    access_createnode: pubsub_createnode
		    plugins: [flat, pep]
		  mod_push: {}
		  mod_push_keepalive: {}
		  mod_roster:
		    versioning: true
		  mod_shared_roster: {}
		  mod_stream_mgmt:
		    resend_on_timeout: if_offline
		  mod_vcard:
		    search: false
		  mod_vcard_xupdate: {}
		  mod_version: {}
	EOF
	[ -z "$s2s_port" ] || printf '  mod_s2s_dialback: {}\n' >>"$dir/ejabberd.yml"
	if [ -n "$sqlite" ]; then # what the comment on mod_mam in Debian's ejabberd.yml advises
		printf '  mod_mam:\n    assume_mam_usage: true\n    default: always\n    db_type: sql\nsql_type: sqlite\nsql_database: "%s"\n' \
			"$dir/spool/archive.db" >>"$dir/ejabberd.yml"
	elif [ -n "$postgres" ]; then
		parse_postgres
		PGOPTIONS='-c client_min_messages=warning' psql -q -v ON_ERROR_STOP=1 -f /usr/share/ejabberd/sql/pg.sql "$postgres" >"$dir/pg.log" 2>&1 ||
			die "ejabberd's schema: $(tail -n 3 "$dir/pg.log")"
		printf '  mod_mam:\n    assume_mam_usage: true\n    default: always\n    db_type: sql\nsql_type: pgsql\nsql_server: "%s"\nsql_port: %s\nsql_database: "%s"\nsql_username: "%s"\nsql_password: ""\n' \
			"$pg_host" "$pg_port" "$pg_database" "$pg_user" >>"$dir/ejabberd.yml"
	elif [ -n "$archive" ]; then
		printf '  mod_mam:\n    default: always\n    db_type: mnesia\n' >>"$dir/ejabberd.yml"
	fi
	# The node has no name: no distribution, so no epmd, which would outlive it. The accounts are written
	# from inside, in the form that ejabberd_auth_mnesia keeps them in.
	local accounts_erl="
		P = {scram, <<\"$(b64 "$stored_key")\">>, <<\"$(b64 "$server_key")\">>,
			<<\"$(printf %s "$salt" | openssl base64 -A)\">>, sha, $iterations},
		{atomic, ok} = mnesia:transaction(fun() ->
			lists:foreach(fun(I) ->
				mnesia:write({passwd, {<<\"u\", (integer_to_binary(I))/binary>>, <<\"$domain\">>}, P})
			end, lists:seq(0, $accounts - 1)) end),
		ok = file:write_file(\"$dir/ready\", <<\"ok\">>)."
	local libs
	libs=$(ls -d /usr/lib/*/ejabberd-*/ebin/ejabberd.beam 2>/dev/null | head -n 1)
	[ -n "$libs" ] || die "ejabberd is not installed: peer.sh install"
	libs=${libs%/*/ebin/*}
	mkdir -p "$dir/spool" "$dir/home"
	own ejabberd
	(
		cd "$dir/spool"
		export HOME="$dir/home" EJABBERD_CONFIG_PATH="$dir/ejabberd.yml" EJABBERD_LOG_PATH="$dir/ejabberd.log" \
			ERL_LIBS="$libs" ERL_MAX_PORTS=65536 ERL_MAX_ETS_TABLES=1400 ERL_CRASH_DUMP_BYTES=0
		run_as ejabberd erl -noinput +K true +P 250000 -mnesia dir "\"$dir/spool\"" \
			-s ejabberd -eval "$accounts_erl" >"$dir/out.log" 2>&1 </dev/null &
		echo $! >"$dir/pid"
	)
}

# encode_prosody TEXT: TEXT as Prosody names a file by it.
encode_prosody() {
	local i c
	for ((i = 0; i < ${#1}; i++)); do
		c=${1:i:1}
		case $c in [a-zA-Z0-9]) printf %s "$c" ;; *) printf '%%%02x' "'$c" ;; esac
	done
}

# subscribe_prosody: the file of the node. For each who subscribes Prosody writes the node anew with all subscribers that there are.
subscribe_prosody() {
	local store i
	store=$dir/data/$(encode_prosody "pubsub.$domain")/pubsub_nodes
	mkdir -p "$store"
	{
		printf 'return {\n["name"] = "%s";\n["config"] = { };\n["affiliations"] = { ["u0@%s"] = "owner" };\n["subscribers"] = {\n' "$node" "$domain"
		for ((i = 1; i <= subscribers; i++)); do printf '["u%s@%s"] = true;\n' "$i" "$domain"; done
		printf '};\n};\n'
	} >"$store/$(encode_prosody "$node").dat"
	subscribed=$subscribers
}

start_prosody() {
	command -v prosody >/dev/null || die "prosody is not installed: peer.sh install"
	[ -z "$postgres" ] || parse_postgres
	local gc='{ mode = "generational" }'
	[ "$name" = prosody ] || gc='nil' # as shipped
	cat >"$dir/prosody.cfg.lua" <<-EOF
		data_path = "$dir/data"
		gc = $gc
		modules_enabled = {
			"disco"; "roster"; "saslauth"; "tls"; "blocklist"; "bookmarks"; "carbons"; "pep"; "private"; "smacks";
			"vcard4"; "vcard_legacy"; "csi_simple"; "ping"; "register"; "time"; "uptime"; "version";
			"admin_adhoc"; $(if [ -n "$s2s_port" ]; then echo '"dialback"; "s2s_bidi";'; fi) $(if [ -n "$archive" ]; then echo '"mam";'; fi)
		}
		$(if [ -z "$s2s_port" ]; then echo 'modules_disabled = { "s2s" }'; else echo 's2s_secure_auth = false; s2s_require_encryption = true; limits = { }'; fi)
		allow_registration = false
		authentication = "internal_hashed"
		default_archive_policy = true
		archive_expires_after = "never"
		$(if [ -n "$postgres" ]; then echo "storage = { archive = \"sql\" }; sql = { driver = \"PostgreSQL\"; host = \"$pg_host\"; port = $pg_port; database = \"$pg_database\"; username = \"$pg_user\"; password = \"\" }"; fi)
		$(if [ -n "$sqlite" ]; then echo "storage = { archive = \"sql\" }; sql = { driver = \"SQLite3\"; database = \"$dir/data/archive.sqlite\" }"; fi)
		c2s_require_encryption = true
		interfaces = { "127.0.0.1" }
		c2s_ports = { $port }
		c2s_direct_tls_ports = { }
		s2s_ports = { $s2s_port }
		s2s_direct_tls_ports = { }
		http_ports = { }
		https_ports = { }
		ssl = { certificate = "$dir/cert.pem"; key = "$dir/key.pem" }
		network_settings = { tcp_backlog = 1024 }
		log = { warn = "$dir/prosody.log" }
		VirtualHost "$domain"
		Component "conference.$domain" "muc"
			max_history_messages = 20
			restrict_room_creation = false
			muc_room_default_public = true
		Component "pubsub.$domain" "pubsub"
			admins = { "u0@$domain" }
	EOF
	# Prosody's store is one file per account; sed writes them faster than its own shell would.
	local i record store
	store=$dir/data/$(printf %s "$domain" | sed 's/\./%2e/g')/accounts
	mkdir -p "$store" "$dir/certs"
	record="return {
	[\"iteration_count\"] = $iterations;
	[\"salt\"] = \"$salt\";
	[\"server_key\"] = \"$server_key\";
	[\"stored_key\"] = \"$stored_key\";
};"
	for ((i = 0; i < accounts; i++)); do
		printf '%s\n' "$record" >"$store/u$i.dat"
	done
	[ "$subscribers" = 0 ] || subscribe_prosody
	own prosody
	(
		cd "$dir"
		run_as prosody prosody --config "$dir/prosody.cfg.lua" -F >"$dir/out.log" 2>&1 </dev/null &
		echo $! >"$dir/pid"
	)
	: >"$dir/ready"
}

# own USER: gives D to the user that the server runs as.
own() {
	if [ "$(id -u)" = 0 ]; then
		chown -R "$1:$1" "$dir"
	fi
}

# tree PID: it and all that descend from it.
tree() {
	local child
	echo "$1"
	for child in $(cat /proc/"$1"/task/*/children 2>/dev/null); do
		tree "$child"
	done
}

alive() {
	[ -e "/proc/$1" ] && ! grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null
}

start() {
	case $name in ejabberd | prosody | prosody-shipped) ;; *) usage ;; esac
	[ -n "$dir" ] && [ -n "$port" ] || usage
	command -v openssl >/dev/null || die "openssl is not installed"
	mkdir -p "$dir"
	dir=$(cd "$dir" && pwd)
	chmod 755 "$dir"
	if [ -e "$dir/pid" ] && alive "$(cat "$dir/pid")"; then
		die "$dir already runs one, pid $(cat "$dir/pid")"
	fi
	rm -f "$dir/ready" "$dir/pid"
	ulimit -n "$(ulimit -H -n)"
	make_cert
	derive_keys "$password"
	start_"${name%-shipped}"
	local pid tries
	pid=$(cat "$dir/pid")
	# At most a minute, in tenths of a second.
	for ((tries = 0; tries < 600; tries++)); do
		alive "$pid" || { tail -n 20 "$dir"/*.log >&2; die "$name ended while starting"; }
		if [ -e "$dir/ready" ] && (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
			printf '{"name":"%s","c2s":"127.0.0.1:%s","domain":"%s","pids":[%s],"account_prefix":"u","first_account":0,"accounts":%s,"subscribed":%s}\n' \
				"$name" "$port" "$domain" "$(tree "$pid" | paste -sd,)" "$accounts" "$subscribed"
			return
		fi
		sleep 0.1
	done
	tail -n 20 "$dir"/*.log >&2
	stop
	die "$name did not accept connections within a minute"
}

stop() {
	[ -n "$dir" ] || usage
	[ -e "$dir/pid" ] || die "$dir: nothing was started here"
	local pids pid tries
	# The whole tree, read before its root is gone.
	pids=$(tree "$(cat "$dir/pid")")
	for pid in $pids; do
		kill -TERM "$pid" 2>/dev/null || true
	done
	for ((tries = 0; tries < 100; tries++)); do
		local left=
		for pid in $pids; do
			if alive "$pid"; then left="$left $pid"; fi
		done
		[ -n "$left" ] || break
		[ "$tries" = 50 ] && kill -KILL $left 2>/dev/null
		sleep 0.1
	done
	rm -f "$dir/pid" "$dir/ready"
}

[ $# -ge 1 ] || usage
command=$1
shift
name= dir= port= http_port= accounts=0 password=secret archive= sqlite= domain=localhost s2s_port= postgres= node= subscribers=0 subscribed=0
if [ "$command" = start ]; then
	[ $# -ge 1 ] || usage
	name=$1
	shift
fi
while [ $# -gt 0 ]; do
	case $1 in
	--dir) dir=$2 ;;
	--port) port=$2 ;;
	--http-port) http_port=$2 ;;
	--accounts) accounts=$2 ;;
	--domain) domain=$2 ;;
	--s2s-port) s2s_port=$2 ;;
	--password) password=$2 ;;
	--node) node=$2 ;;
	--subscribers) subscribers=$2 ;;
	--postgres) postgres=$2 archive=yes ;;
	--archive)
		archive=yes
		shift
		continue
		;;
	--sqlite)
		sqlite=yes archive=yes
		shift
		continue
		;;
	*) usage ;;
	esac
	shift 2
done
case $command in
install) install_peers ;;
start) start ;;
stop) stop ;;
*) usage ;;
esac
