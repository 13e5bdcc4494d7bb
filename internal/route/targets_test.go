package route

import (
	"slices"
	"testing"
	"time"

	"sabir/internal/session"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// TestTargets is the table of RFC 6121 §8.5.4 for messages, with the choices that it leaves open.
func TestTargets(t *testing.T) {
	resource := func(name string, available bool, prio int8) *session.Session {
		q := session.NewQueue(session.QueueOptions{Write: func([]byte) error { return nil }, Limit: 1000, Done: func() {}})
		s := session.New(jid.MustParse("juliet@b/"+name), q, time.Now(), func(string, string) {})
		if available {
			s.SetPresence(stanza.New(stanza.Presence, stanza.TypeAvailable), prio)
		}
		return s
	}
	there := map[string][]*session.Session{
		"none":     nil,
		"hidden":   {resource("a", false, 0)},
		"negative": {resource("a", true, -1)},
		"one":      {resource("a", true, 0), resource("n", true, -1), resource("h", false, 0)},
		"many":     {resource("a", true, 5), resource("b", true, 0), resource("n", true, -5)},
	}
	for _, c := range []struct {
		typ, to, who string
		want         []string
		fate         fate
	}{
		{"chat", "juliet@b", "none", nil, bounce}, // to the offline store, where there is one
		{"chat", "juliet@b", "hidden", nil, bounce},
		{"chat", "juliet@b", "negative", nil, bounce},
		{"chat", "juliet@b", "one", []string{"a"}, bounce},
		{"chat", "juliet@b", "many", []string{"a", "b"}, bounce},
		{"normal", "juliet@b", "none", nil, bounce},
		{"normal", "juliet@b", "many", []string{"a", "b"}, bounce},
		{"headline", "juliet@b", "none", nil, ignore},
		{"headline", "juliet@b", "negative", nil, ignore},
		{"headline", "juliet@b", "many", []string{"a", "b"}, ignore},
		{"groupchat", "juliet@b", "many", nil, bounce},
		{"error", "juliet@b", "many", nil, ignore},
		// A full JID that is there gets everything, whatever its presence or priority (§8.5.3.1).
		{"chat", "juliet@b/n", "one", []string{"n"}, bounce},
		{"groupchat", "juliet@b/h", "one", []string{"h"}, bounce},
		{"headline", "juliet@b/n", "one", []string{"n"}, bounce},
		{"error", "juliet@b/h", "one", []string{"h"}, bounce},
		// One that is not: chat goes on as if to the bare JID (§8.5.3.2.1).
		{"chat", "juliet@b/gone", "many", []string{"a", "b"}, bounce},
		{"chat", "juliet@b/gone", "negative", nil, bounce},
		{"normal", "juliet@b/gone", "many", nil, bounce},
		{"groupchat", "juliet@b/gone", "many", nil, bounce},
		{"headline", "juliet@b/gone", "many", nil, ignore},
		{"error", "juliet@b/gone", "many", nil, ignore},
	} {
		got, f := targets(nil, stanza.New(stanza.Message, c.typ), jid.MustParse(c.to), there[c.who])
		var names []string
		for _, s := range got {
			names = append(names, s.JID().Resource())
		}
		if !slices.Equal(names, c.want) || f != c.fate && len(names) == 0 {
			t.Errorf("%s to %s with %s there: %v and %d, want %v and %d", c.typ, c.to, c.who, names, f, c.want, c.fate)
		}
	}
}
