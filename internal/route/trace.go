package route

import (
	"sabir/mod"
	"sabir/xmpp/payload/sid"
	"sabir/xmpp/stanza"
)

// noTrace remembers nothing.
type noTrace struct{}

func (noTrace) Mark() uint64                        { return 0 }
func (noTrace) Note(uint64, string, string, string) {}

// begin gives a message its mark and notes where it comes from, to whom it is and what it is known as. A message that an
// extension sends on keeps the mark that it had. What the server itself makes and gives no id cannot be asked for.
func (b *Batch) begin(s *stanza.Stanza, to string) {
	t := b.r.o.Trace
	if s.Mark != 0 {
		t.Note(s.Mark, mod.TraceReceived, s.From.String(), to)
		return
	}
	if s.ID == "" && b.s == nil {
		return
	}
	if s.Mark = t.Mark(); s.Mark == 0 {
		return
	}
	t.Note(s.Mark, mod.TraceReceived, s.From.String(), to)
	if s.ID != "" {
		t.Note(s.Mark, mod.TraceID, s.From.String(), s.ID)
	}
	if s.Has(sid.NS, "origin-id") {
		if id := s.Child(sid.NS, "origin-id").Attr("id"); id != s.ID {
			t.Note(s.Mark, mod.TraceID, s.From.String(), id)
		}
	}
}

// committed notes that what a message had to record is on disk.
func (j *journey) committed(t Tracer) {
	if s := j.stanza(); len(j.writes) > 0 && !j.ended && s.Mark != 0 {
		t.Note(s.Mark, mod.TraceCommitted, "", "")
	}
}
