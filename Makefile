# The table of contents of what a contributor runs. The work is in scripts/ and in the programs.
SHELL := /bin/sh
GO ?= go
# The programs need no C compiler. The race detector does: see scripts/test.sh.
BUILD = CGO_ENABLED=0 $(GO) build -trimpath

.PHONY: run build web check test interop s2s-peers crash fault fuzz bench clean

run: build            ## build all, front ends included, and start on the embedded database
	bin/sabir local --dir sabir-local --domain localhost --accounts 2

build: web            ## the programs, into bin/
	$(BUILD) -o bin/sabir ./cmd/sabir
	$(BUILD) -o bin/xt ./cmd/xt

web:                  ## the web client, where npm can be reached
	@sh scripts/web-build.sh

check:                ## before each commit: format, vet, staticcheck, rules of the house, unit tests
	@sh scripts/check.sh

test: web check       ## check, then everything with the race detector, shuffled, on both databases where PostgreSQL is there
	@sh scripts/test.sh

interop: build        ## real peers: clients from Debian and PyPI, the web client in Chromium
	@sh scripts/interop.sh

s2s-peers:            ## Sabir against Prosody and ejabberd as servers; needs root
	@sh scripts/s2s-peers.sh $(PEERSFLAGS)

crash: build          ## the server is killed under chatting clients, again and again: KILLS (25) times on each database
	@sh scripts/crash.sh $(KILLS) $(CRASHFLAGS)

fault: build          ## the disk, PostgreSQL, memory, descriptors, a client or the network fail a running server
	@sh scripts/fault.sh $(FAULTFLAGS)

fuzz:                 ## each fuzz target for FUZZTIME (30s)
	@sh scripts/fuzz.sh

bench: build          ## what work costs, beside the peers and the floor: prints the table of docs/performance.md
	@bash bench/run.sh

clean:
	rm -rf bin web/client/dist/assets
