package xmlstream

import (
	"strings"
	"testing"
)

// collect is read for events that are to be looked into.
func collect(tb testing.TB, l Limits, pieces []string) (events []Event, end *Error) {
	tb.Helper()
	d := NewDecoder(l)
	for _, p := range pieces {
		d.Feed([]byte(p))
		for {
			ev, err := d.Next()
			if err == ErrMore {
				break
			}
			if err != nil {
				return events, err.(*Error)
			}
			events = append(events, ev)
		}
	}
	return events, nil
}

// checkSkip compares a decoder that throws away what is over its limit with one that has no such limit.
func checkSkip(t *testing.T, s string, seed int64) {
	wide := Limits{Depth: 20, Children: 1000}
	narrow := Limits{Depth: 20, Children: 1000, Bytes: 200, Skip: 1 << 20}
	want, wantErr := collect(t, wide, []string{s})
	got, gotErr := collect(t, narrow, cut(s, seed))
	if gotErr != nil && gotErr.Condition == PolicyViolation { // a token over half the limit, say
		if len(got) > len(want) {
			t.Fatalf("%q: %d events, should be %d", s, len(got), len(want))
		}
		want, wantErr = want[:len(got)], gotErr
	}
	if len(got) != len(want) || condition(gotErr) != condition(wantErr) || gotErr != nil && gotErr.Offset != wantErr.Offset {
		t.Fatalf("%q: %d events and %v, should be %d and %v", s, len(got), gotErr, len(want), wantErr)
	}
	for i := range want {
		if got[i].Kind != Oversize {
			if describe(got[i]) != describe(want[i]) {
				t.Fatalf("%q: %s, should be %s", s, describe(got[i]), describe(want[i]))
			}
			continue
		}
		g, w := got[i].Frame, want[i].Frame
		e := w.Element()
		if g.Name() != w.Name() || g.NS() != w.NS() || g.Prefixed() != w.Prefixed() || g.HasText() || g.NumChildren() != 0 || !equal(g.Element(), &Element{Name: e.Name, Attrs: e.Attrs}) {
			t.Fatalf("%q: %s, should be the start of %s", s, g.Raw(), w.Raw())
		}
		checkFrame(t, g, g.Element())
	}
}

func TestSkip(t *testing.T) {
	long := strings.Repeat("x", 1000)
	for _, in := range []string{
		"<a>" + long + "</a>",
		"<a b='&lt;' xmlns:p='u'>" + long + "</a>",
		"<a><b><c>" + long + "</c></b>" + long + "<d/></a>",
		"<a><![CDATA[" + long + "]]>" + long + "<![CDATA[]]" + strings.Repeat("]", 500) + "]]></a>",
		"<a><p:b xmlns:p='u' xmlns='&lt;'><c xmlns='v' xmlns:q='&gt;'>" + long + "<p:d/><q:d/></c>" + long + "<p:e/></p:b></a>",
		"<a><stream:b>" + long + "</stream:b></a>",
		"<stream:a stream:b='c'>" + long + "</stream:a>",
		"<a>" + strings.Repeat("<b><c d='e'/>]]&gt;\u20ac&#65;</b>", 300) + "</a>",
	} {
		s := streamHead + in + "<z/>"
		for seed := range int64(20) {
			checkSkip(t, s, seed)
		}
		events, err := collect(t, Limits{Bytes: 200, Skip: 1 << 20}, bytewise(s))
		if err != nil || len(events) != 3 || events[1].Kind != Oversize || events[2].Kind != FrameEvent {
			t.Errorf("%s: %v, %v", in, events, err)
		}
	}
	for in, want := range map[string]string{
		"<a>" + long + "]]></a>":                          NotWellFormed,
		"<a>" + long + "</b>":                             NotWellFormed,
		"<a><b>" + long + "</b><c>" + long + "</b>":       NotWellFormed,
		"<a><b xmlns:p='u'>" + long + "</b><p:c/></a>":    NotWellFormed,
		"<a>" + long + "\xff":                             UnsupportedEncoding,
		"<a>" + long + "<!-":                              RestrictedXML,
		"<a b='" + long + "'/>":                           PolicyViolation,
		"<a><b c='" + long + "'/></a>":                    PolicyViolation,
		"<a>" + strings.Repeat(long, 10) + "</a>":         PolicyViolation,
		"<a>" + strings.Repeat("<b"+long[:20]+">", 12):    PolicyViolation,
		"<stream:stream xmlns:x='" + long + "'/>":         PolicyViolation,
		"<a><![CDATA[" + strings.Repeat(long, 10) + "]]>": PolicyViolation,
	} {
		for _, pieces := range [][]string{{streamHead + in}, bytewise(streamHead + in)} {
			if _, err := collect(t, Limits{Bytes: 200, Skip: 5000}, pieces); condition(err) != want {
				t.Errorf("%s: %v, should be %s", in, err, want)
			}
		}
	}
}

// What is thrown away leaves no trace: the elements that are within the limit, the errors, the start tags are the same as
// with a limit that is not reached.
func FuzzSkip(f *testing.F) {
	for i, s := range seedsOf(f) {
		f.Add(s, int64(i))
	}
	long := strings.Repeat("x", 300)
	for i, s := range tricky {
		f.Add(streamHead+"<y:w xmlns:y='v'><v xmlns='w'>"+long+s+long+s+"</v></y:w>", int64(i))
	}
	f.Fuzz(checkSkip)
}
