package sm_test

import (
	"errors"
	"slices"
	"testing"

	"sabir/xmpp/sm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// TestWrap acknowledges across 2^32 (XEP-0198#acking).
func TestWrap(t *testing.T) {
	var u sm.Unacked[int]
	u.Restore(1<<32 - 2)
	for i := range 5 {
		u.Sent(i)
	}
	if u.Count() != 3 {
		t.Errorf("5 sent after 2^32-2 are %d", u.Count())
	}
	var got []int
	each := func(i int) { got = append(got, i) }
	for _, h := range []uint32{1<<32 - 1, 1<<32 - 1, 1} {
		if err := u.Ack(h, each); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(got, []int{0, 1, 2}) || u.Len() != 2 || u.Acked() != 1 {
		t.Errorf("acknowledged %v, %d left, at %d", got, u.Len(), u.Acked())
	}
	var high *sm.TooHigh
	if err := u.Ack(4, each); !errors.As(err, &high) || high.H != 4 || high.Sent != 3 {
		t.Errorf("4 of 3: %v", err)
	}
	if err := u.Ack(1<<32-2, each); err != nil || u.Len() != 2 {
		t.Errorf("an old h: %v, %d left", err, u.Len())
	}
	if got := u.Take(); !slices.Equal(got, []int{3, 4}) || u.Count() != 1 {
		t.Errorf("taken %v, count %d", got, u.Count())
	}
}

// TestTooHigh refuses what nobody can have handled, from the first stanza on.
func TestTooHigh(t *testing.T) {
	var u sm.Unacked[int]
	for _, h := range []uint32{1, 99999, 1<<32 - 1} {
		if err := u.Ack(h, nil); err == nil {
			t.Errorf("h=%d of nothing", h)
		}
	}
	e := (&sm.TooHigh{H: 10, Sent: 8}).Stream()
	want := `<stream:error`
	if got := string(e.AppendTCP(nil)); len(got) < len(want) || e.App.Attr("send-count") != "8" || e.App.Attr("h") != "10" {
		t.Errorf("the stream error is %s", got)
	}
}

func TestElements(t *testing.T) {
	for in, want := range map[string]bool{
		"<enable xmlns='urn:xmpp:sm:3'/>": false, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>": true,
		"<enable xmlns='urn:xmpp:sm:3' resume=' 1 ' max='0300'/>": true, "<enable xmlns='urn:xmpp:sm:3' resume='0'/>": false,
	} {
		if resume, _, err := sm.ParseEnable(parse(t, in)); err != nil || resume != want {
			t.Errorf("%s: %v, %v", in, resume, err)
		}
	}
	for _, in := range []string{"resume='yes'", "max='0'", "max='-1'", "max='x'", "max='4294967296'"} {
		if _, _, err := sm.ParseEnable(parse(t, "<enable xmlns='urn:xmpp:sm:3' "+in+"/>")); err == nil || err.Condition != stanza.BadRequest {
			t.Errorf("%s: %v", in, err)
		}
	}
	for _, in := range []string{"h='1'", "previd='x'", "previd='' h='1'", "previd='x' h='-1'", "previd='x' h='++1'", "previd='x' h='4294967296'", "previd='x' h=''"} {
		if _, _, err := sm.ParseResumption(parse(t, "<resume xmlns='urn:xmpp:sm:3' "+in+"/>")); err == nil {
			t.Errorf("%s is taken", in)
		}
	}
	if id, h, err := sm.ParseResumption(sm.Resume("a", 1<<32-1)); err != nil || id != "a" || h != 1<<32-1 {
		t.Errorf("%s %d %v", id, h, err)
	}
	if c, h, known := sm.ParseFailed(sm.FailedAt(stanza.ItemNotFound, 7)); c != stanza.ItemNotFound || h != 7 || !known {
		t.Errorf("%s %d %v", c, h, known)
	}
	if id, max := sm.ParseEnabled(sm.Enabled("a", 600)); id != "a" || max != 600 {
		t.Errorf("%s %d", id, max)
	}
	if id, _ := sm.ParseEnabled(sm.Enabled("", 0)); id != "" {
		t.Errorf("an id without resumption: %s", id)
	}
}

func parse(t *testing.T, s string) *xmlstream.Element {
	t.Helper()
	x, err := xmlstream.Parse(s, xmlstream.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// FuzzSM plays Unacked against a model that counts without wrapping and keeps everything.
func FuzzSM(f *testing.F) {
	f.Add(uint32(0), []byte{0, 0, 1, 1, 0, 2, 255})
	f.Add(uint32(1<<32-3), []byte{0, 0, 0, 0, 0, 0, 5, 1, 3, 200})
	f.Fuzz(func(t *testing.T, start uint32, ops []byte) {
		var u sm.Unacked[uint64]
		u.Restore(start)
		acked, sent := uint64(start), uint64(start)
		for _, op := range ops {
			switch {
			case op < 100:
				u.Sent(sent)
				sent++
			case op == 255: // the stream is lost and resumed: what is not acknowledged is sent again
				all := u.Take()
				if u.Len() != 0 || u.Count() != uint32(acked) {
					t.Fatalf("after Take %d are held of %d", u.Len(), u.Count())
				}
				for i, v := range all {
					if v != acked+uint64(i) {
						t.Fatalf("resending %d at %d", v, acked+uint64(i))
					}
					u.Sent(v)
				}
			default: // an acknowledgement from a little behind to a little beyond what is right
				h := acked + uint64(op-100)
				back := uint64(20)
				if h >= back {
					h -= back
				}
				next := acked
				err := u.Ack(uint32(h), func(v uint64) {
					if v != next {
						t.Fatalf("acknowledged %d, want %d", v, next)
					}
					next++
				})
				switch {
				case h > sent:
					var high *sm.TooHigh
					if !errors.As(err, &high) || high.Sent != uint32(sent) {
						t.Fatalf("h %d of %d: %v", h, sent, err)
					}
				case err != nil:
					t.Fatalf("h %d between %d and %d: %v", h, acked, sent, err)
				case h > acked && next != h:
					t.Fatalf("h %d acknowledged up to %d", h, next)
				}
				acked = next
			}
			if u.Count() != uint32(sent) || u.Acked() != uint32(acked) || uint64(u.Len()) != sent-acked {
				t.Fatalf("count %d, acked %d, len %d; want %d, %d", u.Count(), u.Acked(), u.Len(), sent, acked)
			}
		}
	})
}
