package stream

import (
	"strings"
	"testing"

	"sabir/xmpp/xmlstream"
)

func header(t *testing.T, text string) *xmlstream.Header {
	t.Helper()
	d := xmlstream.NewDecoder(xmlstream.DefaultLimits)
	d.Feed([]byte(text))
	ev, err := d.Next()
	if err != nil || ev.Kind != xmlstream.StreamStart {
		t.Fatalf("%s: %v %v", text, ev.Kind, err)
	}
	return ev.Header
}

const (
	good   = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='a' version='1.0'>"
	nsDecl = " xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
)

func TestParseTCP(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       Condition // "" for none
	}{
		{"good", good, ""},
		{"wrong stream namespace", "<stream:stream xmlns='jabber:client' xmlns:stream='http://wrong.example/' version='1.0'>", InvalidNamespace},
		{"no namespace", "<stream version='1.0'>", InvalidNamespace},
		{"jabber:server", strings.Replace(good, "jabber:client", "jabber:server", 1), InvalidNamespace},
		{"no content namespace", strings.Replace(good, "xmlns='jabber:client' ", "", 1), ""},
		{"stream namespace as default", "<stream xmlns='http://etherx.jabber.org/streams' version='1.0'>", ""},
		{"other prefix", "<s:stream xmlns='jabber:client' xmlns:s='http://etherx.jabber.org/streams' version='1.0'>", BadNamespacePrefix},
		{"not stream", "<foo xmlns='jabber:client'>", InvalidNamespace},
		{"not stream, of the namespace", "<stream:foo" + nsDecl + " version='1.0'>", BadFormat},
		{"version 1.10", "<stream:stream" + nsDecl + " version='1.10'>", ""},
		{"version 11.0", "<stream:stream" + nsDecl + " version='11.0'>", ""},
		{"version 01.00", "<stream:stream" + nsDecl + " version='01.00'>", ""},
		{"version 99999999999999999999.1", "<stream:stream" + nsDecl + " version='99999999999999999999.1'>", ""},
		{"version 0.9", "<stream:stream" + nsDecl + " version='0.9'>", UnsupportedVersion},
		{"version 00.9", "<stream:stream" + nsDecl + " version='00.9'>", UnsupportedVersion},
		{"no version", "<stream:stream" + nsDecl + ">", UnsupportedVersion},
		{"version -1.x", "<stream:stream" + nsDecl + " version='-1.x'>", UnsupportedVersion},
		{"version 1", "<stream:stream" + nsDecl + " version='1'>", UnsupportedVersion},
		{"version 1.", "<stream:stream" + nsDecl + " version='1.'>", UnsupportedVersion},
		{"version 1.0.0", "<stream:stream" + nsDecl + " version='1.0.0'>", UnsupportedVersion},
		{"version with a plus", "<stream:stream" + nsDecl + " version='+1.0'>", UnsupportedVersion},
	} {
		h, err := ParseTCP(header(t, c.text), "jabber:client")
		switch {
		case err == nil && c.want != "":
			t.Errorf("%s: %+v", c.name, h)
		case err != nil && err.Condition != c.want:
			t.Errorf("%s: %v", c.name, err)
		}
	}
	h, err := ParseTCP(header(t, "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='c'>"), nsAccept)
	if err != nil || h.To != "c" {
		t.Errorf("a component's stream: %+v %v", h, err)
	}
}

func TestParseWS(t *testing.T) {
	for text, want := range map[string]Condition{
		"<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a' version='1.0'/>":                         "",
		"<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a'/>":                                       UnsupportedVersion,
		"<open xmlns='urn:evil' to='a' version='1.0'/>":                                                    InvalidNamespace,
		"<stream:stream xmlns:stream='http://etherx.jabber.org/streams' to='a' version='1.0'/>":            InvalidNamespace,
		"<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>":                                             BadFormat,
		"<f:open xmlns:f='urn:ietf:params:xml:ns:xmpp-framing' to='a' from='b' version='1.1' id='i'/>\n  ": "",
	} {
		f, err := xmlstream.ParseFrame([]byte(text), xmlstream.DefaultLimits)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		h, bad := ParseWS(f)
		if bad == nil && want != "" || bad != nil && bad.Condition != want {
			t.Errorf("%s: %v, not %s", text, bad, want)
		}
		if bad == nil && h.To != "a" {
			t.Errorf("%s: %+v", text, h)
		}
	}
}

// TestHeaderRoundTrip checks that what is written is read as it was, whatever the values hold.
func TestHeaderRoundTrip(t *testing.T) {
	for _, h := range []Header{
		{To: "example.org", From: "a@example.org", ID: NewStreamID(), Version: "1.0", Lang: "de-CH", ContentNS: nsClient},
		{To: "<'\"&>\n\t", From: "ü", ID: "]]>", Version: "1.0", ContentNS: nsClient},
	} {
		got, err := ParseTCP(header(t, string(h.AppendTCP(nil))), nsClient)
		if err != nil || got != h {
			t.Errorf("TCP: %+v %v, not %+v", got, err, h)
		}
		f, perr := xmlstream.ParseFrame(h.AppendWS(nil), xmlstream.DefaultLimits)
		if perr != nil {
			t.Fatal(perr)
		}
		if got, err = ParseWS(f); err != nil || got != h {
			t.Errorf("WebSocket: %+v %v, not %+v", got, err, h)
		}
	}
	if text := string(Header{ContentNS: nsAccept, To: "c"}.AppendTCP(nil)); strings.Contains(text, " version='1.0' ") || strings.Contains(text, "version='1.0'>") {
		t.Errorf("a component's header has a version: %s", text)
	}
}

