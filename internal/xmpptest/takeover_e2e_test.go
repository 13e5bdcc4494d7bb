package xmpptest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sabir/internal/db/dbtest"
	"sabir/internal/transcript"
	"sabir/internal/xmpptest"
	"sabir/mod"
	"sabir/mod/all"
	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/sm"
	"sabir/xmpp/stanza"
)

// sluice is an extension that holds the write of the message with body "held" within its transaction, until it is opened.
type sluice struct {
	begun chan struct{} // receives when the write is there
	gate  chan struct{} // closed to let it go on
	open  atomic.Bool
	err   error // what it ends with then
}

func newSluice() *sluice {
	return &sluice{begun: make(chan struct{}, 1), gate: make(chan struct{})}
}

func (h *sluice) let(err error) {
	h.err = err
	h.open.Store(true)
	close(h.gate)
}

// extensions are all and the sluice.
func (h *sluice) extensions() []mod.Info {
	return append(slices.Clone(all.Extensions), mod.Info{
		Name: "sluice", Specs: []string{"XEP-0198 1.6.3"}, Doc: "Holds a commit.",
		New: func(mod.Host, any) (*mod.Hooks, error) {
			return &mod.Hooks{Record: []mod.RecordHook{{When: mod.When{Side: mod.In, Kinds: mod.Messages}, Func: func(_ context.Context, p *mod.Pass) (func(mod.Tx) error, error) {
				if p.Stanza.Body() != "held" {
					return nil, nil
				}
				return func(mod.Tx) error {
					select {
					case h.begun <- struct{}{}:
					default:
					}
					<-h.gate
					return h.err
				}, nil
			}}}}, nil
		},
	})
}

// underWay has romeo send three messages to juliet, as a rule as one batch, the second of which is "held", and waits until its commit is
// under way.
func (h *sluice) underWay(t *testing.T, r *client.Client, to jid.JID) {
	t.Helper()
	for _, text := range []string{"before", "held", "behind"} {
		if err := r.Send(body(to, text)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-h.begun:
	case <-time.After(30 * time.Second):
		t.Fatal("no commit is under way")
	}
}

// takeOver has another stream resume r's session. answered is closed with the answer.
func takeOver(t *testing.T, s *xmpptest.Server, a transcript.Account, r *client.Client, h uint32) (x *racer, answered chan string) {
	t.Helper()
	x = newRacer(t, managedConfig(t, s, a, "orchard"))
	answered = make(chan string, 1)
	go func() {
		if err := x.s.SendElement(sm.Resume(r.Managed().ID(), h)); err != nil {
			answered <- err.Error()
			return
		}
		f, err := x.s.Next()
		if err != nil {
			answered <- err.Error()
			return
		}
		answered <- f.Element().Name.Local + " " + f.Attr("h")
	}()
	return x, answered
}

// TestTakeOverInCommit takes a session over while the commit of what its client has sent over the stream before is under way:
// the client is told nothing before that has ended, and then what has become of it, once.
func TestTakeOverInCommit(t *testing.T) {
	for name, fails := range map[string]error{"slow": nil, "fails": errors.New("a constraint is broken")} {
		t.Run(name, func(t *testing.T) {
			dbtest.EachURL(t, func(t *testing.T, url string) {
				h := newSluice()
				s := xmpptest.NewServer(t, xmpptest.Options{Database: url, Extensions: h.extensions()})
				romeo, juliet := s.MustAccount(t, "romeo"), s.MustAccount(t, "juliet")
				r, j := managed(t, s, romeo, "orchard"), managed(t, s, juliet, "balcony")
				h.underWay(t, r, j.JID())
				x, answered := takeOver(t, s, romeo, r, 0)
				select {
				case a := <-answered:
					t.Fatalf("answered %q before the commit has ended", a)
				case <-time.After(100 * time.Millisecond): // a mistake would show
				}
				h.let(fails)
				switch a := <-answered; a {
				case "resumed 3":
				case "resumed 2": // the reader of the stream before had not come to the last one, so it is sent again
					if err := x.s.Send(body(j.JID(), "behind")); err != nil {
						t.Fatal(err)
					}
				default:
					t.Fatalf("answered %q", a)
				}
				want := []string{"before", "held", "behind"}
				if fails != nil {
					want = []string{"before", "behind"}
					f, err := x.s.Next()
					if err != nil {
						t.Fatal(err)
					}
					if m, _ := stanza.FromFrame(f); m == nil || m.ID != "held" || m.Err() == nil {
						t.Errorf("of the message that was not stored the client is told %s", f.Raw())
					}
				}
				end := body(j.JID(), "end")
				if err := x.s.Send(end); err != nil {
					t.Fatal(err)
				}
				want = append(want, "end")
				if got := bodies(t, j, len(want)); !slices.Equal(got, want) {
					t.Errorf("delivered were %q, want %q", got, want)
				}
				kept := 0
				if err := s.DB().QueryRow(t.Context(), `SELECT count(*) FROM archive_entry`).Scan(&kept); err != nil || kept != 2*len(want) {
					t.Errorf("%d are in the two archives, want %d: %v", kept, 2*len(want), err)
				}
				if err := x.s.Conn.Close(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// TestTakeOverKilled kills the server while a session is being taken over and the commit of what came over the stream before is
// under way, and not kept. Nobody was told anything; on the next server the client sends again what was lost, and all of it is
// delivered once.
func TestTakeOverKilled(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		h := newSluice()
		s := xmpptest.NewServer(t, xmpptest.Options{Database: url, Extensions: h.extensions()})
		romeo, juliet := s.MustAccount(t, "romeo"), s.MustAccount(t, "juliet")
		r, j := managed(t, s, romeo, "orchard"), managed(t, s, juliet, "balcony")
		if err := r.Send(body(j.JID(), "first")); err != nil {
			t.Fatal(err)
		}
		flush(t, r)
		h.underWay(t, r, j.JID())
		x, answered := takeOver(t, s, romeo, r, 0)
		killed := make(chan struct{})
		go func() { s.Kill(); close(killed) }()
		for err := context.DeadlineExceeded; errors.Is(err, context.DeadlineExceeded); { // until the database takes nothing more
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			err = s.DB().Write(ctx, func(mod.Tx) error { return nil })
			cancel()
		}
		h.let(mod.ErrUnavailable)
		if a := <-answered; strings.HasPrefix(a, "resumed") {
			t.Errorf("answered %q by a server that was killed", a)
		}
		<-killed
		if err := x.s.Conn.Close(); err != nil {
			t.Log(err)
		}
		abort(t, r)
		<-r.Done()
		abort(t, j)
		<-j.Done()

		s = xmpptest.NewServer(t, xmpptest.Options{Database: url})
		r2, j2 := comeBack(t, s, romeo, r.Managed()), comeBack(t, s, juliet, j.Managed())
		if err := r2.Send(body(j.JID(), "end")); err != nil {
			t.Fatal(err)
		}
		flush(t, r2)
		var got []string
		for len(got) == 0 || got[len(got)-1] != "end" {
			got = append(got, bodies(t, j2, 1)...)
		}
		if got = distinct(got); fmt.Sprint(got) != "[first before held behind end]" && fmt.Sprint(got) != "[before held behind end]" {
			t.Errorf("delivered were %q", got)
		}
		kept := 0
		if err := s.DB().QueryRow(t.Context(), `SELECT count(*) FROM archive_entry`).Scan(&kept); err != nil || kept != 10 {
			t.Errorf("%d are in the two archives, want 10: %v", kept, err)
		}
	})
}
