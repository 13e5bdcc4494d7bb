package s2s

import (
	"strings"
	"testing"

	"sabir/internal/config"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// TestQueueBytes counts what was accepted and is not committed yet: many batches at a time fill a queue no further than one.
func TestQueueBytes(t *testing.T) {
	s := storeServer(nil)
	set := config.Default().S2S
	set.QueueBytes = 10_000
	s.Configure(Settings{Federation: set, Limits: config.Default().Limits})
	m := stanza.New(stanza.Message, stanza.TypeChat, xmlstream.El(stanza.NSClient, "body", strings.Repeat("x", 2000)))
	m.From, m.To = jid.MustParse("romeo@a.example/x"), jid.MustParse("juliet@b.example")
	for round := range 2 {
		var all []*item
		for {
			d, e := s.Accept(t.Context(), m)
			if e != nil {
				if e.Condition != stanza.ResourceConstraint || e.Type != stanza.Wait {
					t.Errorf("refused with %v", e)
				}
				break
			}
			all = append(all, d.(*item))
		}
		if len(all) != 3 {
			t.Errorf("round %d: %d of 2.5 KiB fit into 10 kB", round, len(all))
		}
		for _, i := range all { // the commit fails
			i.Stay()
			i.Stay()
		}
	}
}
