#!/bin/sh
# Writes docs/config.md from the program. With --check it writes nothing, and fails where the file is not what it would write.
set -eu
cd "$(dirname "$0")/.."
new=$(mktemp)
trap 'rm -f "$new"' EXIT
{
	echo '# Settings'
	echo
	echo 'Written by `scripts/docs.sh` from the program, which tells the same with `sabir config describe [KEY]`; do not edit. A file to'
	echo 'start from is printed by `sabir config example`, and [operating.md](operating.md) says how to run it. A setting in `[mod.*]`'
	echo 'belongs to the extension of that name.'
	echo
	echo '```text'
	go run ./cmd/sabir config describe
	echo '```'
} >"$new"
if [ "${1-}" != --check ]; then
	cat "$new" >docs/config.md
elif ! diff -u docs/config.md "$new" >&2; then
	echo "docs/config.md is stale: run scripts/docs.sh" >&2
	exit 1
fi
