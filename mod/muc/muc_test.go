package muc_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/mod/modtest"
	"sabir/mod/muc"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

const (
	garden = "garden@conference.localhost"
	romeo  = "romeo@localhost/orchard"
	juliet = "juliet@localhost/balcony"
)

// world is a service with what it has sent, by recipient.
type world struct {
	*modtest.Host
	t    testing.TB
	sent map[string][]*stanza.Stanza
}

func start(t testing.TB, d db.DB, o ...modtest.Option) *world {
	t.Helper()
	o = append([]modtest.Option{modtest.WithDB(d, db.Migrate)}, o...)
	return &world{Host: modtest.New(t, muc.Info, o...), t: t, sent: map[string][]*stanza.Stanza{}}
}

// as sends a stanza from an address and returns the error that the service gave for it.
func (w *world) as(from, xml string) error {
	w.t.Helper()
	s := modtest.Stanza(w.t, xml)
	s.From = jid.MustParse(from)
	return w.ToService(s)
}

func (w *world) must(from, xml string) {
	w.t.Helper()
	if err := w.as(from, xml); err != nil {
		w.t.Fatalf("%s: %v", xml, err)
	}
}

// settle waits until a room has done what it was given, and deals out what was sent.
func (w *world) settle(room string) {
	w.t.Helper()
	w.Get("barrier@localhost/x", room, "<ping xmlns='urn:xmpp:ping'/>")
	for _, s := range w.Routed() {
		w.sent[s.To.String()] = append(w.sent[s.To.String()], s)
	}
}

// take returns what somebody was sent since the last call.
func (w *world) take(to string) []*stanza.Stanza {
	w.settle(garden)
	s := w.sent[to]
	delete(w.sent, to)
	return s
}

func (w *world) enter(who, nick string) {
	w.t.Helper()
	w.must(who, "<presence to='"+garden+"/"+nick+"'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
}

// configure submits fields of the configuration, given in pairs.
func (w *world) configure(who string, pairs ...string) {
	w.t.Helper()
	form := ""
	for i := 0; i < len(pairs); i += 2 {
		form += "<field var='" + pairs[i] + "'><value>" + pairs[i+1] + "</value></field>"
	}
	a := w.Set(who, garden, "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>"+form+"</x></query>")
	if a == nil || a.Type != stanza.TypeResult {
		w.t.Fatalf("configuration: %v", a)
	}
}

func (w *world) say(who, id string) error {
	return w.as(who, "<message type='groupchat' id='"+id+"' to='"+garden+"'><body>"+id+"</body></message>")
}

// bodies returns the bodies of messages.
func bodies(list []*stanza.Stanza) string {
	var out []string
	for _, s := range list {
		if s.Kind == stanza.Message && s.Has(stanza.NSClient, "body") {
			out = append(out, s.Body())
		}
	}
	return strings.Join(out, " ")
}

// TestRestart: a room, its configuration, lists, subject, archive and occupants are there after a restart.
func TestRestart(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		w := start(t, d)
		w.enter(romeo, "romeo")
		w.configure(romeo, "muc#roomconfig_roomname", "Roses", "muc#roomconfig_persistentroom", "1", "muc#roomconfig_moderatedroom", "1")
		admin := "<query xmlns='http://jabber.org/protocol/muc#admin'>"
		if a := w.Set(romeo, garden, admin+"<item affiliation='member' jid='juliet@localhost' nick='Rose'/></query>"); a.Type != stanza.TypeResult {
			t.Fatal(a)
		}
		w.enter(juliet, "Rose")
		w.must(romeo, "<message type='groupchat' to='"+garden+"'><subject>Thorns</subject></message>")
		for _, id := range []string{"one", "two"} {
			if err := w.say(juliet, id); err != nil {
				t.Fatal(err)
			}
		}
		before := w.take(romeo)
		w.Stop()

		w = start(t, d)
		if err := w.say(juliet, "three"); err != nil { // she is still in, with the session that she resumed
			t.Fatalf("an occupant of before: %v", err)
		}
		after := w.take(romeo)
		if got := bodies(after); got != "three" {
			t.Errorf("romeo got %q", got)
		}
		if a, b := idOf(before[len(before)-1]), idOf(after[len(after)-1]); a != b || a == "" {
			t.Errorf("the occupant id was %q and is %q", a, b)
		}
		w.enter("nurse@localhost/hall", "nurse")
		var got []string
		for _, s := range w.take("nurse@localhost/hall") {
			switch {
			case s.Kind == stanza.Presence:
				got = append(got, s.From.Resource()+" "+s.Child("http://jabber.org/protocol/muc#user", "x").Child("http://jabber.org/protocol/muc#user", "item").Attr("role"))
			case s.Has(stanza.NSClient, "body"):
				got = append(got, s.Body())
			default:
				got = append(got, "subject "+s.Child(stanza.NSClient, "subject").Text())
			}
		}
		slices.Sort(got[:2]) // the order of occupants is not kept
		if want := "Rose participant, romeo moderator, nurse visitor, one, two, three, subject Thorns"; strings.Join(got, ", ") != want {
			t.Errorf("nurse got %s, want %s", strings.Join(got, ", "), want)
		}
		info := w.Get("nurse@localhost/hall", garden, "<query xmlns='http://jabber.org/protocol/disco#info'/>").String()
		for _, want := range []string{"name='Roses'", "'muc_persistent'", "'muc_moderated'"} {
			if !strings.Contains(info, want) {
				t.Errorf("after the restart the room has no %s", want)
			}
		}
		w.Stop()
	})
}

