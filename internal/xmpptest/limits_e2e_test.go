package xmpptest_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"sabir/internal/transcript"
	"sabir/internal/xmpptest"
	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// TestHostLimits shows that the limits of one host hold for its streams, and those of the server for the others.
func TestHostLimits(t *testing.T) {
	small := jid.MustParse("small." + xmpptest.Domain)
	for _, transport := range xmpptest.Transports() {
		t.Run(transport, func(t *testing.T) {
			s := xmpptest.NewServer(t, xmpptest.Options{Hosts: map[string][]string{
				small.Domain(): {"limits.resources = 1", "limits.after_auth.bytes = 10_000"},
			}})
			if err := s.Accounts(small).Create(t.Context(), "juliet", "secret"); err != nil {
				t.Fatal(err)
			}
			dial := func(a transcript.Account) (*client.Client, error) {
				cfg := s.ClientConfig(transport)
				cfg.JID, cfg.Password = a.JID, a.Password
				c, err := client.Dial(t.Context(), &cfg)
				if err == nil {
					t.Cleanup(func() {
						if err := c.Abort(); err != nil {
							t.Error(err)
						}
					})
				}
				return c, err
			}
			must := func(c *client.Client, err error) *client.Client {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
				return c
			}
			large := stanza.New(stanza.Message, stanza.TypeHeadline, xmlstream.El(stanza.NSClient, "body", strings.Repeat("x", 12_000)))
			large.To = s.JID()

			free := s.MustAccount(t, "romeo")
			a := must(dial(free))
			must(dial(free))
			if err := a.Send(large); err != nil {
				t.Fatal(err)
			}
			if err := a.Ping(t.Context(), s.JID()); err != nil {
				t.Errorf("a large message to a host with the limits of the server: %v", err)
			}

			bound := transcript.Account{JID: jid.MustParse("juliet@" + small.Domain()), Password: "secret"}
			b := must(dial(bound))
			var full *stanza.Error
			if _, err := dial(bound); !errors.As(err, &full) || full.Condition != stanza.ResourceConstraint {
				t.Errorf("a second resource on a host with one: %v", err)
			}

			now := *s.Config()
			now.Hosts = slices.Clone(now.Hosts)
			now.Host(small.Domain()).Limits.Resources = 2
			if changes, err := s.Reload(t.Context(), &now); err != nil || len(changes) != 1 || changes[0].Restart {
				t.Fatalf("reload: %v, %v", changes, err)
			}
			must(dial(bound))

			if err := b.Send(large); err != nil {
				t.Log(err) // over a WebSocket the server may have closed before all of it was sent
			}
			<-b.Done()
			var ended *stream.Error
			if err := b.Err(); !errors.As(err, &ended) || ended.Condition != stream.PolicyViolation {
				t.Errorf("a large message on a host that allows small ones: %v", err)
			}
		})
	}
}
