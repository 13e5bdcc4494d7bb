package xmpptest_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"sabir/internal/transcript"
	"sabir/internal/xmpptest"
	"sabir/xmpp/client"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// TestPushTargetDown: app servers and push services that do not answer cost the messages nothing (row 26 of the faults: a
// target that is down never blocks delivery), and are asked once and not once for each message.
func TestPushTargetDown(t *testing.T) {
	hole, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	s := xmpptest.NewServer(t, xmpptest.Options{Config: []string{`outbound.allow = ["127.0.0.0/8"]`}})
	romeo := s.Dial(t, s.MustAccount(t, "romeo"), "orchard")
	// One account has services that are silent; the other one that answers, because counting what waits costs a commit.
	good, silent := s.MustAccount(t, "good"), s.MustAccount(t, "silent")
	answering := s.Dial(t, good, "app")
	go func() {
		for q := range answering.Stanzas() {
			if err := answering.Send(q.Result(nil)); err != nil {
				return // the test is over
			}
		}
	}()
	app := s.Dial(t, silent, "app")
	enable(t, s.Dial(t, good, "phone"), xmppService(answering))
	enable(t, s.Dial(t, silent, "phone"), xmppService(app), "<enable xmlns='urn:xmpp:push:0' jid='hole.example' node='n'/>",
		"<subscribe xmlns='sabir:webpush:0' endpoint='https://"+hole.Addr().String()+"/1'><p256dh>BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4</p256dh><auth>BTBZMqHH6r4Tts7J_aSIgg</auth></subscribe>")
	desk := func(a transcript.Account) *client.Client {
		c := s.Dial(t, a, "desk")
		if err := c.Send(stanza.New(stanza.Presence, stanza.TypeAvailable)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	without := deliver(t, romeo, desk(good))
	with := deliver(t, romeo, desk(silent))
	t.Logf("delivery with a push service that answers: p50 %v p99 %v; with three that do not: p50 %v p99 %v", without[100], without[197], with[100], with[197])
	if with[199] > 5*time.Second { // the time-outs are 10 and 30 seconds
		t.Errorf("a message took %v", with[199])
	}
	n := 0
	for {
		select {
		case m := <-app.Stanzas():
			if strings.Contains(m.String(), "urn:xmpp:push:0") {
				n++
			}
			continue
		case <-time.After(500 * time.Millisecond):
		}
		break
	}
	if n != 1 {
		t.Errorf("a silent app server got %d notifications for 200 messages, want one", n)
	}
}

func xmppService(app *client.Client) string {
	return "<enable xmlns='urn:xmpp:push:0' jid='" + app.JID().String() + "' node='n'/>"
}

// enable enables push services and disconnects.
func enable(t *testing.T, phone *client.Client, payloads ...string) {
	t.Helper()
	for _, p := range payloads {
		e, err := xmlstream.Parse(p, xmlstream.DefaultLimits)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := phone.Request(t.Context(), stanza.TypeSet, phone.JID().Bare(), e); err != nil {
			t.Fatalf("%s: %v", p, err)
		}
	}
	if err := phone.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// deliver sends 200 messages one after the other and returns how long each took, sorted.
func deliver(t *testing.T, from, to *client.Client) []time.Duration {
	t.Helper()
	var took []time.Duration
	for i := range 200 {
		m := stanza.New(stanza.Message, stanza.TypeChat, xmlstream.El(stanza.NSClient, "body", "x"))
		m.To, m.ID = to.JID(), fmt.Sprint(i)
		start := time.Now()
		if err := from.Send(m); err != nil {
			t.Fatal(err)
		}
		for got := range to.Stanzas() {
			if got.Kind == stanza.Message && got.ID == m.ID {
				break
			}
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return took
}
