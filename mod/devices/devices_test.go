package devices

import (
	"testing"
	"time"

	"sabir/mod"
	"sabir/mod/modtest"
	"sabir/xmpp/stanza"
)

// TestList: what is not known is left out.
func TestList(t *testing.T) {
	at := time.Date(2026, 11, 28, 18, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		d    mod.Device
		want string
	}{
		{mod.Device{ID: "a", Software: "Gajim", Device: "laptop", FirstSeen: at, LastSeen: at.Add(time.Hour), Connected: true, Password: true, Token: true},
			"<client xmlns='urn:xmpp:cam:0' connected='true' id='a' type='session'><first-seen>2026-11-28T18:00:00Z</first-seen><last-seen>2026-11-28T19:00:00Z</last-seen>" +
				"<auth><password/><fast/></auth><permission status='unrestricted'/><user-agent><software>Gajim</software><device>laptop</device></user-agent></client>"},
		{mod.Device{ID: "b", FirstSeen: at, LastSeen: at},
			"<client xmlns='urn:xmpp:cam:0' connected='false' id='b' type='session'><first-seen>2026-11-28T18:00:00Z</first-seen><last-seen>2026-11-28T18:00:00Z</last-seen>" +
				"<auth/><permission status='unrestricted'/></client>"},
	} {
		if got := client(c.d).String(); got != c.want {
			t.Errorf("listed as\n%s, want\n%s", got, c.want)
		}
	}
}

// TestRevoke: each outcome has its answer (XEP-0494#revoking-access), and strangers learn nothing.
func TestRevoke(t *testing.T) {
	h := modtest.New(t, Info)
	h.Login("romeo@localhost/orchard")
	h.SetDevices("romeo", mod.Device{ID: "phone", Token: true}, mod.Device{ID: "laptop", Password: true})
	if a := h.Set("juliet@localhost/balcony", "romeo@localhost", "<revoke xmlns='urn:xmpp:cam:0' id='phone'/>"); a.Err() == nil || a.Err().Condition != stanza.ServiceUnavailable {
		t.Errorf("a stranger: %s", a)
	}
	for _, c := range []struct {
		id   string
		want stanza.Condition
	}{{"phone", ""}, {"phone", stanza.ItemNotFound}, {"laptop", stanza.ServiceUnavailable}, {"", stanza.BadRequest}} {
		a := h.Set("romeo@localhost/orchard", "", "<revoke xmlns='urn:xmpp:cam:0' id='"+c.id+"'/>")
		var got stanza.Condition
		if e := a.Err(); e != nil {
			got = e.Condition
			if (e.App != nil) != (c.id == "laptop") {
				t.Errorf("%s: %s", c.id, a)
			}
		}
		if got != c.want {
			t.Errorf("%q: %s, want %q", c.id, a, c.want)
		}
	}
}
