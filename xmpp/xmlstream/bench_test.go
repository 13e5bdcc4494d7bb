package xmlstream

import "testing"

const streamHead = "<?xml version='1.0'?><stream:stream to='a.example' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"

const benchMessage = "<message from='juliet@capulet.example/balcony' to='romeo@montague.example' type='chat' id='a1b2c3d4e5f6' xml:lang='en'>" +
	"<body>Wherefore art thou, Romeo? Deny thy father and refuse thy name; or, if thou wilt not, be but sworn.</body>" +
	"<active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/>" +
	"<origin-id xmlns='urn:xmpp:sid:0' id='a1b2c3d4e5f6'/></message>"

func openStream(tb testing.TB, l Limits) *Decoder {
	tb.Helper()
	d := NewDecoder(l)
	d.Feed([]byte(streamHead))
	if ev, err := d.Next(); err != nil || ev.Kind != StreamStart {
		tb.Fatal(ev, err)
	}
	if _, err := d.Next(); err != ErrMore {
		tb.Fatal(err)
	}
	return d
}

func BenchmarkFrame(b *testing.B) {
	d := openStream(b, Limits{})
	p := []byte(benchMessage)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		d.Feed(p)
		if _, err := d.Next(); err != nil {
			b.Fatal(err)
		}
		if _, err := d.Next(); err != ErrMore {
			b.Fatal(err)
		}
	}
}

func BenchmarkTree(b *testing.B) {
	f, err := ParseFrame(benchMessage, Limits{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		f.Element()
	}
}

func BenchmarkChild(b *testing.B) {
	f, err := ParseFrame(benchMessage, Limits{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		f.Child("", "body")
	}
}

func BenchmarkAppend(b *testing.B) {
	e, err := Parse(benchMessage, Limits{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var dst []byte
	for b.Loop() {
		dst = e.Append(dst[:0], "")
	}
}
