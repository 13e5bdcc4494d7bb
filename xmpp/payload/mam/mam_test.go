package mam

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"sabir/xmpp/jid"
	"sabir/xmpp/payload/rsm"
	"sabir/xmpp/xmlstream"
)

func element(t testing.TB, s string) *xmlstream.Element {
	t.Helper()
	x, err := xmlstream.Parse(s, xmlstream.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func field(name string, values ...string) string {
	return "<field var='" + name + "'><value>" + strings.Join(values, "</value><value>") + "</value></field>"
}

func query(fields string) string {
	return "<query xmlns='" + NS + "' queryid='q'><x xmlns='jabber:x:data' type='submit'>" + field("FORM_TYPE", NS) + fields + "</x></query>"
}

func TestParse(t *testing.T) {
	yes := true
	q, err := Parse(element(t, strings.Replace(query(field("with", "Romeo@Example.net/Orchard")+field("start", "2010-06-07T00:00:00Z")+field("end", "2010-07-07T13:23:54+02:00")+
		field("before-id", "b")+field("after-id", "a")+field("ids", "1", "2")+field("include-groupchat", "1")+field(fieldFulltext, "wherefore art")),
		"</query>", "<set xmlns='"+rsm.NS+"'><max>10</max><after>x</after></set><flip-page/></query>", 1)))
	want := Query{
		ID: "q", Flip: true, With: jid.MustParse("romeo@example.net/Orchard"), Start: time.Date(2010, 6, 7, 0, 0, 0, 0, time.UTC),
		End: time.Date(2010, 7, 7, 11, 23, 54, 0, time.UTC), BeforeID: "b", AfterID: "a", IDs: []string{"1", "2"}, Groupchat: &yes,
		Text: "wherefore art", Page: rsm.Request{Max: 10, After: "x", Index: -1},
	}
	q.Start, q.End = q.Start.UTC(), q.End.UTC()
	if err != nil || !reflect.DeepEqual(q, want) {
		t.Errorf("got %+v, %v; want %+v", q, err, want)
	}
	if q, err := Parse(element(t, "<query xmlns='"+NS+"'/>")); err != nil || !reflect.DeepEqual(q, Query{Page: rsm.All()}) {
		t.Errorf("the empty query is %+v, %v", q, err)
	}
	for in, after := range map[string]string{
		"<after>x</after>": "x", "<after>x</after><set xmlns='" + rsm.NS + "'/>": "", "<after xmlns='" + rsm.NS + "'>x</after>": "",
	} {
		if q, err := Parse(element(t, "<query xmlns='"+NS+"'>"+in+"</query>")); err != nil || q.Page.After != after {
			t.Errorf("%s: the page is %+v, %v", in, q.Page, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, in := range []string{
		query(field("start", "yesterday")), query(field("end", "2010-06-07")), query(field("start", "2010-06-07T00:00:00")), query(field("with", "@")),
		query(field("with", "a@b", "c@d")), query(field("with", "a@b") + field("with", "a@b")), query(field("include-groupchat", "perhaps")),
		strings.Replace(query(""), "'submit'", "'form'", 1), strings.Replace(query(""), NS+"</value>", "urn:xmpp:mam:1</value>", 1),
		"<query xmlns='" + NS + "'><x xmlns='jabber:x:data' type='submit'/></query>",
		"<query xmlns='" + NS + "'><x xmlns='jabber:x:data'/></query>",
		"<query xmlns='" + NS + "'><set xmlns='" + rsm.NS + "'/><set xmlns='" + rsm.NS + "'/></query>",
		"<query xmlns='" + NS + "'><set xmlns='" + rsm.NS + "'><max>x</max></set></query>",
		"<query xmlns='urn:xmpp:mam:1'/>",
		strings.Replace(query(""), "</query>", "<x xmlns='jabber:x:data' type='submit'>"+field("FORM_TYPE", NS)+"</x></query>", 1),
	} {
		if q, err := Parse(element(t, in)); err == nil || errors.Is(err, ErrField) {
			t.Errorf("%s: %+v, %v", in, q, err)
		}
	}
	for _, in := range []string{query(field("urn:evil", "1")), query(field("With", "a@b")), query("<field var='{urn:x}y'/>")} {
		if _, err := Parse(element(t, in)); !errors.Is(err, ErrField) {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestForm(t *testing.T) {
	if s := Form(true).String(); !strings.Contains(s, fieldFulltext) || !strings.Contains(s, "<open/>") || strings.Contains(s, "required") {
		t.Errorf("the form is %s", s)
	}
	if s := Form(false).String(); strings.Contains(s, fieldFulltext) {
		t.Errorf("the form of an archive without search is %s", s)
	}
}

func TestResult(t *testing.T) {
	m, err := Result{"i1", time.Date(2010, 7, 10, 23, 8, 25, 0, time.UTC), "<message xmlns='jabber:client' from='a@b'><body>x</body></message>"}.Message(jid.MustParse("c@d"), "f27")
	if err != nil {
		t.Fatal(err)
	}
	want := "<message from='c@d'><result xmlns='urn:xmpp:mam:2' queryid='f27' id='i1'><forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='2010-07-10T23:08:25Z'/>" +
		"<message xmlns='jabber:client' from='a@b'><body>x</body></message></forwarded></result></message>"
	if m.String() != want {
		t.Errorf("got  %s\nwant %s", m, want)
	}
}

func TestPrefs(t *testing.T) {
	const in = "<prefs xmlns='" + NS + "' default='roster'><always><jid>romeo@montague.lit</jid></always><never><jid>romeo@montague.lit/web</jid><jid>a.lit</jid></never></prefs>"
	p, err := ParsePrefs(element(t, in))
	if err != nil || p.Element().String() != in {
		t.Errorf("got %v, %v", p.Element(), err)
	}
	for j, want := range map[string][2]bool{"romeo@montague.lit": {true, true}, "romeo@montague.lit/x": {true, true}, "romeo@montague.lit/web": {false, true}, "b.lit": {false, false}, "a.lit/x": {false, true}} {
		if a, k := p.Match(jid.MustParse(j)); a != want[0] || k != want[1] {
			t.Errorf("%s: %v, %v", j, a, k)
		}
	}
	for _, bad := range []string{"", " default='sometimes'"} {
		if _, err := ParsePrefs(element(t, "<prefs xmlns='"+NS+"'"+bad+"/>")); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	for _, bad := range []string{"<always/><always/>", "<never><jid>@</jid></never>", "<always><jid/></always>"} {
		if _, err := ParsePrefs(element(t, "<prefs xmlns='"+NS+"' default='always'>"+bad+"</prefs>")); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// A query that is taken comes out the same when it is written and read again.
func FuzzMAMQuery(f *testing.F) {
	for _, s := range []string{
		query(""), query(field("with", "a@b/c") + field("start", "2010-06-07T00:00:00.123456Z")), query(field("ids", "a", "", "b") + field("include-groupchat", "false")),
		"<query xmlns='" + NS + "' node='n'><set xmlns='" + rsm.NS + "'><before/></set><flip-page/></query>", query(field("urn:evil", "1")), query("<field var='ids'/>"),
		query(field("end", "0001-01-01T00:00:00Z")),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		x, err := xmlstream.Parse(in, xmlstream.DefaultLimits)
		if err != nil {
			return
		}
		q, err := Parse(x)
		if err != nil {
			return
		}
		first := q.Element()
		again, err := Parse(first)
		if err != nil {
			t.Fatalf("%s became %s, which is refused: %v", in, first, err)
		}
		if got := again.Element().String(); got != first.String() {
			t.Errorf("%s became %s and then %s", in, first, got)
		}
	})
}
