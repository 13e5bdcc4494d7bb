package pubsub_test

import (
	"fmt"
	"testing"

	"sabir/internal/db/dbtest"
	"sabir/mod/modtest"
	"sabir/xmpp/jid"
)

// TestRemotePresence follows the resources of a contact elsewhere: which are news, and which are forgotten.
func TestRemotePresence(t *testing.T) {
	_, s := newService(t, dbtest.SQLite(t), true)
	juliet, romeo := jid.MustParse("juliet@localhost"), jid.MustParse("romeo@localhost")
	for n, c := range []struct {
		account  jid.JID
		from, as string
		news     bool
	}{
		{juliet, "nurse@b.c/1", "", true},
		{juliet, "nurse@b.c/1", "", false}, // announces what it did before
		{juliet, "nurse@b.c/2", "", true},
		{romeo, "nurse@b.c/1", "", true},
		{juliet, "nurse@b.c/1", " type='unavailable'", false},
		{juliet, "nurse@b.c/2", "", false},
		{juliet, "nurse@b.c/1", "", true}, // came back
		{juliet, "nurse@b.c/1", " type='unavailable'", false},
		{juliet, "nurse@b.c/2", " type='unavailable'", false},
		{juliet, "nurse@b.c/2", " type='unavailable'", false}, // twice
		{romeo, "nurse@b.c/1", "", false},
		{juliet, "nurse@b.c/2", "", true},
	} {
		p := modtest.Stanza(t, fmt.Sprintf("<presence from='%s' to='%s'%s/>", c.from, c.account, c.as))
		if got := s.RemotePresence(c.account, p); got != c.news {
			t.Errorf("step %d, %s: news: %v, want %v", n, p, got, c.news)
		}
	}
}
