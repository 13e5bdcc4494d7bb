package xmpptest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"sabir/mod"
	"sabir/mod/all"
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

// BenchmarkMessage sends a chat message from one client to another and waits for it: TLS, the whole way of a message but for
// an archive, whose commits would hide all else, both clients; with and without a memory of what became of it.
func BenchmarkMessage(b *testing.B) {
	ext := slices.DeleteFunc(slices.Clone(all.Extensions), func(i mod.Info) bool { return i.Name == "mam" })
	for name, trace := range map[string]int{"traced": 8 << 20, "untraced": 0} {
		b.Run(name, func(b *testing.B) {
			s := NewServer(b, Options{Extensions: ext, Config: []string{fmt.Sprintf("log.trace = %d", trace)}})
			from, to := s.Dial(b, s.MustAccount(b, "romeo"), "a"), s.Dial(b, s.MustAccount(b, "juliet"), "b")
			m := stanza.New(stanza.Message, stanza.TypeChat, xmlstream.El(stanza.NSClient, "body", "Neither, fair saint"),
				xmlstream.El("urn:xmpp:sid:0", "origin-id", xmlstream.Attr{Name: xmlstream.Name{Local: "id"}, Value: "m1"}))
			m.To, m.ID = to.JID(), "m1"
			b.ReportAllocs()
			for b.Loop() {
				if err := from.Send(m); err != nil {
					b.Fatal(err)
				}
				<-to.Stanzas()
			}
		})
	}
}
