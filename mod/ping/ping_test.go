package ping

import (
	"testing"

	"sabir/mod"
	"sabir/mod/modtest"
	"sabir/xmpp/stanza"
)

const payload = "<ping xmlns='urn:xmpp:ping'/>"

func TestPing(t *testing.T) {
	h := modtest.New(t, Info)
	h.Login("romeo@localhost/garden")
	h.SetContact("juliet@localhost", "romeo@localhost", mod.SubFrom)
	h.SetContact("juliet@localhost", "nurse@localhost", mod.SubTo)
	for name, c := range map[string]struct{ from, to string }{
		"host":          {"romeo@localhost/garden", "localhost"},
		"other server":  {"capulet.example", "localhost"},
		"own account":   {"romeo@localhost/garden", "romeo@localhost"},
		"no to":         {"romeo@localhost/garden", ""},
		"as subscriber": {"romeo@localhost/garden", "juliet@localhost"},
	} {
		t.Run(name, func(t *testing.T) {
			modtest.Expect(t, h.Get(c.from, c.to, payload), "<iq type='result' to='"+c.from+"'/>")
		})
	}
	// The answers must not tell which accounts exist.
	for _, to := range []string{"juliet@localhost", "nobody@localhost"} {
		for _, from := range []string{"nurse@localhost/hall", "stranger@capulet.example/x"} {
			modtest.ExpectError(t, h.Get(from, to, payload), stanza.Cancel, stanza.ServiceUnavailable)
		}
	}
	modtest.ExpectError(t, h.Set("romeo@localhost/garden", "localhost", payload), stanza.Cancel, stanza.ServiceUnavailable)
}
