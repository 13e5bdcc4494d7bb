package admin

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

type (
	// TraceArgs name a message.
	TraceArgs struct {
		ID string `json:"id" doc:"An id of the message: that of the stanza, its origin-id, or the one that an archive gave." required:""`
	}
	// Trace is what is known of the messages with an id. There may be several: a sender's ids are its own business.
	Trace struct {
		ID string `json:"id"`
		// Also are other ids of them.
		Also []string `json:"also,omitempty"`
		// Messages has the story of each, as far as the server's memory goes back.
		Messages [][]mod.TraceEvent `json:"messages"`
		// Stored is what archives and stores have of them now.
		Stored []mod.TraceEvent `json:"stored"`
	}
	// traceRow is an event of a Trace, as a client is shown it.
	traceRow struct {
		Message string    `json:"message" doc:"Which of the messages with this id, or what is stored"`
		At      time.Time `json:"at" doc:"When"`
		What    string    `json:"what" doc:"What became of it"`
		Who     string    `json:"who" doc:"Whom it concerns, or which extension did it"`
		Detail  string    `json:"detail" doc:"More"`
	}
)

// trace tells what became of a message: the operator of all of it, administrators of a host of what concerns that.
func trace(ctx context.Context, b Backend, c *mod.Call, a TraceArgs) (any, error) {
	t, err := b.Trace(ctx, a.ID)
	if err != nil {
		return nil, err
	}
	if !c.Host.IsZero() {
		t = t.of(func(address string) bool { return belongs(b, c.Host, address) })
	}
	switch {
	case len(t.Messages)+len(t.Stored) == 0:
		return nil, stanza.Err(stanza.ItemNotFound, "nothing is known of a message with this id: it is too long ago and not stored, or was never here")
	case !c.Host.IsZero():
		return t.rows(), nil
	}
	return t, nil
}

// belongs tells whether an address is one of a host or of its services.
func belongs(b Backend, host jid.JID, address string) bool {
	j, err := jid.Parse(address)
	if err != nil {
		return false
	}
	of, _, err := b.Commands(j.DomainJID())
	return err == nil && of == host
}

// of returns what the administrators of a host may know: of a message between one of its users and somebody else, what became of it
// on the user's side.
func (t Trace) of(ours func(address string) bool) Trace {
	out := Trace{ID: t.ID, Messages: [][]mod.TraceEvent{}, Stored: []mod.TraceEvent{}}
	for _, story := range t.Messages {
		var v view
		for _, e := range story {
			v.see(e, ours)
		}
		if !v.sent && !v.got {
			continue
		}
		left := slices.DeleteFunc(slices.Clone(story), func(e mod.TraceEvent) bool { return !v.shows(e, ours) })
		for _, e := range left {
			if (e.What == mod.TraceID || e.What == mod.TraceArchived) && e.Detail != t.ID && !slices.Contains(out.Also, e.Detail) {
				out.Also = append(out.Also, e.Detail)
			}
		}
		out.Messages = append(out.Messages, left)
	}
	for _, e := range t.Stored {
		if ours(address(e)) {
			out.Stored = append(out.Stored, e)
		}
	}
	return out
}

// view is how a host has to do with a message: whether it was sent from there, and came there, and whether that is all there was.
type view struct {
	sent, got, othersSent, othersGot bool
	// from are those from whom it came there. What a room passes on is from its occupant: the real address, under which the message is known,
	// too, is no business of those who get it.
	from []string
}

func (v *view) see(e mod.TraceEvent, ours func(string) bool) {
	switch e.What {
	case mod.TraceReceived:
		v.sent, v.othersSent = v.sent || ours(e.Who), v.othersSent || !ours(e.Who)
		v.got, v.othersGot = v.got || ours(e.Detail), v.othersGot || !ours(e.Detail)
		if ours(e.Detail) {
			v.from = append(v.from, e.Who)
		}
	case mod.TraceQueued, mod.TraceStored: // of one to many nothing else says to whom it is
		v.got = v.got || ours(address(e))
	}
}

// shows tells whether an event is for the administrators of the host.
func (v *view) shows(e mod.TraceEvent, ours func(string) bool) bool {
	switch e.What {
	case mod.TraceReceived:
		return ours(e.Who) || ours(e.Detail)
	case mod.TraceID:
		return ours(e.Who) || slices.Contains(v.from, e.Who)
	case mod.TraceCommitted:
		return true
	case mod.TraceForwarded: // where a room of another host has passed it on, that is where its occupants are
		return v.sent && !v.othersSent
	case mod.TraceNotified, mod.TraceFailed: // the recipient's device
		return !v.othersGot
	case mod.TraceStored, mod.TraceTaken, mod.TraceArchived, mod.TraceQueued, mod.TraceCopied, mod.TraceWritten, mod.TraceAcked, mod.TraceReturned, mod.TraceBounced:
		return ours(address(e))
	}
	return !v.othersSent && !v.othersGot // an extension of one side, it does not say of which
}

// address is the one that an event happened to.
func address(e mod.TraceEvent) string {
	if e.What == mod.TraceStored || e.What == mod.TraceTaken { // Who is the extension
		a, _, _ := strings.Cut(e.Detail, " ")
		return a
	}
	return e.Who
}

// rows are the events one after the other.
func (t Trace) rows() []traceRow {
	list := []traceRow{}
	add := func(of string, events []mod.TraceEvent) {
		for _, e := range events {
			list = append(list, traceRow{of, e.At, e.What, e.Who, e.Detail})
		}
	}
	for i, story := range t.Messages {
		add(strconv.Itoa(i+1), story)
	}
	add("stored", t.Stored)
	return list
}
