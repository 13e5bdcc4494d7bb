package stanza

import (
	"testing"

	"sabir/xmpp/xmlstream"
)

func TestServerForm(t *testing.T) {
	d := xmlstream.NewDecoder(xmlstream.Limits{})
	d.Feed([]byte(`<stream:stream xmlns:stream='` + xmlstream.NSStream + `' xmlns='jabber:server'>` +
		`<message from='a@x.example' to='b@y.example' type='chat'><body>hello</body><x xmlns='urn:a'/></message>` +
		`<message xmlns='jabber:client' from='a@x.example' to='b@y.example'/>`))
	next := func() *xmlstream.Frame {
		t.Helper()
		ev, err := d.Next()
		if err != nil {
			t.Fatal(err)
		}
		return ev.Frame
	}
	next()
	s, bad := FromServerFrame(next())
	if s == nil || bad != nil {
		t.Fatalf("no stanza: %v", bad)
	}
	if s.Body() != "hello" || !s.Has("urn:a", "x") || s.Payload().Name.Space != NSClient {
		t.Errorf("read as %s", s)
	}
	if s, _ := FromServerFrame(next()); s != nil {
		t.Error("a stanza of jabber:client was taken from a stream of jabber:server")
	}
	if got, want := string(s.AppendServer(nil)), `<message to='b@y.example' from='a@x.example' type='chat'><body>hello</body><x xmlns='urn:a'/></message>`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	// A client over WebSocket may name its namespace again.
	f, err := xmlstream.ParseFrame(`<message xmlns='jabber:client' to='b@y.example'><body xmlns='jabber:client'>hi</body><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'/></forwarded></message>`, xmlstream.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	s, _ = FromFrame(f)
	if got, want := string(s.AppendServer(nil)), `<message to='b@y.example'><body>hi</body><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'/></forwarded></message>`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
