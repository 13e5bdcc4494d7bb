package muc_test

import (
	"strings"
	"testing"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/xmpp/stanza"
)

// TestClosing: when the service ends for good everybody is told and out; a temporary room is gone, another has nobody in it
// (XEP-0045#service-shutdown-kick).
func TestClosing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		w := start(t, d)
		w.enter(romeo, "romeo")
		w.configure(romeo, "muc#roomconfig_persistentroom", "1")
		w.enter(juliet, "juliet")
		w.must(romeo, "<presence to='tower@conference.localhost/romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
		w.Set(romeo, "tower@conference.localhost", "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>")
		w.take(romeo)
		w.take(juliet)
		w.Stop() // the process ends: occupants stay
		w = start(t, d)
		w.Hooks.Closing(t.Context())
		for who, rooms := range map[string]int{romeo: 2, juliet: 1} {
			list := w.take(who)
			for _, s := range list {
				if x := s.String(); s.Type != stanza.TypeUnavailable || !strings.Contains(x, "code='110'/><status code='332'") || !strings.Contains(x, "role='none'") {
					t.Errorf("%s got %s", who, x)
				}
			}
			if len(list) != rooms {
				t.Errorf("%s got %d stanzas, not %d", who, len(list), rooms)
			}
		}
		if got := w.command("room list", "{}"); !strings.Contains(got, `"room":"garden@conference.localhost","name":"","occupants":0`) || strings.Contains(got, "tower") {
			t.Errorf("rooms are %s", got)
		}
		w.Stop()
	})
}