func idOf(s *stanza.Stanza) string {
	return s.Child("urn:xmpp:occupant-id:0", "occupant-id").Attr("id")
}

// TestTemporary: what is left of a temporary room goes with its last occupant.
func TestTemporary(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		w := start(t, d)
		w.enter(romeo, "romeo")
		w.configure(romeo)
		if err := w.say(romeo, "one"); err != nil {
			t.Fatal(err)
		}
		w.must(romeo, "<presence type='unavailable' to='"+garden+"/romeo'/>")
		w.settle(garden)
		if err := w.say(romeo, "two"); modtest.Condition(t, err) != stanza.ItemNotFound {
			t.Errorf("the room is still there: %v", err)
		}
		w.enter(juliet, "juliet")
		w.configure(juliet)
		if got := bodies(w.take(juliet)); got != "" {
			t.Errorf("a new room of the name has the history of the old one: %s", got)
		}
		if a := w.Get(romeo, garden, "<query xmlns='http://jabber.org/protocol/muc#owner'/>"); a.Err() == nil {
			t.Error("the owner of the old room is one of the new")
		}
		w.Stop()
	})
}

// TestOneOrder has many talk at once: all occupants, and the archive, have everything once and in one order.
func TestOneOrder(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		w := start(t, d)
		const speakers, each = 8, 30
		for i := range speakers {
			w.enter(fmt.Sprintf("u%d@localhost/x", i), fmt.Sprint("u", i))
			if i == 0 {
				w.configure("u0@localhost/x", "muc#maxhistoryfetch", "200")
			}
		}
		w.take("u0@localhost/x")
		var wg sync.WaitGroup
		for i := range speakers {
			wg.Go(func() {
				for n := range each {
					s := stanza.New(stanza.Message, stanza.TypeGroupchat, modtest.XML(t, fmt.Sprintf("<body xmlns='jabber:client'>%d.%d</body>", i, n)))
					s.From, s.To = jid.MustParse(fmt.Sprintf("u%d@localhost/x", i)), jid.MustParse(garden)
					if err := w.ToService(s); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		want := bodies(w.take("u0@localhost/x"))
		if n := len(strings.Fields(want)); n != speakers*each {
			t.Fatalf("%d messages came, not %d", n, speakers*each)
		}
		next := map[string]int{}
		for _, b := range strings.Fields(want) {
			who, n, _ := strings.Cut(b, ".")
			if fmt.Sprint(next[who]) != n {
				t.Fatalf("of %s comes %s where %d is due", who, n, next[who])
			}
			next[who]++
		}
		for i := 1; i < speakers; i++ {
			if got := bodies(w.take(fmt.Sprintf("u%d@localhost/x", i))); got != want {
				t.Errorf("another order for %d", i)
			}
		}
		if got := archived(w, "u0@localhost/x"); got != want {
			t.Errorf("the archive has another order: %s", got)
		}
		w.Stop()
	})
}

// archived reads the archive of the garden.
func archived(w *world, who string) string {
	w.t.Helper()
	var all []string
	after := ""
	for {
		set := "<set xmlns='http://jabber.org/protocol/rsm'><max>100</max><after>" + after + "</after></set>"
		if after == "" {
			set = "<set xmlns='http://jabber.org/protocol/rsm'><max>100</max></set>"
		}
		a := w.Set(who, garden, "<query xmlns='urn:xmpp:mam:2'>"+set+"</query>")
		if a == nil || a.Type != stanza.TypeResult {
			w.t.Fatalf("archive: %v", a)
		}
		n := 0
		for _, s := range w.Routed() {
			x := s.String()
			if _, rest, ok := strings.Cut(x, "<body>"); ok {
				body, _, _ := strings.Cut(rest, "</body>")
				all = append(all, body)
				n++
			}
		}
		fin := a.Payload()
		if n == 0 || fin.Attr("complete") == "true" {
			return strings.Join(all, " ")
		}
		after = fin.Child("http://jabber.org/protocol/rsm", "set").ChildText("http://jabber.org/protocol/rsm", "last")
	}
}

// broken is a database whose writes fail while it is told so.
type broken struct {
	db.DB
	mu  sync.Mutex
	err error
}

func (b *broken) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

func (b *broken) Write(ctx context.Context, fn func(mod.Tx) error) error {
	b.mu.Lock()
	err := b.err
	b.mu.Unlock()
	if err != nil {
		return err
	}
	return b.DB.Write(ctx, fn)
}

// TestNotDurable: what is not committed reaches nobody, and its sender is told.
func TestNotDurable(t *testing.T) {
	b := &broken{DB: dbtest.SQLite(t)}
	w := start(t, b)
	w.enter(romeo, "romeo")
	w.configure(romeo)
	w.enter(juliet, "juliet")
	w.take(juliet)
	b.fail(mod.ErrFull)
	if err := w.say(romeo, "lost"); !errors.Is(err, mod.ErrFull) {
		t.Errorf("the sender is told %v", err)
	}
	b.fail(nil)
	if err := w.say(romeo, "kept"); err != nil {
		t.Error(err)
	}
	if got := bodies(w.take(juliet)); got != "kept" {
		t.Errorf("juliet got %q", got)
	}
	w.Stop()
}

// TestGhost: a client that what is sent to comes back from is in the room no more.
func TestGhost(t *testing.T) {
	w := start(t, dbtest.SQLite(t))
	w.enter(romeo, "romeo")
	w.configure(romeo)
	w.enter("far@far.example/x", "far")
	w.take(romeo)
	// What was sent there comes back: the occupant is gone (XEP-0045#service-error-kick).
	w.must("far@far.example/x", "<message type='error' to='"+garden+"/romeo'><error type='cancel'><remote-server-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
	got := w.take(romeo)
	if len(got) != 1 || got[0].Type != stanza.TypeUnavailable || !strings.Contains(got[0].String(), "code='333'") {
		t.Errorf("romeo got %v", got)
	}
	w.Stop()
}

// TestLimits: how many rooms, and who may make them.
func TestLimits(t *testing.T) {
	create := func(w *world, who, room string) stanza.Condition {
		s := modtest.Stanza(w.t, "<presence to='"+room+"@conference.localhost/x'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
		s.From = jid.MustParse(who)
		if err := w.ToService(s); err != nil {
			w.t.Fatal(err)
		}
		w.settle(room + "@conference.localhost")
		list := w.sent[who]
		delete(w.sent, who)
		if len(list) == 0 {
			w.t.Fatal("no answer")
		}
		if e := list[0].Err(); e != nil {
			return e.Condition
		}
		if a := w.Set(who, room+"@conference.localhost", "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>"); a.Type != stanza.TypeResult {
			w.t.Fatal(a)
		}
		w.Routed()
		return ""
	}
	w := start(t, dbtest.SQLite(t), modtest.WithConfig(func(c *muc.Config) { c.PerUser, c.Rooms = 2, 3; c.Admins = []string{"boss@localhost"} }))
	for _, c := range []struct {
		who, room string
		want      stanza.Condition
	}{
		{"far@far.example/x", "a", stanza.NotAllowed},
		{romeo, "a", ""},
		{romeo, "b", ""},
		{romeo, "c", stanza.ResourceConstraint},
		{juliet, "c", ""},
		{juliet, "d", stanza.ResourceConstraint},
		{"boss@localhost/x", "d", ""},
	} {
		if got := create(w, c.who, c.room); got != c.want {
			t.Errorf("%s creates %s: %q, want %q", c.who, c.room, got, c.want)
		}
	}
	if a := w.Get("boss@localhost/x", "a@conference.localhost", "<query xmlns='http://jabber.org/protocol/muc#owner'/>"); a.Type != stanza.TypeResult {
		t.Errorf("an admin of the service is no owner: %v", a)
	}
	w.Stop()
}

// TestPages: the list of rooms comes in pages (XEP-0059), without those that are hidden.
func TestPages(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		w := start(t, d, modtest.WithConfig(func(c *muc.Config) { c.Lock = false }))
		for i := range 7 {
			w.must(romeo, fmt.Sprintf("<presence to='r%d@conference.localhost/x'><x xmlns='http://jabber.org/protocol/muc'/></presence>", i))
		}
		if a := w.Set(romeo, "r3@conference.localhost", "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'><field var='muc#roomconfig_publicroom'><value>0</value></field></x></query>"); a.Type != stanza.TypeResult {
			t.Fatal(a)
		}
		for _, c := range []struct{ set, want string }{
			{"<max>2</max>", "r0 r1 0 6"},
			{"<max>2</max><after>r1@conference.localhost</after>", "r2 r4 2 6"},
			{"<max>2</max><before/>", "r5 r6 4 6"},
			{"<max>2</max><before>r5@conference.localhost</before>", "r2 r4 2 6"},
			{"<max>0</max>", "6"},
		} {
			a := w.Get(juliet, "conference.localhost", "<query xmlns='http://jabber.org/protocol/disco#items'><set xmlns='http://jabber.org/protocol/rsm'>"+c.set+"</set></query>")
			var got []string
			for x := range a.Payload().Elements() {
				if x.Name.Local == "item" {
					got = append(got, jid.MustParse(x.Attr("jid")).Local())
					continue
				}
				if f := x.Child(x.Name.Space, "first"); f != nil {
					got = append(got, f.Attr("index"))
				}
				got = append(got, x.ChildText(x.Name.Space, "count"))
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("%s: %s, want %s", c.set, s, c.want)
			}
		}
		w.Stop()
	})
}

// TestConfigValidate checks the section of the configuration.
func TestConfigValidate(t *testing.T) {
	for name, f := range map[string]func(*muc.Config){
		"create":    func(c *muc.Config) { c.Create = "all" },
		"admins":    func(c *muc.Config) { c.Admins = []string{"localhost"} },
		"occupants": func(c *muc.Config) { c.Occupants = 0 },
		"history":   func(c *muc.Config) { c.History = 100000 },
		"service":   func(c *muc.Config) { c.Service = " " },
		"idle":      func(c *muc.Config) { c.Idle = 0 },
	} {
		c := muc.Info.Config().(*muc.Config)
		f(c)
		if c.Validate() == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if err := muc.Info.Config().(*muc.Config).Validate(); err != nil {
		t.Error(err)
	}
}

// TestAdmins: those of the service see hidden rooms in the list, and announce something in all.
func TestAdmins(t *testing.T) {
	w := start(t, dbtest.SQLite(t), modtest.WithConfig(func(c *muc.Config) { c.Admins = []string{"boss@localhost"} }))
	w.enter(romeo, "romeo")
	w.configure(romeo, "muc#roomconfig_publicroom", "0")
	w.take(romeo)
	for who, want := range map[string]bool{juliet: false, "boss@localhost/x": true} {
		a := w.Get(who, "conference.localhost", "<query xmlns='http://jabber.org/protocol/disco#items'/>").String()
		if got := strings.Contains(a, garden); got != want {
			t.Errorf("%s sees %s", who, a)
		}
	}
	const news = "<message to='conference.localhost' id='n'><body>We close at ten</body></message>"
	if err := w.as(juliet, news); modtest.Condition(t, err) != stanza.ServiceUnavailable {
		t.Errorf("anybody announces: %v", err)
	}
	w.must("boss@localhost/x", news)
	got := w.take(romeo)
	if bodies(got) != "We close at ten" || got[0].From.String() != garden || got[0].Type != stanza.TypeGroupchat {
		t.Errorf("romeo got %v", got)
	}
	w.Stop()
}

// TestAccountRemoved: who gets the address of a removed account inherits nothing, in memory or on disk.
func TestAccountRemoved(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		w := start(t, d)
		w.enter(romeo, "romeo")
		w.configure(romeo, "muc#roomconfig_persistentroom", "1")
		w.Remove("romeo")
		for range 2 {
			if a := w.Get(romeo, garden, "<query xmlns='http://jabber.org/protocol/muc#owner'/>"); a.Err() == nil || a.Err().Condition != stanza.Forbidden {
				t.Errorf("the next romeo owns the room: %v", a)
			}
			w.Stop()
			w = start(t, d)
		}
		w.Stop()
	})
}

// TestForgedDelay: nobody says in the room's name when something was said (XEP-0203#security).
func TestForgedDelay(t *testing.T) {
	w := start(t, dbtest.SQLite(t))
	w.enter(romeo, "romeo")
	w.configure(romeo)
	w.must(romeo, "<message type='groupchat' to='"+garden+"'><body>x</body><delay xmlns='urn:xmpp:delay' from='"+garden+"' stamp='2001-01-01T00:00:00Z'/>"+
		"<delay xmlns='urn:xmpp:delay' from='old@localhost' stamp='2002-01-01T00:00:00Z'/></message>")
	w.enter(juliet, "juliet")
	for _, s := range w.take(juliet) {
		if s.Body() != "" && (strings.Contains(s.String(), "2001-") || !strings.Contains(s.String(), "2002-") || strings.Count(s.String(), "<delay ") != 2) {
			t.Errorf("juliet got %s", s)
		}
	}
	w.Stop()
}

// TestErrorAfterInvitation: an error of somebody who has come is not one of the invitation.
func TestErrorAfterInvitation(t *testing.T) {
	w := start(t, dbtest.SQLite(t))
	w.enter(romeo, "romeo")
	w.configure(romeo)
	invite := "<message to='" + garden + "'><x xmlns='http://jabber.org/protocol/muc#user'><invite to='juliet@localhost'/></x></message>"
	failed := "<message type='error' to='" + garden + "'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
	told := func() (n int) {
		w.settle(garden)
		for _, s := range w.take(romeo) {
			if s.Kind == stanza.Message && s.Type == stanza.TypeError {
				n++
			}
		}
		return n
	}
	w.must(romeo, invite)
	w.enter(juliet, "juliet")
	w.must(juliet, failed) // the client is gone
	w.must(juliet, failed) // and so it is said of the next message
	if n := told(); n != 0 {
		t.Errorf("romeo is told %d times that juliet, who has come, was not invited", n)
	}
	w.must(romeo, invite)
	w.must(juliet, failed)
	if n := told(); n != 1 {
		t.Errorf("romeo is told %d times that an invitation came back", n)
	}
	w.Stop()
}
