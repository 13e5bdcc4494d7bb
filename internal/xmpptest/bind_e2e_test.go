package xmpptest_test

import (
	"context"
	"testing"

	"sabir/internal/xmpptest"
	"sabir/mod"
	"sabir/mod/all"
	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// TestBindResultIsFirst sends to a resource as soon as others can find it: when it has taken the place of another and that
// one ends. What the client gets first is its address nevertheless (RFC 6120 §7.6.1), and the message then.
func TestBindResultIsFirst(t *testing.T) {
	early := mod.Info{Name: "early", Specs: []string{"RFC 6120 §7.7.2.2"}, Doc: "Writes to whoever takes the place of a session.", New: func(h mod.Host, _ any) (*mod.Hooks, error) {
		return &mod.Hooks{Unbound: func(ctx context.Context, s mod.Session, _ *stanza.Stanza) {
			m := stanza.New(stanza.Message, stanza.TypeHeadline, xmlstream.El(stanza.NSClient, "body", "early"))
			m.From, m.To = h.Domain(), s.JID()
			h.Route(ctx, m)
		}}, nil
	}}
	s := xmpptest.NewServer(t, xmpptest.Options{Extensions: append([]mod.Info{early}, all.Extensions...)})
	a := s.MustAccount(t, "juliet")
	s.Dial(t, a, "balcony")

	cfg := s.ClientConfig("tcp")
	cfg.JID, cfg.Password = a.JID, a.Password
	c, err := client.Open(t.Context(), &cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Conn.Close()
	if err := c.Authenticate(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Features.Session = false                  // Bind would ask for that too, and meet the message
	full, err := c.Bind(t.Context(), "balcony") // fails where another stanza comes first
	if err != nil {
		t.Fatal(err)
	}
	if want := jid.MustParse(a.JID.String() + "/balcony"); full != want {
		t.Errorf("bound %s, want %s", full, want)
	}
	f, err := c.Next()
	if err != nil {
		t.Fatal(err)
	}
	if m, _ := stanza.FromFrame(f); m == nil || m.Kind != stanza.Message {
		t.Errorf("got <%s/> after the result, want the message", f.Name().Local)
	}
}
