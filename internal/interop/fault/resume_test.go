package fault

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sabir/internal/interop/ledger"
	"sabir/xmpp/client"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

var races = flag.Int("races", 20, "how often streams race for one session")

const nsSM = "urn:xmpp:sm:3"

// ask sends an element of stream management and waits for the answer.
func ask(st *client.Stream, e *xmlstream.Element) (*xmlstream.Element, error) {
	if err := st.SendElement(e); err != nil {
		return nil, err
	}
	f, err := st.Next()
	if err != nil {
		return nil, err
	}
	return f.Element(), nil
}

// authenticated opens a stream up to where it binds or resumes.
func authenticated(ctx context.Context, s ledger.Server, account int) (*client.Stream, error) {
	_, cfg, err := s.Account(account)
	if err != nil {
		return nil, err
	}
	st, err := client.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := st.Authenticate(ctx); err != nil {
		return nil, errors.Join(err, st.Conn.Close())
	}
	return st, nil
}

// TestResumeRace has several streams resume one session at once (row 22): one is left with it, and gets what waited, each
// message once and in order.
func TestResumeRace(t *testing.T) {
	const streams, messages = 5, 12
	s := server(t, t.TempDir(), 2, "")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	sender, err := login(ctx, s, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Conn.Close()
	j, _, err := s.Account(0)
	if err != nil {
		t.Fatal(err)
	}
	taken := 0
	for race := range *races {
		st, err := login(ctx, s, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := st.SendElement(xmlstream.El(nsSM, "enable", xmlstream.A("resume", "true"))); err != nil {
			t.Fatal(err)
		}
		var id string
		for id == "" { // its own presence comes before
			f, err := st.Next()
			if err != nil {
				t.Fatal(err)
			}
			if f.Name().Space == nsSM {
				if id = f.Element().Attr("id"); id == "" {
					t.Fatalf("the server answers <enable/> with %s", f.Raw())
				}
			}
		}
		var last string
		for n := range messages {
			m := stanza.New(stanza.Message, stanza.TypeChat, xmlstream.El(stanza.NSClient, "body", fmt.Sprint(n)))
			m.To, m.ID = j, fmt.Sprintf("%d-%d", race, n)
			last = m.ID
			if err := sender.Send(m); err != nil {
				t.Fatal(err)
			}
		}
		for seen := false; !seen; { // all have come, none was acknowledged
			f, err := st.Next()
			if err != nil {
				t.Fatal(err)
			}
			seen = f.Attr("id") == last
		}
		if err := st.Conn.Close(); err != nil {
			t.Fatal(err)
		}
		taken += resumeRace(ctx, t, s, id, streams, messages, race)
		if t.Failed() {
			return
		}
	}
	t.Logf("%d races of %d streams; the session was taken over %d times", *races, streams, taken)
}

// racer is what one stream got.
type racer struct {
	st      *client.Stream
	resumed bool
	in      atomic.Uint32 // stanzas that came
	got     []string      // ids of messages
	err     error
}

// resumeRace returns how many of the streams had the session for a while.
func resumeRace(ctx context.Context, t *testing.T, s ledger.Server, id string, streams, messages, race int) int {
	t.Helper()
	all := make([]*racer, streams)
	for i := range all {
		st, err := authenticated(ctx, s, 0)
		if err != nil {
			t.Fatal(err)
		}
		all[i] = &racer{st: st}
	}
	start := make(chan struct{})
	var wg sync.WaitGroup
	left := make(chan *racer, streams) // those that got all messages
	for _, r := range all {
		wg.Go(func() {
			<-start
			a, err := ask(r.st, xmlstream.El(nsSM, "resume", xmlstream.A("h", "0"), xmlstream.A("previd", id)))
			if err != nil {
				r.err = err
				return
			}
			if r.resumed = a.Name.Local == "resumed"; !r.resumed {
				return
			}
			for {
				f, err := r.st.Next()
				if err != nil {
					r.err = err
					return
				}
				if f.Name().Space == stanza.NSClient {
					r.in.Add(1)
				}
				if f.Name().Local == "message" {
					if r.got = append(r.got, f.Attr("id")); len(r.got) == messages {
						left <- r
					}
				}
			}
		})
	}
	close(start)
	// The one that is left answers; the others were cut off by it. Give what comes twice the time to come.
	var winner *racer
	select {
	case winner = <-left:
	case <-time.After(time.Minute):
		t.Errorf("race %d: nobody got all messages", race)
	}
	time.Sleep(50 * time.Millisecond)
	// Whoever has the session ends it with nothing left, or later ones would get that. The connections of the others are cut already.
	for _, r := range all {
		if n := r.in.Load(); n == 0 || r.st.SendElement(xmlstream.El(nsSM, "a", xmlstream.A("h", fmt.Sprint(n)))) != nil || r.st.Conn.CloseStream() != nil {
			r.st.Conn.Close()
		}
	}
	wg.Wait()
	for _, r := range all {
		r.st.Conn.Close()
	}
	n := 0
	for i, r := range all {
		if r.resumed {
			n++
		}
		for k, id := range r.got {
			if want := fmt.Sprintf("%d-%d", race, k); id != want {
				t.Errorf("race %d: stream %d got %q as its message %d, want %q", race, i, id, k, want)
				break
			}
		}
	}
	if n == 0 || winner == nil {
		t.Errorf("race %d: no stream has resumed the session", race)
	}
	return n
}
