package xmlstream

import "testing"

const benchMessage = "<message from='juliet@capulet.example/balcony' to='romeo@montague.example' type='chat' id='a1b2c3d4e5f6' xml:lang='en'>" +
	"<body>Wherefore art thou, Romeo? Deny thy father and refuse thy name; or, if thou wilt not, be but sworn.</body>" +
	"<active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/>" +
	"<origin-id xmlns='urn:xmpp:sid:0' id='a1b2c3d4e5f6'/></message>"

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