func TestLang(t *testing.T) {
	for in, want := range map[string]string{"en": "en", "zh-Hans-CN-x-private": "zh-Hans-CN-x-private", "": "", "e n": "", "en_US": "", "<": "", strings.Repeat("e", 36): ""} {
		if got := cleanLang(in); got != want {
			t.Errorf("%q becomes %q", in, got)
		}
	}
}

func TestErrors(t *testing.T) {
	all := []Condition{BadFormat, BadNamespacePrefix, Conflict, ConnectionTimeout, HostGone, HostUnknown, ImproperAddressing, InternalServerError,
		InvalidFrom, InvalidNamespace, InvalidXML, NotAuthorized, NotWellFormed, PolicyViolation, RemoteConnectionFailed, Reset, ResourceConstraint,
		RestrictedXML, SeeOtherHost, SystemShutdown, UndefinedCondition, UnsupportedEncoding, UnsupportedFeature, UnsupportedStanzaType, UnsupportedVersion}
	if len(all) != 25 { // RFC 6120 §4.9.3.1 to §4.9.3.25
		t.Fatalf("%d conditions", len(all))
	}
	for _, c := range all {
		e := Err(c, "why <so>?")
		e.App = xmlstream.El("urn:app", "reason")
		if c == SeeOtherHost {
			e.Host = "[2001:db8::1]:5222"
		}
		for name, b := range map[string][]byte{"WebSocket": e.AppendWS(nil), "TCP": e.AppendTCP(nil)} {
			if name == "TCP" {
				b = []byte(strings.Replace(string(b), "<stream:error", "<stream:error xmlns='jabber:client' xmlns:stream='"+NS+"'", 1))
			}
			x, err := xmlstream.Parse(string(b), xmlstream.DefaultLimits)
			if err != nil {
				t.Fatalf("%s: %s: %v", name, b, err)
			}
			got := ParseError(x)
			if !x.Is(NS, "error") || got.Condition != c || got.Text != e.Text || got.Host != e.Host || !got.App.Is("urn:app", "reason") {
				t.Errorf("%s: %s is read as %+v", name, b, got)
			}
			if !strings.Contains(got.Error(), string(c)) || !strings.Contains(got.Error(), "why <so>?") {
				t.Errorf("%v", got)
			}
		}
	}
	if got := ParseError(xmlstream.El(NS, "error")); got.Condition != UndefinedCondition {
		t.Errorf("an error without a condition is %v", got)
	}
	if got := FromXML(&xmlstream.Error{Condition: "restricted-xml", Text: "x"}); got.Condition != RestrictedXML || got.Text != "x" {
		t.Errorf("%v", got)
	}
}

func TestParseFeatures(t *testing.T) {
	x, err := xmlstream.Parse(`<stream:features xmlns:stream='`+NS+`'>
		<starttls xmlns='`+NSTLS+`'><required/></starttls>
		<mechanisms xmlns='`+NSSASL+`'><mechanism>A</mechanism><other/><mechanism>B</mechanism></mechanisms>
		<sasl-channel-binding xmlns='`+NSCB+`'><channel-binding type='tls-exporter'/></sasl-channel-binding>
		<bind xmlns='`+NSBind+`'/><session xmlns='`+NSSession+`'><optional/></session>
	</stream:features>`, xmlstream.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	f := ParseFeatures(x)
	if !f.StartTLS || !f.TLSRequired || strings.Join(f.Mechanisms, " ") != "A B" || strings.Join(f.ChannelBindings, " ") != "tls-exporter" || !f.Bind || f.Session {
		t.Errorf("%+v", f)
	}
	if f = ParseFeatures(xmlstream.El(NS, "features", xmlstream.El(NSSession, "session"))); !f.Session || f.StartTLS || f.Bind || f.ChannelBindings != nil {
		t.Errorf("%+v", f)
	}
}

func TestCloseWS(t *testing.T) {
	for uri, want := range map[string]string{"": "", "wss://other.test/?a='b'&c": "wss://other.test/?a='b'&c"} {
		f, err := xmlstream.ParseFrame(AppendCloseWS(nil, uri), xmlstream.DefaultLimits)
		if err != nil || f.Name() != (xmlstream.Name{Space: NSFraming, Local: "close"}) || f.Attr("see-other-uri") != want {
			t.Errorf("%s: %v", AppendCloseWS(nil, uri), err)
		}
	}
}

func TestStreamIDs(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := NewStreamID()
		if len(id) < 22 || seen[id] {
			t.Fatalf("the id %s", id)
		}
		seen[id] = true
	}
}
