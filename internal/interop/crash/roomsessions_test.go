package crash

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"sabir/internal/interop"
	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// resident is an occupant whose session is resumed after each kill, and who goes on speaking.
type resident struct {
	*talker
	account interop.Account
	said    int
	waits   bool // for the last message, to come back from the room
}

// speak says something each time when the last message has come back, until the connection breaks or stop is closed.
func (k *resident) speak(stop <-chan struct{}) {
	for {
		if k.waits {
			select {
			case <-k.own:
				k.waits = false
			case <-k.c.Done():
				return
			}
		}
		select {
		case <-stop:
			return
		case <-k.c.Done():
			return
		default:
		}
		k.said++
		k.waits = true
		m := stanza.New(stanza.Message, stanza.TypeGroupchat, xmlstream.El(stanza.NSClient, "body", k.nick+" "+strconv.Itoa(k.said)))
		m.ID, m.To = stanza.NewID(), k.room
		if k.c.Send(m) != nil { // sent again when the session is resumed
			return
		}
	}
}

// resume goes on with the session at the server as it is now.
func (k *resident) resume(ctx context.Context, l *interop.Local, keys *sasl.KeyCache) error {
	cfg, err := l.ClientConfig(k.account)
	if err != nil {
		return err
	}
	cfg.Keys, cfg.Handle, cfg.Manage = keys, k.handle, true
	k.c, err = client.Resume(ctx, cfg, k.c.Managed())
	return err
}

// TestRoomSessions kills the server under rooms whose occupants resume their sessions. In the end each has heard the whole archive of the
// room, in its order: nothing is missing, nothing came twice, and all that was said is there once.
func TestRoomSessions(t *testing.T) {
	eachDatabase(t, func(t *testing.T, database string) {
		o := interop.Options{Dir: t.TempDir(), Within: time.Minute}
		first := o
		first.Args = []string{"--domain", domain, "--accounts", strconv.Itoa(roomClients), "--password", "first", "--scram-iterations", "4096"}
		if database != "" {
			first.Args = append(first.Args, "--database", database)
		}
		l, err := interop.Start(t.Context(), first)
		if err != nil {
			t.Fatal(err)
		}
		o.PortOffset = l.PortOffset
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(*rounds+1)*2*time.Minute)
		defer cancel()
		keys := sasl.NewKeyCache(100)
		all := inhabit(ctx, t, l, keys)
		for range *rounds {
			var wg sync.WaitGroup
			before := heard(all)
			for _, k := range all {
				wg.Go(func() { k.speak(nil) })
			}
			for deadline := time.Now().Add(time.Minute); heard(all) < before+10*roomClients && time.Now().Before(deadline); {
				time.Sleep(20 * time.Millisecond) // a busy machine
			}
			rest(ctx, time.Duration(below(700))*time.Millisecond)
			if err := l.Kill(); err != nil {
				t.Fatal(err)
			}
			wg.Wait()
			if l, err = interop.Start(context.Background(), o); err != nil {
				t.Fatal(err)
			}
			for _, k := range all {
				if err := k.resume(ctx, l, keys); err != nil {
					t.Fatalf("%s does not resume: %v\nthe server's log:\n%s", k.nick, err, l.Log())
				}
			}
		}
		finish(ctx, t, all)
		if t.Failed() {
			t.Logf("the server's log:\n%s", l.Log())
		}
		if err := l.Stop(); err != nil {
			t.Error(err)
		}
	})
}

// inhabit has all enter their rooms.
func inhabit(ctx context.Context, t *testing.T, l *interop.Local, keys *sasl.KeyCache) (all []*resident) {
	t.Helper()
	for i := range roomClients {
		room := jid.MustParse(fmt.Sprintf("home%d@conference.%s", i%roomCount, domain))
		k, err := enter(ctx, l, keys, l.Accounts[i], room, fmt.Sprint("n", i), true)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, &resident{talker: k, account: l.Accounts[i]})
		if i < roomCount {
			if err := k.open(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	return all
}

func heard(all []*resident) (n int) {
	for _, k := range all {
		k.mu.Lock()
		n += len(k.heard)
		k.mu.Unlock()
	}
	return n
}

// finish lets all say what they still have to, and compares what each has heard with the archive of the room.
func finish(ctx context.Context, t *testing.T, all []*resident) {
	t.Helper()
	stop := make(chan struct{})
	close(stop)
	for _, k := range all {
		done := make(chan struct{})
		go func() {
			defer close(done)
			k.speak(stop)
		}()
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			t.Errorf("the last message of %s, %d, never came back", k.nick, k.said)
			if err := k.c.Abort(); err != nil {
				t.Error(err)
			}
			<-done
		}
	}
	for _, k := range all[:roomCount] {
		kept, err := k.archive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		lines := make(map[string]bool)
		for _, b := range kept {
			if lines[b] {
				t.Errorf("%q is in the archive of %s twice", b, k.room)
			}
			lines[b] = true
		}
		for _, o := range all {
			if o.room != k.room {
				continue
			}
			for n := range o.said {
				if b := o.nick + " " + strconv.Itoa(n+1); !lines[b] {
					t.Errorf("%q is not in the archive of %s", b, k.room)
				}
			}
			o.agrees(t, kept)
			if len(o.errors) > 0 {
				t.Errorf("%s was refused: %q", o.nick, o.errors)
			}
		}
		t.Logf("%s: %d messages, of which %s got %d again", k.room, len(kept), k.nick, k.again)
	}
}

// agrees checks that what an occupant has heard since the first message is the archive.
func (k *resident) agrees(t *testing.T, kept []string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		k.mu.Lock()
		got := slices.Clone(k.heard)
		k.mu.Unlock()
		if len(got) > 0 {
			want := kept[max(0, slices.Index(kept, got[0])):]
			if slices.Equal(got, want) {
				return
			}
			if len(got) >= len(want) || time.Now().After(deadline) {
				t.Errorf("%s in %s: %s", k.nick, k.room, difference(got, want))
				return
			}
		}
		if time.Now().After(deadline) {
			t.Errorf("%s has heard nothing in %s", k.nick, k.room)
			return
		}
		time.Sleep(20 * time.Millisecond) // what was said last is on its way
	}
}

// difference tells what is missing in got, and what came too often.
func difference(got, want []string) string {
	count := make(map[string]int)
	for _, b := range got {
		count[b]++
	}
	var missing, twice []string
	for _, b := range want {
		if count[b] == 0 {
			missing = append(missing, b)
		}
	}
	for b, n := range count {
		if n > 1 {
			twice = append(twice, b)
		}
	}
	slices.Sort(twice)
	return fmt.Sprintf("heard %d of %d; missing %q, twice %q", len(got), len(want), missing, twice)
}
