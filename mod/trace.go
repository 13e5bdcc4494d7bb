package mod

import (
	"time"

	"sabir/xmpp/payload/sid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// TraceEvent is one thing that became of a message, for administrators who ask what became of it. It has addresses and never
// anything of the message's content.
type TraceEvent struct {
	At time.Time `json:"at"`
	// What happened, in a word or two: one of the constants below, or an extension's own.
	What string `json:"what"`
	// Who is the address that it happened to, or the extension that did it.
	Who string `json:"who,omitempty"`
	// Detail says more: a condition, an address, the id that an archive gave.
	Detail string `json:"detail,omitempty"`
}

// What becomes of messages.
const (
	TraceReceived  = "received"     // Who sent it, Detail to whom it is
	TraceID        = "known as"     // Detail is a further id of it, Who has given that
	TraceChanged   = "changed"      // by the extension Who
	TraceRefused   = "refused"      // by the extension Who, with the condition and text Detail
	TraceDropped   = "dropped"      // by the extension Who, which says why in Detail
	TraceStored    = "stored"       // the extension Who keeps it for its recipient Detail
	TraceCommitted = "committed"    // all that was to be written is on disk
	TraceArchived  = "archived"     // in the archive Who as Detail
	TraceQueued    = "queued"       // for the session Who
	TraceCopied    = "copied"       // for the session Who
	TraceForwarded = "forwarded"    // to the server or service Who
	TraceBounced   = "bounced"      // answered with the error Detail
	TraceWritten   = "written"      // to the socket of the session, or of the server, Who
	TraceAcked     = "acknowledged" // by the client of the session, or by the server, Who (XEP-0198)
	TraceReturned  = "returned"     // the session Who ended and may not have got it
	TraceTaken     = "taken from"   // the store of the extension Who, for the session Detail
	TraceNotified  = "notified"     // the push service Who
	TraceFailed    = "not notified" // the push service Who, because of Detail
)

// storedLimits bound what is read back: it was accepted once.
var storedLimits = xmlstream.Limits{Bytes: 16 << 20, Depth: 200, Attrs: 200, Children: 100000, Name: 1 << 16}

// SentAs tells whether a stored stanza, in wire form, has an id: as its own, or one that it or an archive was given
// (XEP-0359). Extensions that answer Hooks.Trace look for it so in what a rough search has found.
func SentAs(wire, id string) bool {
	f, err := xmlstream.ParseFrame(wire, storedLimits)
	if err != nil {
		return false
	}
	s, bad := stanza.FromFrame(f)
	if s == nil || bad != nil {
		return false
	}
	if s.ID == id {
		return true
	}
	for x := range s.Children() {
		if (x.Is(sid.NS, "origin-id") || x.Is(sid.NS, "stanza-id")) && x.Attr("id") == id {
			return true
		}
	}
	return false
}
