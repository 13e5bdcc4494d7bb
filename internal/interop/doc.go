// Package interop owns the tests with real peers: clients that others wrote talk through a `sabir local` that runs as a
// process of its own, over TLS with its authority verified and logged in by SCRAM. They are slixmpp, XMPP.js, go-sendxmpp,
// profanity in a terminal, Dino, Gajim and Psi+ under Xvfb, Libervia, and the web client in Chromium (RFC 6120, RFC 6121,
// RFC 7395). The go-sendxmpp and the Libervia of Debian 12 know no SCRAM and use PLAIN under TLS; the others must use SCRAM
// though PLAIN is offered. Users of Prosody and ejabberd meet them in rooms.
//
// The tests run where SABIR_INTEROP is 1: scripts/interop.sh sets it and fetches what they need. The package crash below,
// which scripts/crash.sh runs, shares the starting of the server.
package interop
