// Package badinput owns the bad-input harness: its tests send a server what no client should, as bytes over raw TCP, TLS
// and WebSocket connections, and look at what everybody sees of it. It has no code of its own.
//
// The cases are data: testdata/catalogue.jsonl is the catalogue, testdata/more.jsonl has further cases of the same kinds,
// each with the rule that it tests (RFC 6120, RFC 6121, RFC 7395 and others). After each case a fresh client must log in
// and get a ping answered at once, the server's goroutines must be as many as before, and its log must hold neither a
// panic nor an error nor a password.
package badinput
