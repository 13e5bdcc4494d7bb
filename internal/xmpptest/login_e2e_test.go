package xmpptest_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/internal/transcript"
	"sabir/internal/xmpptest"
	"sabir/mod"
	"sabir/xmpp/client"
	"sabir/xmpp/sasl"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

const phone = "d4565fa7-4d72-4749-b3d3-740edbf8777a"

// loginConfig is that of a client by SASL2 with an id.
func loginConfig(s *xmpptest.Server, a transcript.Account, transport string) *client.Config {
	cfg := s.ClientConfig(transport)
	cfg.JID, cfg.Password = a.JID, a.Password
	cfg.Login = &client.Login{ID: phone, Software: "test", Device: "phone", Tag: "T"}
	return &cfg
}

// mustDial connects. The session ends with the test.
func mustDial(t *testing.T, cfg *client.Config) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Abort() })
	return c
}

// mechanism tells by what a session was opened.
func mechanism(t *testing.T, s *xmpptest.Server, c *client.Client) string {
	t.Helper()
	for _, x := range s.Sessions() {
		if x.JID() == c.JID() {
			return x.Client().Mechanism
		}
	}
	t.Fatalf("%s has no session", c.JID())
	return ""
}

// TestLogin: the first login takes the password and gives a token, the next ones take that, over every transport; and what
// is bound stays the same.
func TestLogin(t *testing.T) {
	s := xmpptest.NewServer(t, xmpptest.Options{})
	for _, transport := range []string{"tcp", "tls", "websocket"} {
		t.Run(transport, func(t *testing.T) {
			a := s.MustAccount(t, "romeo")
			cfg := loginConfig(s, a, transport)
			first := mustDial(t, cfg)
			if m := mechanism(t, s, first); m != sasl.ScramSHA512Plus {
				t.Errorf("first by %s", m)
			}
			want := sasl.HTExporter
			if transport == "websocket" {
				want = cfg.Login.Mechanism // as the connection has it
			}
			if l := cfg.Login; l.Token == "" || l.Mechanism != want || time.Until(l.Expires) < 24*time.Hour {
				t.Fatalf("the token is for %q until %v", l.Mechanism, l.Expires)
			}
			token := cfg.Login.Token
			cfg.Password = ""
			for range 2 {
				again := mustDial(t, cfg)
				if m := mechanism(t, s, again); m != want {
					t.Errorf("again by %s", m)
				}
				if again.JID() != first.JID() || !strings.HasPrefix(again.JID().Resource(), "T/") {
					t.Errorf("bound %s, then %s", first.JID(), again.JID())
				}
				if err := again.Ping(t.Context(), again.JID().DomainJID()); err != nil {
					t.Error(err)
				}
				if cfg.Login.Token != token {
					t.Error("the token was replaced before its time")
				}
			}
			<-first.Done()
			var conflict *stream.Error
			if err := first.Err(); !errors.As(err, &conflict) || conflict.Condition != stream.Conflict {
				t.Errorf("the session that was left behind ended with %v", err)
			}
		})
	}
}

// TestLoginByEach logs in by a token of each mechanism: bound to the connection, to the server's certificate, and to nothing.
func TestLoginByEach(t *testing.T) {
	s := xmpptest.NewServer(t, xmpptest.Options{})
	for _, m := range []string{sasl.HTExporter, sasl.HTEndPoint, sasl.HTNone} {
		t.Run(m, func(t *testing.T) {
			cfg := loginConfig(s, s.MustAccount(t, "romeo"), "tls")
			cfg.Mechanisms = []string{sasl.ScramSHA256, m}
			mustDial(t, cfg)
			if l := cfg.Login; l.Token == "" || l.Mechanism != m {
				t.Fatalf("the token is for %q", l.Mechanism)
			}
			cfg.Password = ""
			if by := mechanism(t, s, mustDial(t, cfg)); by != m {
				t.Errorf("logged in by %s", by)
			}
		})
	}
}

