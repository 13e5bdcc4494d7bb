package s2s

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
)

// fakeCarrier is a connection to nobody.
type fakeCarrier struct{ counts bool }

func (*fakeCarrier) write([]byte) error     { return nil }
func (*fakeCarrier) end(*stream.Error)      {}
func (*fakeCarrier) cut()                   {}
func (*fakeCarrier) ended() <-chan struct{} { return nil }
func (c *fakeCarrier) managed() bool        { return c.counts }
func (*fakeCarrier) maxBytes() int          { return 0 }

// waits returns a sender on a connection, for which so many messages and then a presence wait.
func waits(c carrier, messages int) (*sender, *link) {
	l := newLink(storeServer(nil), pairOf("a.example", "b.example"))
	l.srv.ending = true
	s := newSender(l)
	s.c, l.on = c, s
	for k := range messages + 1 {
		st := stanza.New(stanza.Message, stanza.TypeChat)
		if k == messages {
			st = stanza.New(stanza.Presence, "")
		}
		st.ID, st.From, st.To = fmt.Sprint("m", k), jid.MustParse("romeo@a.example/x"), jid.MustParse("juliet@b.example")
		l.waiting = append(l.waiting, &item{l: l, s: st, size: st.Wire().Size() + overhead, volatile: st.Kind != stanza.Message})
	}
	return s, l
}

var element = regexp.MustCompile(`<(message|presence|iq|r)\b`)

// order returns the names of the elements of a write.
func order(w writing) string {
	var names []string
	for _, m := range element.FindAllStringSubmatch(string(w.b), -1) {
		names = append(names, m[1])
	}
	return strings.Join(names, " ")
}

// TestQuestions: a peer that does not resume is asked behind each message, one that counts by <r/>, another by a ping, which must stand behind the last
// stanza too; one that resumes is asked once for each write.
func TestQuestions(t *testing.T) {
	for _, c := range []struct {
		counts bool
		smID   string
		want   string
	}{
		{true, "", "message r message r presence"},
		{false, "", "message iq message iq presence iq"},
		{true, "sm-1", "message message presence r"},
	} {
		s, _ := waits(&fakeCarrier{c.counts}, 2)
		s.smID = c.smID
		w := s.next(nil, s.c)
		if got := order(w); got != c.want || !w.due || !w.kept {
			t.Errorf("counts %v, id %q: %s, want %s", c.counts, c.smID, got, c.want)
		}
		if w := s.next(nil, s.c); len(w.b) > 0 {
			t.Errorf("counts %v, id %q: then %s", c.counts, c.smID, w.b)
		}
	}
}

// TestLatePong: the answer to a ping counts after the connection has ended on which the ping went out, for what stood before it.
func TestLatePong(t *testing.T) {
	s, l := waits(&fakeCarrier{}, 3)
	s.next(nil, s.c)
	ids := make([]string, 0, len(s.asks))
	for _, q := range s.asks {
		ids = append(ids, q.id)
	}
	s.lost(s.c)
	if !s.goesOn(0, s.srv.o.Clock.Now()) {
		t.Error("what was not answered waits for nothing")
	}
	if !s.passed(ids[1]) || s.owed() != 2 {
		t.Errorf("after the second of %d answers %d are owed", len(ids), s.owed())
	}
	if s.passed(ids[0]) || s.passed("") || s.passed("ping-of-somebody") {
		t.Error("what is no answer counts")
	}
	s.begin(&fakeCarrier{}, nil)
	if len(l.waiting) != 2 || l.waiting[0].s.ID != "m2" {
		t.Errorf("%d wait to be sent again", len(l.waiting))
	}
	if s.passed(ids[2]) {
		t.Error("an answer counts for what is sent again")
	}
}

// TestCountFromTheMiddle: a peer that begins to count on a connection in use has handled before what was sent before.
func TestCountFromTheMiddle(t *testing.T) {
	c := &fakeCarrier{}
	s, l := waits(c, 2)
	s.next(nil, c)
	if err := s.count(func() error { c.counts = true; return nil }); err != nil {
		t.Fatal(err)
	}
	more, _ := waits(c, 1)
	l.waiting = more.riders[0].waiting
	for _, i := range l.waiting {
		i.l = l
	}
	if got := order(s.next(nil, c)); got != "message r presence" {
		t.Errorf("then goes %s", got)
	}
	if err := s.ack(0); err != nil || s.owed() != 2 {
		t.Errorf("0 of what is counted leave %d, %v", s.owed(), err)
	}
	if err := s.ack(1); err != nil || s.owed() != 1 {
		t.Errorf("1 of what is counted leaves %d, %v", s.owed(), err)
	}
	if err := s.ack(3); err == nil || !strings.Contains(err.Error(), "acknowledged 3 stanzas, but I only sent you 2") {
		t.Errorf("3 of 2: %v", err)
	}
}

// TestWindow: no more is sent to a peer that does not resume than the window, until it answers.
func TestWindow(t *testing.T) {
	c := &fakeCarrier{counts: true}
	s, l := waits(c, 2*window)
	sent := 0
	for w := s.next(nil, c); len(w.b) > 0; w = s.next(nil, c) {
		sent += len(w.batch)
	}
	if sent != window || len(l.waiting) != window+1 {
		t.Errorf("%d are sent, %d wait", sent, len(l.waiting))
	}
	if err := s.ack(3); err != nil {
		t.Fatal(err)
	}
	if w := s.next(nil, c); len(w.batch) != 3 {
		t.Errorf("after 3 are acknowledged %d are sent", len(w.batch))
	}
	s.smID = "sm-1"
	if w := s.next(nil, c); len(w.batch) != window-2 {
		t.Errorf("a peer that resumes gets %d", len(w.batch))
	}
}
