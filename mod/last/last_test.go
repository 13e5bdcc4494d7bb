package last

import (
	"strings"
	"testing"
	"time"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/mod/modtest"
	"sabir/xmpp/stanza"
)

const (
	payload = "<query xmlns='jabber:iq:last'/>"
	romeo   = "romeo@localhost/garden"
)

func newHost(t *testing.T, d db.DB) *modtest.Host {
	h := modtest.New(t, Info, modtest.WithDB(d, db.Migrate))
	h.SetContact("juliet@localhost", "romeo@localhost", mod.SubFrom)
	return h
}

func seconds(n, status string) string {
	return "<iq type='result'><query xmlns='jabber:iq:last' seconds='" + n + "'>" + status + "</query></iq>"
}

func TestUptime(t *testing.T) {
	h := newHost(t, dbtest.SQLite(t))
	h.Advance(123456*time.Second + 999*time.Millisecond)
	modtest.Expect(t, h.Get("x@capulet.example/a", "localhost", payload), seconds("123456", ""))
	h.Advance(-1000000 * time.Second) // a clock that was set back
	modtest.Expect(t, h.Get("x@capulet.example/a", "localhost", payload), seconds("0", ""))
}

func TestAccount(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := newHost(t, d)
		modtest.ExpectError(t, h.Get(romeo, "juliet@localhost", payload), stanza.Cancel, stanza.ItemNotFound)
		a, b := h.Online("juliet@localhost/balcony", 0), h.Login("juliet@localhost/chamber")
		h.Advance(time.Minute)
		modtest.Expect(t, h.Get(romeo, "juliet@localhost", payload), seconds("0", ""))
		h.Logout(a)
		h.Advance(time.Minute)
		modtest.Expect(t, h.Get(romeo, "juliet@localhost", payload), seconds("0", ""))
		modtest.Expect(t, h.Get("juliet@localhost/chamber", "", payload), seconds("0", ""))
		h.Logout(b)
		h.Advance(903 * time.Second)
		modtest.Expect(t, h.Get(romeo, "juliet@localhost", payload), seconds("903", ""))
		h.Logout(h.Login("juliet@localhost/balcony"))
		h.Advance(5 * time.Second)
		modtest.Expect(t, newHost(t, d).Get(romeo, "juliet@localhost", payload), seconds("0", "")) // its clock starts anew
		modtest.Expect(t, h.Get(romeo, "juliet@localhost", payload), seconds("5", ""))
	})
}

func TestStatus(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := newHost(t, d)
		s := h.Online("juliet@localhost/balcony", 0)
		say := func(xml string) {
			t.Helper()
			p := h.Pass(mod.Out, modtest.Stanza(t, xml))
			if err := h.Rewrite(p); err != nil {
				t.Fatal(err)
			}
		}
		from := " from='juliet@localhost/balcony'"
		say("<presence type='unavailable'" + from + "><status>Heading Home</status></presence>")
		say("<presence type='unavailable'" + from + " to='romeo@localhost'><status>for you</status></presence>")
		h.Logout(s)
		modtest.Expect(t, h.Get(romeo, "juliet@localhost", payload), seconds("0", "Heading Home"))
		s = h.Login("juliet@localhost/balcony")
		say("<presence type='unavailable'" + from + "><status>Gone</status></presence>")
		say("<presence" + from + "><status>Back</status></presence>")
		h.Logout(s)
		modtest.Expect(t, h.Get(romeo, "juliet@localhost", payload), seconds("0", ""))
		s = h.Login("juliet@localhost/balcony")
		say("<presence type='unavailable'" + from + "><status>" + strings.Repeat("x", maxStatus+1) + "</status></presence>")
		h.Logout(s)
		modtest.Expect(t, h.Get(romeo, "juliet@localhost", payload), seconds("0", ""))
	})
}

// Strangers are forbidden to ask, whether there is somebody or not, online or not (XEP-0012#security).
func TestStrangers(t *testing.T) {
	h := newHost(t, dbtest.SQLite(t))
	h.SetContact("juliet@localhost", "nurse@localhost", mod.SubTo)
	h.Online("juliet@localhost/balcony", 0)
	for _, from := range []string{"nurse@localhost/hall", "x@capulet.example/a"} {
		for _, to := range []string{"juliet@localhost", "nobody@localhost"} {
			modtest.ExpectError(t, h.Get(from, to, payload), stanza.Auth, stanza.Forbidden)
			for _, resource := range []string{"/balcony", "/nowhere"} {
				s := modtest.Stanza(t, "<iq type='get' id='1' from='"+from+"' to='"+to+resource+"'>"+payload+"</iq>")
				if got := modtest.Condition(t, h.Admit(h.Pass(mod.In, s))); got != stanza.Forbidden {
					t.Errorf("%s asks %s%s: %q", from, to, resource, got)
				}
			}
		}
	}
	for _, ok := range []string{
		"<iq type='get' id='1' from='romeo@localhost/garden' to='juliet@localhost/balcony'>" + payload + "</iq>",
		"<iq type='get' id='1' from='juliet@localhost/a' to='juliet@localhost/balcony'>" + payload + "</iq>",
		"<iq type='result' id='1' from='nurse@localhost/a' to='juliet@localhost/balcony'>" + payload + "</iq>",
		"<iq type='get' id='1' from='nurse@localhost/a' to='juliet@localhost/balcony'><ping xmlns='urn:xmpp:ping'/></iq>",
	} {
		if err := h.Admit(h.Pass(mod.In, modtest.Stanza(t, ok))); err != nil {
			t.Errorf("%s: %v", ok, err)
		}
	}
}

func TestAccountRemoved(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := newHost(t, d)
		h.Logout(h.Login("juliet@localhost/balcony"))
		h.Login("juliet@localhost/chamber") // ends with the account, and must not leave a trace
		h.Remove("juliet")
		modtest.ExpectError(t, h.Get(romeo, "juliet@localhost", payload), stanza.Cancel, stanza.ItemNotFound)
	})
}
