package xmpptest_test

import (
	"fmt"
	"net/http"
	"testing"

	"sabir/internal/config"
	"sabir/internal/xmpptest"
	"sabir/xmpp/client"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// TestNewServer logs in over each transport, several times, since what a client sends together with the end of its TLS
// handshake must not get lost, and lets the sessions write to each other.
func TestNewServer(t *testing.T) {
	s := xmpptest.NewServer(t, xmpptest.Options{})
	a := s.MustAccount(t, "romeo")
	to := s.Dial(t, s.MustAccount(t, "juliet"), "balcony")
	for _, transport := range []string{"tcp", "tls", "websocket"} {
		for i := range 4 {
			cfg := s.ClientConfig(transport)
			cfg.JID, cfg.Password = a.JID, a.Password
			c, err := client.Dial(t.Context(), &cfg)
			if err != nil {
				t.Fatalf("%s, login %d: %v", transport, i, err)
			}
			text := fmt.Sprint(transport, i)
			m := stanza.New(stanza.Message, stanza.TypeChat, xmlstream.El(stanza.NSClient, "body", text))
			m.To = to.JID()
			if err := c.Send(m); err != nil {
				t.Fatal(err)
			}
			if got := <-to.Stanzas(); got.Body() != text || got.From != c.JID() {
				t.Errorf("%s: %s arrived", text, got)
			}
			if err := c.Close(t.Context()); err != nil {
				t.Errorf("%s: %v", transport, err)
			}
		}
	}
	r, err := http.Get("http://" + s.Addr(config.Admin) + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		t.Errorf("the server is not ready: %s", r.Status)
	}
	s.Close()
	<-to.Done()
}

// TestOptions checks that a test's settings replace those of xmpptest.
func TestOptions(t *testing.T) {
	s := xmpptest.NewServer(t, xmpptest.Options{Config: []string{"auth.min_password = 12"}})
	if got := s.Server.Config().Auth.MinPassword; got != 12 {
		t.Errorf("min_password is %d", got)
	}
	if err := s.Accounts(s.JID()).Create(t.Context(), "short", "short"); err == nil {
		t.Error("a short password was taken")
	}
}
