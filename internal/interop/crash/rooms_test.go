package crash

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
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

const (
	nsMUC = "http://jabber.org/protocol/muc"
	nsMAM = "urn:xmpp:mam:2"

	roomCount   = 3
	perRoom     = 5
	roomClients = roomCount * perRoom
)

// talker is an occupant of a room, who speaks as soon as the room has repeated what was said.
type talker struct {
	c    *client.Client
	room jid.JID
	nick string

	mu       sync.Mutex
	heard    []string // bodies, in the order in which they came
	archived []string // those of the results of a query
	errors   []string
	ids      map[string]bool // of the messages that came, as the room has called them (XEP-0359)
	again    int             // copies that came again
	subject  chan struct{}
	own      chan struct{} // an own message came back
}

func (k *talker) handle(_ *client.Client, s *stanza.Stanza) bool {
	if s.Kind != stanza.Message {
		return s.Kind != stanza.IQ
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if r := s.Child(nsMAM, "result"); r != nil {
		for f := range r.First().Elements() {
			if b := f.Child(stanza.NSClient, "body"); b != nil {
				k.archived = append(k.archived, b.Text())
			}
		}
		return true
	}
	switch {
	case s.Type == stanza.TypeError:
		k.errors = append(k.errors, s.String())
	case s.Type != stanza.TypeGroupchat:
	case s.Has(stanza.NSClient, "subject"):
		signal(k.subject)
	case s.Has(stanza.NSClient, "body"):
		if k.cameBefore(s) {
			return true
		}
		k.heard = append(k.heard, s.Body())
		if s.From.Resource() == k.nick {
			signal(k.own)
		}
	}
	return true
}

// cameBefore tells whether a message is one that a resumed session is sent again, because the server does not know that it has arrived.
func (k *talker) cameBefore(s *stanza.Stanza) bool {
	id := s.Child("urn:xmpp:sid:0", "stanza-id").Attr("id")
	if k.ids == nil {
		k.ids = make(map[string]bool)
	}
	if k.ids[id] {
		k.again++
		return true
	}
	k.ids[id] = true
	return false
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// enter logs in and enters a room, without its history. manage says that the session can be resumed.
func enter(ctx context.Context, l *interop.Local, keys *sasl.KeyCache, a interop.Account, room jid.JID, nick string, manage bool) (*talker, error) {
	k := &talker{room: room, nick: nick, subject: make(chan struct{}, 1), own: make(chan struct{}, 1)}
	cfg, err := l.ClientConfig(a)
	if err != nil {
		return nil, err
	}
	cfg.Keys, cfg.Handle, cfg.Manage = keys, k.handle, manage
	if k.c, err = client.Dial(ctx, cfg); err != nil {
		return nil, err
	}
	p := stanza.New(stanza.Presence, "", xmlstream.El(nsMUC, "x", xmlstream.El(nsMUC, "history", xmlstream.A("maxstanzas", "0"))))
	if p.To, err = room.WithResource(nick); err != nil {
		return nil, err
	}
	if err := k.c.Send(p); err != nil {
		return nil, err
	}
	select {
	case <-k.subject:
		return k, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%s does not get into %s: %w", nick, room, ctx.Err())
	}
}

// open makes the room a persistent one.
func (k *talker) open(ctx context.Context) error {
	field := xmlstream.El("jabber:x:data", "field", xmlstream.A("var", "muc#roomconfig_persistentroom"), xmlstream.El("jabber:x:data", "value", "1"))
	form := xmlstream.El("jabber:x:data", "x", xmlstream.A("type", "submit"), field)
	_, err := k.c.Request(ctx, stanza.TypeSet, k.room, xmlstream.El(nsMUC+"#owner", "query", form))
	return err
}

// talk speaks until the connection breaks.
func (k *talker) talk(prefix string) {
	for n := 0; ; n++ {
		m := stanza.New(stanza.Message, stanza.TypeGroupchat, xmlstream.El(stanza.NSClient, "body", prefix+" "+k.nick+" "+strconv.Itoa(n)))
		m.To = k.room
		if k.c.Send(m) != nil {
			return
		}
		select {
		case <-k.own:
		case <-k.c.Done():
			return
		}
	}
}

// archive reads the whole archive of the room.
func (k *talker) archive(ctx context.Context) ([]string, error) {
	if err := interop.ReadArchive(ctx, k.c, k.room); err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.archived, nil
}

// TestRooms kills the server under rooms in which all speak. What a room has repeated to anybody is in its archive, once, and
// everybody has heard it in the order of the archive.
func TestRooms(t *testing.T) {
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
		accounts, keys := l.Accounts, sasl.NewKeyCache(100)
		o.PortOffset = l.PortOffset
		for n := range *rounds {
			if l = roomRound(t, l, o, accounts, keys, n); t.Failed() {
				t.Logf("the server's log:\n%s", l.Log())
				break
			}
		}
		if err := l.Stop(); err != nil {
			t.Error(err)
		}
	})
}

func roomRound(t *testing.T, l *interop.Local, o interop.Options, accounts []interop.Account, keys *sasl.KeyCache, n int) *interop.Local {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	all := make([]*talker, roomClients)
	for i := range all {
		room := jid.MustParse(fmt.Sprintf("room%d@conference.%s", i%roomCount, domain))
		k, err := enter(ctx, l, keys, accounts[i], room, fmt.Sprint("n", i), false)
		if err != nil {
			t.Fatal(err)
		}
		if all[i] = k; n == 0 && i < roomCount {
			if err := k.open(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	var wg sync.WaitGroup
	for _, k := range all {
		wg.Go(func() { k.talk("round" + strconv.Itoa(n)) })
	}
	for deadline := time.Now().Add(time.Minute); copies(all) < 10*roomClients && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond) // a busy machine
	}
	time.Sleep(time.Duration(below(1500)) * time.Millisecond)
	if err := l.Kill(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	l, err := interop.Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for r := range roomCount {
		reader, err := enter(ctx, l, keys, accounts[r], all[r].room, fmt.Sprint("n", r), false)
		if err != nil {
			t.Fatal(err)
		}
		kept, err := reader.archive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		seen := make(map[string]bool)
		for _, b := range kept {
			if seen[b] {
				t.Errorf("round %d: %q is in the archive of %s twice", n, b, reader.room)
			}
			seen[b] = true
		}
		for i := r; i < roomClients; i += roomCount {
			all[i].compare(t, kept)
			total += len(all[i].heard)
			if err := all[i].c.Abort(); err != nil {
				t.Error(err)
			}
		}
		if err := reader.c.Close(ctx); err != nil {
			t.Error(err)
		}
	}
	t.Logf("round %d: %d copies were heard before the server was killed", n, total)
	if total < 10*roomClients {
		t.Errorf("round %d: that tests little", n)
	}
	return l
}

// copies counts what all have heard.
func copies(all []*talker) (n int) {
	for _, k := range all {
		k.mu.Lock()
		n += len(k.heard)
		k.mu.Unlock()
	}
	return n
}

// compare checks that what an occupant has heard is a part of the archive as it stands, without a gap.
func (k *talker) compare(t *testing.T, kept []string) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.heard) == 0 {
		return
	}
	at := slices.Index(kept, k.heard[0])
	if at < 0 || at+len(k.heard) > len(kept) || !slices.Equal(kept[at:at+len(k.heard)], k.heard) {
		t.Errorf("%s heard in %s:\n%s\nthe archive has %d from %d:\n%s", k.nick, k.room, strings.Join(k.heard, ", "), len(kept), at, strings.Join(kept, ", "))
	}
}
