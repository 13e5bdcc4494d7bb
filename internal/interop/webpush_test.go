package interop

import (
	"crypto/tls"
	"encoding/base64"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sabir/internal/listen"
	"sabir/internal/pushtest"
	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// TestWebPush leaves the page of the web client and is told of a message nevertheless: the page has registered its service
// worker and subscribed, the server asks the push service, which is the test's, and the worker shows what came. Only the
// way from the push service to the browser is the test's own.
func TestWebPush(t *testing.T) {
	w := enter(t)
	ca, err := listen.OpenCA(filepath.Dir(w.CAFile))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Leaf("push.test")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(pair.Certificate, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	service := pushtest.New(t, &cert)
	amina, jonas := w.account(t, "amina"), w.account(t, "jonas")
	b := newBrowser(t, w)
	b.do(t, "login", args{"who": "amina", "url": b.url, "user": "amina", "password": amina.Password,
		"push": args{"endpoint": service.Endpoint, "p256dh": service.P256DH, "auth": service.Auth}})
	b.who = append(b.who, "amina")
	page := &person{b, "amina", amina.JID}
	r := page.do(t, "subscribed", nil)
	if script := field[string](t, r, "script"); !strings.HasSuffix(script, b.host+"/sw.js") {
		t.Errorf("the service worker is %s", script)
	}
	key, err := base64.StdEncoding.DecodeString(field[string](t, r, "key"))
	if err != nil {
		t.Fatal(err)
	}

	cfg, err := w.ClientConfig(jonas)
	if err != nil {
		t.Fatal(err)
	}
	sender, err := client.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Abort()
	page.do(t, "leave", nil)
	var note pushtest.Note
	// The server learns that the page is gone when its socket is closed; a message before that goes there.
	for i := 0; note.Text == "" && i < 50; i++ {
		m := stanza.New(stanza.Message, stanza.TypeChat, xmlstream.El(stanza.NSClient, "body", "The ship is in."))
		m.To = jid.MustParse(amina.JID)
		if err := sender.Send(m); err != nil {
			t.Fatal(err)
		}
		select {
		case note = <-service.Came():
		case <-time.After(time.Second):
		}
	}
	if !strings.HasPrefix(note.Text, `{"account":"`+amina.JID+`","count":`) || strings.Contains(note.Text, "ship") || note.From != base64.RawURLEncoding.EncodeToString(key) {
		t.Fatalf("the push service got %+v", note)
	}
	shown := field[[]any](t, page.do(t, "notified", args{"data": note.Text}), "shown")
	if len(shown) != 1 || !strings.Contains(field[string](t, shown[0], "title"), "new message") || field[string](t, shown[0], "body") != amina.JID {
		t.Errorf("the browser shows %v", shown)
	}
	b.clean(t)
}
