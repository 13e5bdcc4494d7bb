#!/bin/sh
# Runs each fuzz target for FUZZTIME, one after the other. What is found is kept in the package's testdata/fuzz.
set -eu
cd "$(dirname "$0")/.."
time=${FUZZTIME:-30s}
for pkg in $(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do
	for f in $(grep -ho '^func Fuzz[A-Za-z0-9_]*' "$pkg"/*_test.go | cut -d' ' -f2 | sort -u); do
		echo "== $pkg $f for $time"
		go test -run '^$' -fuzz "^$f\$" -fuzztime "$time" "$pkg"
	done
done
