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

// poison panics in the phase that the body of a message names.
var poison = mod.Info{
	Name: "poison", Specs: []string{"RFC 6120 §8"}, Doc: "Panics when asked to.",
	New: func(mod.Host, any) (*mod.Hooks, error) {
		in := mod.When{Side: mod.In, Kinds: mod.Messages}
		taste := func(p *mod.Pass, phase string) {
			if p.Stanza.Body() == phase {
				panic(phase)
			}
		}
		return &mod.Hooks{
			IQ: []mod.IQHandler{{At: mod.AtHost, Space: "test:poison", Local: "query", Type: stanza.TypeGet,
				Func: func(context.Context, *mod.Request) (*xmlstream.Element, error) { panic("iq") }}},
			Admit:   []mod.AdmitHook{{When: in, Func: func(_ context.Context, p *mod.Pass) error { taste(p, "admit"); return nil }}},
			Rewrite: []mod.RewriteHook{{When: in, Func: func(_ context.Context, p *mod.Pass) error { taste(p, "rewrite"); return nil }}},
			Record: []mod.RecordHook{{When: in, Func: func(_ context.Context, p *mod.Pass) (func(mod.Tx) error, error) {
				taste(p, "record")
				return func(mod.Tx) error { taste(p, "write"); return nil }, nil
			}}},
			Settle:  []mod.SettleHook{{When: in, Func: func(_ context.Context, p *mod.Pass) { taste(p, "settle") }}},
			Fork:    []mod.ForkHook{{When: in, Func: func(_ context.Context, p *mod.Pass) []mod.Copy { taste(p, "fork"); return nil }}},
			Observe: []mod.ObserveHook{{When: in, Func: func(_ context.Context, p *mod.Pass, _ mod.Outcome) { taste(p, "observe") }}},
		}, nil
	},
}

// TestPoison: a panic in an extension costs the stanza that met it, nothing else (row 21 of the faults). Its sender gets an
// error as long as nothing was committed; neighbours in the same batch go on, and so do both sessions.
func TestPoison(t *testing.T) {
	s := xmpptest.NewServer(t, xmpptest.Options{Extensions: append(all.Extensions[:len(all.Extensions):len(all.Extensions)], poison)})
	romeo := s.Dial(t, s.MustAccount(t, "romeo"), "orchard")
	juliet := s.Dial(t, s.MustAccount(t, "juliet"), "balcony")
	if err := juliet.Send(stanza.New(stanza.Presence, stanza.TypeAvailable)); err != nil {
		t.Fatal(err)
	}
	if err := juliet.Ping(t.Context(), jid.JID{}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		phase   string
		refused bool
	}{
		{"admit", true}, {"rewrite", true}, {"record", true}, {"write", true}, {"settle", false}, {"fork", false}, {"observe", false},
	} {
		t.Run(c.phase, func(t *testing.T) {
			// One write to the connection, so that the server has them as one batch.
			var batch []byte
			for _, body := range []string{"before", c.phase, "behind"} {
				m := stanza.New(stanza.Message, stanza.TypeChat, xmlstream.El(stanza.NSClient, "body", body))
				m.To, m.ID = juliet.JID(), c.phase+" "+body
				batch = append(batch, m.Append(nil, "")...)
			}
			if err := romeo.SendRaw(batch); err != nil {
				t.Fatal(err)
			}
			if err := romeo.Ping(t.Context(), jid.JID{}); err != nil {
				t.Fatalf("the sender's session: %v", err)
			}
			var came []string
			for m := range messages(t, juliet, c.phase+" behind") {
				came = append(came, m.Body())
			}
			if came[0] != "before" || came[len(came)-1] != "behind" {
				t.Errorf("the neighbours: %v", came)
			}
			if c.refused && len(came) != 2 {
				t.Errorf("came: %v", came)
			}
			if c.refused {
				e := (<-romeo.Stanzas()).Err()
				if e == nil || e.Condition != stanza.InternalServerError {
					t.Errorf("the sender got %v", e)
				}
			}
		})
	}
	if _, err := romeo.Request(t.Context(), stanza.TypeGet, juliet.JID().DomainJID(), xmlstream.El("test:poison", "query")); err == nil {
		t.Error("a panic was answered with a result")
	}
	for _, c := range []*client.Client{romeo, juliet} {
		if err := c.Ping(t.Context(), jid.JID{}); err != nil {
			t.Errorf("%s: %v", c.JID(), err)
		}
	}
}

