package xmlstream

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

const streamHead = "<?xml version='1.0'?><stream:stream to='a.example' version='1.0' xmlns='jabber:client' " +
	"xmlns:stream='http://etherx.jabber.org/streams'>"

// read feeds the pieces and returns what came out, one line each, and how it ended: nil where more is awaited.
func read(tb testing.TB, d *Decoder, pieces ...string) (events []string, end *Error) {
	tb.Helper()
	for _, p := range pieces {
		b := []byte(p)
		d.Feed(b)
		for {
			ev, err := d.Next()
			if err == ErrMore {
				break
			}
			if errors.As(err, &end) {
				return events, end
			}
			if err != nil {
				tb.Fatalf("Next returned %v, which is neither ErrMore nor an *Error", err)
			}
			events = append(events, describe(ev))
		}
		clear(b) // it was only borrowed
	}
	return events, nil
}

func describe(ev Event) string {
	switch ev.Kind {
	case StreamStart:
		h := ev.Header
		return fmt.Sprintf("start %q %q %q %q %q", h.Name, h.Prefix, h.Attrs, h.DefaultNS, h.Decls)
	case StreamEnd:
		return "end"
	}
	f := ev.Frame
	var b strings.Builder
	fmt.Fprintf(&b, "frame %q %q %q inner %q decls %q ns %q text %t prefixed %t", f.Name(), f.Attrs(), f.Raw(), f.Inner(), f.Decls(), f.NS(), f.HasText(), f.Prefixed())
	for i := range f.NumChildren() {
		fmt.Fprintf(&b, " child %q %q", f.ChildName(i), f.ChildRaw(i))
	}
	return b.String() + " tree " + f.Element().String()
}

// bytewise cuts s into single bytes.
func bytewise(s string) []string {
	p := make([]string, len(s))
	for i := range p {
		p[i] = s[i : i+1]
	}
	return p
}

func openStream(tb testing.TB, l Limits) *Decoder {
	tb.Helper()
	d := NewDecoder(l)
	if events, err := read(tb, d, streamHead); len(events) != 1 || err != nil {
		tb.Fatalf("the stream did not open: %q, %v", events, err)
	}
	return d
}

// benchMessage is 330 bytes long, as a chat message is.
const benchMessage = "<message to='romeo@montague.example' type='chat' id='a1b2c3d4e5f6' xml:lang='en'>" +
	"<body>Wherefore art thou, Romeo? Deny thy father and refuse thy name; or, if not so.</body>" +
	"<active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/>" +
	"<origin-id xmlns='urn:xmpp:sid:0' id='a1b2c3d4e5f6'/></message>"

const benchCyrillic = "<message to='romeo@montague.example' type='chat' id='a1b2c3d4e5f6' xml:lang='ru'>" +
	"<body>Ромео! Ромео, о зачем же ты Ромео! Покинь отца и отрекись навеки от имени родного</body>" +
	"<origin-id xmlns='urn:xmpp:sid:0' id='a1b2c3d4e5f6'/></message>"

const benchPresence = "<presence to='romeo@montague.example/orchard'><show>away</show>" +
	"<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='https://example.org/client' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/></presence>"
