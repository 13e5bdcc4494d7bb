package pubsub

import (
	"fmt"
	"testing"

	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// Those who share their presence are bounded, in all and of one account, and make room when they go.
func TestSharers(t *testing.T) {
	var h sharers
	romeo := jid.MustParse("romeo@localhost")
	presence := func(n int) *stanza.Stanza {
		p := stanza.New(stanza.Presence, stanza.TypeAvailable)
		p.From = jid.MustParse(fmt.Sprintf("a@elsewhere.example/%d", n))
		return p
	}
	for n := range maxSharersOf {
		if _, taken := h.put(romeo, presence(n)); !taken {
			t.Fatalf("the one with the number %d is not taken", n)
		}
	}
	if _, taken := h.put(romeo, presence(maxSharersOf)); taken {
		t.Error("one too many of an account is taken")
	}
	if was, taken := h.put(romeo, presence(0)); was == nil || !taken {
		t.Error("one that was there does not take its place")
	}
	h.delete(romeo, presence(0).From)
	h.delete(romeo, presence(0).From)
	if _, taken := h.put(romeo, presence(maxSharersOf)); !taken {
		t.Error("one that went has left no room")
	}
	if n := len(h.of(romeo)); n != maxSharersOf || h.n != maxSharersOf {
		t.Errorf("%d of the account and %d in all, want %d", n, h.n, maxSharersOf)
	}
	h.n = maxSharers // of others
	if _, taken := h.put(jid.MustParse("juliet@localhost"), presence(0)); taken {
		t.Error("one too many in all is taken")
	}
	h.forget(romeo)
	if h.n != maxSharers-maxSharersOf || len(h.m) != 0 {
		t.Errorf("%d are left of %d, of %d accounts", h.n, maxSharers, len(h.m))
	}
}
