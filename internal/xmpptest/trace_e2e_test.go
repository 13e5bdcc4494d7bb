package xmpptest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sabir/internal/admin"
	"sabir/internal/xmpptest"
	"sabir/mod"
	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// traced waits until what is known of a message has all of these in this order, and returns it.
func traced(t *testing.T, s *xmpptest.Server, id string, want ...string) admin.Trace {
	t.Helper()
	var tr admin.Trace
	var missing string
	for range 200 {
		var err error
		if tr, err = s.Trace(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if missing = lacks(tr.Messages, want); missing == "" {
			return tr
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatalf("%s: %q is missing, in this order, from %v", id, missing, tr.Messages)
	return tr
}

func lacks(stories [][]mod.TraceEvent, want []string) string {
	var all []string
	for _, story := range stories {
		for _, e := range story {
			all = append(all, strings.TrimSpace(e.What+" "+e.Who+" "+e.Detail))
		}
	}
	for _, w := range want {
		i := 0
		for ; i < len(all) && !strings.HasPrefix(all[i], w); i++ {
		}
		if i == len(all) {
			return w
		}
		all = all[i+1:]
	}
	return ""
}

func say(t *testing.T, from *client.Client, to jid.JID, id string, more ...*xmlstream.Element) {
	t.Helper()
	m := stanza.New(stanza.Message, stanza.TypeChat, xmlstream.El(stanza.NSClient, "body", "the secret of the quay")).Add(more...)
	m.To, m.ID = to, id
	if err := from.Send(m); err != nil {
		t.Fatal(err)
	}
}

// TestTrace follows messages to a device, to another by carbons, to the offline store and from there, past a refusal, and by
// the ids that archives gave.
func TestTrace(t *testing.T) {
	s := xmpptest.NewServer(t, xmpptest.Options{})
	a, b := s.MustAccount(t, "romeo"), s.MustAccount(t, "juliet")
	romeo := s.Dial(t, a, "orchard")
	say(t, romeo, b.JID, "while-offline", xmlstream.El("urn:xmpp:sid:0", "origin-id", xmlstream.Attr{Name: xmlstream.Name{Local: "id"}, Value: "origin-1"}))
	traced(t, s, "origin-1", "received "+romeo.JID().String()+" "+b.JID.String(), "known as "+romeo.JID().String()+" while-offline", "stored", "committed", "archived "+b.JID.String())

	balcony, chamber := s.Dial(t, b, "balcony"), s.Dial(t, b, "chamber")
	if _, err := chamber.Request(t.Context(), stanza.TypeSet, b.JID, xmlstream.El("urn:xmpp:carbons:2", "enable")); err != nil {
		t.Fatal(err)
	}
	if err := balcony.Send(stanza.New(stanza.Presence, stanza.TypeAvailable)); err != nil {
		t.Fatal(err)
	}
	traced(t, s, "while-offline", "stored", "taken from offline "+balcony.JID().String(), "written "+balcony.JID().String())

	say(t, romeo, balcony.JID(), "live")
	tr := traced(t, s, "live", "received", "committed", "archived "+b.JID.String(), "queued "+balcony.JID().String(), "copied "+chamber.JID().String(), "written")
	if lacks(tr.Messages, []string{"written " + chamber.JID().String()}) != "" {
		traced(t, s, "live", "written "+chamber.JID().String())
	}
	if len(tr.Also) == 0 {
		t.Fatalf("the ids of the archives are not known: %+v", tr)
	}
	for _, id := range tr.Also {
		traced(t, s, id, "known as "+romeo.JID().String()+" live")
	}
	if n := len(tr.Stored); n != 2 {
		t.Errorf("%d archives have it, want those of both sides: %v", n, tr.Stored)
	}
	if text := fmt.Sprintf("%+v", tr); strings.Contains(text, "quay") {
		t.Errorf("the trace has the message's text: %s", text)
	}

	block := xmlstream.El("urn:xmpp:blocking", "block", xmlstream.El("urn:xmpp:blocking", "item", xmlstream.Attr{Name: xmlstream.Name{Local: "jid"}, Value: a.JID.String()}))
	if _, err := balcony.Request(t.Context(), stanza.TypeSet, b.JID, block); err != nil {
		t.Fatal(err)
	}
	say(t, romeo, b.JID, "unwanted")
	traced(t, s, "unwanted", "received", "refused blocking service-unavailable")
	say(t, romeo, jid.MustParse("nobody@"+xmpptest.Domain), "to-nobody")
	traced(t, s, "to-nobody", "received", "dropped route no such account")
	if none, err := s.Trace(t.Context(), "never-sent"); err != nil || len(none.Messages)+len(none.Stored) > 0 {
		t.Errorf("an id that nobody gave: %+v %v", none, err)
	}
}

// TestTraceAcked follows a message to a client that acknowledges it, and one that is lost with its connection and comes again.
func TestTraceAcked(t *testing.T) {
	s := xmpptest.NewServer(t, xmpptest.Options{})
	a, b := s.MustAccount(t, "romeo"), s.MustAccount(t, "juliet")
	romeo, phone := s.Dial(t, a, "orchard"), s.Dial(t, b, "phone")
	sm := func(local string, attrs ...xmlstream.Attr) *xmlstream.Element {
		e := xmlstream.El("urn:xmpp:sm:3", local)
		for _, at := range attrs {
			e.Add(at)
		}
		return e
	}
	for _, send := range []func() error{
		func() error { return phone.SendElement(sm("enable", xmlstream.A("resume", "true"))) },
		func() error { return phone.Send(stanza.New(stanza.Presence, stanza.TypeAvailable)) },
	} {
		if err := send(); err != nil {
			t.Fatal(err)
		}
	}
	<-phone.Stanzas() // its own presence, the first that counts
	say(t, romeo, phone.JID(), "acked")
	traced(t, s, "acked", "written "+phone.JID().String())
	if err := phone.SendElement(sm("a", xmlstream.A("h", "2"))); err != nil {
		t.Fatal(err)
	}
	traced(t, s, "acked", "received", "committed", "queued", "written", "acknowledged "+phone.JID().String())

	say(t, romeo, phone.JID(), "lost")
	traced(t, s, "lost", "written "+phone.JID().String())
	if err := phone.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	traced(t, s, "lost", "written", "returned "+phone.JID().String())
	desk := s.Dial(t, b, "desk")
	if err := desk.Send(stanza.New(stanza.Presence, stanza.TypeAvailable)); err != nil {
		t.Fatal(err)
	}
	for m := range desk.Stanzas() { // stored messages may come first
		if m.Kind == stanza.Presence {
			break
		}
	}
	say(t, romeo, b.JID, "after")
	traced(t, s, "after", "queued "+desk.JID().String(), "written "+desk.JID().String())
}
