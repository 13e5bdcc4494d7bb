package xmpptest

import (
	"context"
	"testing"
	"time"

	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// BenchmarkLogin logs in as a client does that somebody uses: TLS, SCRAM, binding, roster, presence. The figures hold both
// sides; a profile tells them apart.
func BenchmarkLogin(b *testing.B) {
	s := NewServer(b, Options{})
	cfg := s.ClientConfig("tcp")
	a := s.MustAccount(b, "bench")
	cfg.JID, cfg.Password = a.JID, a.Password
	b.ReportAllocs()
	for b.Loop() {
		ctx, cancel := context.WithTimeout(b.Context(), 10*time.Second)
		c, err := client.Dial(ctx, &cfg)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.Request(ctx, stanza.TypeGet, jid.JID{}, xmlstream.El("jabber:iq:roster", "query")); err != nil {
			b.Fatal(err)
		}
		if err := c.Send(stanza.New(stanza.Presence, stanza.TypeAvailable)); err != nil {
			b.Fatal(err)
		}
		if err := c.Ping(ctx, jid.MustParse(Domain)); err != nil {
			b.Fatal(err)
		}
		if err := c.Close(ctx); err != nil {
			b.Fatal(err)
		}
		cancel()
	}
}