// TestLoginPipelined: with a token the login goes along with the opening of the stream; where the features have changed it
// is done again, by those that came (XEP-0509 §3.1, §3.2, §3.3).
func TestLoginPipelined(t *testing.T) {
	s := xmpptest.NewServer(t, xmpptest.Options{})
	for _, transport := range []string{"tcp", "tls"} {
		t.Run(transport, func(t *testing.T) {
			cfg := loginConfig(s, s.MustAccount(t, "romeo"), transport)
			mustDial(t, cfg)
			cfg.Login.Pipeline, cfg.Password = true, ""
			for i, version := range []string{cfg.Login.Version, "of another time", ""} {
				cfg.Login.Version = version
				before := cfg.Login.Count
				c := mustDial(t, cfg)
				if m := mechanism(t, s, c); m != sasl.HTExporter {
					t.Errorf("logged in by %s", m)
				}
				want := []int64{1, 2, 1}[i] // attempts
				if n := cfg.Login.Count - before; n != want {
					t.Errorf("version %q: %d attempts, want %d", version, n, want)
				}
			}
		})
	}
}

// TestLoginResumes: stream management is enabled in the bind, and a lost session is resumed in the login, by the token.
func TestLoginResumes(t *testing.T) {
	s := xmpptest.NewServer(t, xmpptest.Options{})
	cfg := loginConfig(s, s.MustAccount(t, "romeo"), "tls")
	cfg.Manage, cfg.Login.Pipeline = true, true
	juliet := s.Dial(t, s.MustAccount(t, "juliet"), "balcony")
	c := mustDial(t, cfg)
	m := c.Managed()
	if m == nil {
		t.Fatal("there is no stream management")
	}
	if err := c.Abort(); err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	msg := stanza.New(stanza.Message, stanza.TypeChat, xmlstream.El(stanza.NSClient, "body", "still there?"))
	msg.To = c.JID()
	if err := juliet.Send(msg); err != nil {
		t.Fatal(err)
	}
	if err := juliet.Ping(t.Context(), juliet.JID().DomainJID()); err != nil {
		t.Fatal(err)
	}
	back, err := client.Resume(t.Context(), cfg, m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { back.Abort() })
	if got := <-back.Stanzas(); got.Body() != "still there?" || back.JID() != c.JID() {
		t.Errorf("%s got %s", back.JID(), got)
	}
	if mechanism(t, s, back) == "" || cfg.Login.Count != 1 {
		t.Errorf("resumed after %d uses of the token", cfg.Login.Count)
	}
}

// TestLoginFirst: whatever is sent to a resource while it is bound comes after <success/> and the features.
func TestLoginFirst(t *testing.T) {
	s := xmpptest.NewServer(t, xmpptest.Options{})
	cfg := loginConfig(s, s.MustAccount(t, "romeo"), "tcp")
	full := mustDial(t, cfg).JID()
	flood := s.Dial(t, s.MustAccount(t, "juliet"), "balcony")
	ctx, stop := context.WithCancel(t.Context())
	var sending sync.WaitGroup
	sending.Go(func() {
		for ctx.Err() == nil {
			m := stanza.New(stanza.Message, stanza.TypeHeadline, xmlstream.El(stanza.NSClient, "body", "x"))
			m.To = full
			if err := flood.Send(m); err != nil {
				return
			}
		}
	})
	sending.Go(func() {
		for {
			select {
			case <-flood.Stanzas():
			case <-ctx.Done():
				return
			}
		}
	})
	for range 30 { // a stanza in the place of <success/> or of the features fails the login
		c := mustDial(t, cfg)
		if c.JID() != full {
			t.Errorf("bound %s", c.JID())
		}
	}
	stop()
	sending.Wait()
}

