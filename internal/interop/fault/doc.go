// Package fault owns the tests that take something away from a running server: the disk's answer, its room or its speed, its power,
// the database server, memory, descriptors, a client that reads, a network that delivers. What the server promises under each is
// in docs/durability.md. The oracle is package ledger.
//
// They run where SABIR_FAULT is 1: scripts/fault.sh sets it. Faults that need root or a tool are skipped without it, and fail
// in CI.
package fault
