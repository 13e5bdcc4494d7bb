#!/bin/sh
# What every commit passes: format, vet, staticcheck, and the quick tests.
set -eu
cd "$(dirname "$0")/.."
bad=$(git ls-files -co --exclude-standard '*.go' | while read -r f; do [ -f "$f" ] && gofmt -l "$f"; done)
if [ -n "$bad" ]; then
	echo "gofmt would change these files (run gofmt -w on them):" >&2
	echo "$bad" >&2
	exit 1
fi
go vet ./...
go tool staticcheck ./...
scripts/docs.sh --check
# CI asks for PostgreSQL, which scripts/test.sh starts; here SQLite is enough.
env -u CI go test -short ./internal/arch/... ./internal/specref/... ./xmpp/... ./mod/... ./internal/config/...