// ripe panics at messages that were stored before: in the check of one that leaves the store, and in the recording of one that comes
// back from a session.
var ripe = mod.Info{
	Name: "ripe", Specs: []string{"RFC 6120 §8"}, Doc: "Panics later.",
	New: func(mod.Host, any) (*mod.Hooks, error) {
		in := mod.When{Side: mod.In, Kinds: mod.Messages}
		taste := func(p *mod.Pass, body string) {
			if p.Stanza.Body() == body && p.Stanza.Has("urn:xmpp:delay", "delay") {
				panic(body)
			}
		}
		return &mod.Hooks{
			Admit: []mod.AdmitHook{{When: in, Func: func(_ context.Context, p *mod.Pass) error { taste(p, "stored"); return nil }}},
			Record: []mod.RecordHook{{When: in, Func: func(_ context.Context, p *mod.Pass) (func(mod.Tx) error, error) {
				taste(p, "returned")
				return nil, nil
			}}},
		}, nil
	},
}

// TestPoisonLater: a panic at a message that was stored, or that a session held, costs that message; those behind it come, and it is
// not met again.
func TestPoisonLater(t *testing.T) {
	for _, poisoned := range []string{"stored", "returned"} {
		t.Run(poisoned, func(t *testing.T) {
			s := xmpptest.NewServer(t, xmpptest.Options{Extensions: append(all.Extensions[:len(all.Extensions):len(all.Extensions)], ripe)})
			r, a := managed(t, s, s.MustAccount(t, "romeo"), "orchard"), s.MustAccount(t, "juliet")
			j := managed(t, s, a, "balcony")
			if err := j.Send(stanza.New(stanza.Presence, stanza.TypeAvailable)); err != nil {
				t.Fatal(err)
			}
			flush(t, j)
			abort(t, j) // parked
			<-j.Done()
			end := func() {
				for _, x := range s.Sessions() {
					if x.JID() == j.JID() {
						x.Close("reset", "for a test") // what it holds goes to the store before this returns
					}
				}
			}
			if poisoned == "stored" {
				end()
			}
			for _, text := range []string{"before", poisoned, "behind"} {
				if err := r.Send(body(a.JID, text)); err != nil {
					t.Fatal(err)
				}
			}
			flush(t, r)
			end()
			next := s.Dial(t, a, "window")
			if err := next.Send(stanza.New(stanza.Presence, stanza.TypeAvailable)); err != nil {
				t.Fatal(err)
			}
			if got := bodies(t, next, 2); got[0] != "before" || got[1] != "behind" {
				t.Errorf("came %q", got)
			}
			if err := r.Send(body(a.JID, "live")); err != nil {
				t.Fatal(err)
			}
			if got := bodies(t, next, 1); got[0] != "live" {
				t.Errorf("then came %q", got)
			}
			left := 0
			if err := s.DB().QueryRow(t.Context(), `SELECT count(*) FROM offline_message`).Scan(&left); err != nil || left > 0 {
				t.Errorf("%d are in the store still, %v", left, err)
			}
		})
	}
}

// messages yields the messages that come, up to that with the id.
func messages(t *testing.T, c *client.Client, last string) func(yield func(*stanza.Stanza) bool) {
	t.Helper()
	return func(yield func(*stanza.Stanza) bool) {
		for m := range c.Stanzas() {
			if m.Kind == stanza.Message && (!yield(m) || m.ID == last) {
				return
			}
		}
		t.Error("the session has ended")
	}
}