// TestRevoked: a client whose access is revoked loses its session at once, and its token.
func TestRevoked(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		s := xmpptest.NewServer(t, xmpptest.Options{Database: url})
		a := s.MustAccount(t, "romeo")
		cfg := loginConfig(s, a, "tcp")
		c := mustDial(t, cfg)
		accounts := s.Accounts(s.JID())
		all, err := accounts.Devices(t.Context(), a.JID.Local())
		if err != nil || len(all) != 1 || !all[0].Connected || !all[0].Token || all[0].Software != "test" {
			t.Fatalf("devices: %+v, %v", all, err)
		}
		if err := accounts.Revoke(t.Context(), a.JID.Local(), all[0].ID, false); !errors.Is(err, mod.ErrPasswordKnown) {
			t.Errorf("a client with the password: %v", err)
		}
		if err := accounts.Revoke(t.Context(), a.JID.Local(), all[0].ID, true); err != nil {
			t.Fatal(err)
		}
		<-c.Done()
		var end *stream.Error
		if err := c.Err(); !errors.As(err, &end) || end.Condition != stream.NotAuthorized {
			t.Errorf("the session ended with %v", err)
		}
		cfg.Password = ""
		if _, err := client.Dial(t.Context(), cfg); err == nil || cfg.Login.Token != "" {
			t.Errorf("in by a token that was revoked: %v", err)
		}
		// A client that has not said which it is stands in the list as well, as long as it is there.
		plain := s.Dial(t, a, "old")
		all, err = accounts.Devices(t.Context(), a.JID.Local())
		if err != nil || len(all) != 1 || !all[0].Connected || !all[0].Password {
			t.Fatalf("devices: %+v, %v", all, err)
		}
		if err := accounts.Revoke(t.Context(), a.JID.Local(), all[0].ID, false); !errors.Is(err, mod.ErrPasswordKnown) {
			t.Errorf("a client without an id: %v", err)
		}
		if err := accounts.Revoke(t.Context(), a.JID.Local(), all[0].ID, true); err != nil {
			t.Fatal(err)
		}
		<-plain.Done()
		if err := accounts.Revoke(t.Context(), a.JID.Local(), all[0].ID, true); !errors.Is(err, mod.ErrNoRows) {
			t.Errorf("one that has gone: %v", err)
		}
	})
}

// TestLoginUpgrade: a client gives its account the verifiers that it lacks, one task after the other (XEP-0480#request,
// XEP-0480#upgrade, XEP-0388#continue), and the one that it had stays (XEP-0480#rules).
func TestLoginUpgrade(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		s := xmpptest.NewServer(t, xmpptest.Options{Database: url})
		a := s.MustAccount(t, "romeo")
		s.Close()
		d := dbtest.Open(t, url, db.Options{})
		if err := d.Write(t.Context(), func(tx mod.Tx) error { // as one that was imported from elsewhere
			_, err := tx.Exec(t.Context(), `UPDATE auth_account SET sha256 = '', sha512 = '' WHERE local = ?`, a.JID.Local())
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		s = xmpptest.NewServer(t, xmpptest.Options{Database: url})
		by := func(upgrade bool, mechanisms ...string) error {
			cfg := loginConfig(s, a, "tcp")
			cfg.Mechanisms, cfg.Login.Upgrade = mechanisms, upgrade
			c, err := client.Dial(t.Context(), cfg)
			if err == nil {
				err = c.Close(t.Context())
			}
			return err
		}
		for i, c := range []struct {
			upgrade   bool
			mechanism string
			good      bool
		}{
			{false, sasl.ScramSHA512, false}, {false, sasl.ScramSHA1, true}, {false, sasl.ScramSHA256, false},
			{true, sasl.ScramSHA1, true}, {false, sasl.ScramSHA256Plus, true}, {true, sasl.ScramSHA512, true}, {false, sasl.ScramSHA1, true},
		} {
			if err := by(c.upgrade, c.mechanism); (err == nil) != c.good {
				t.Errorf("login %d by %s: %v", i, c.mechanism, err)
			}
		}
	})
}
