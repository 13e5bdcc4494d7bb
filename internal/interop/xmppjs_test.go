package interop

import (
	"strings"
	"testing"
)

// js is XMPP.js as an account.
type js struct {
	*agent
	w *world
	a Account
}

// newJS starts XMPP.js. It knows the server's authority beside those of Node.
func newJS(t *testing.T, w *world, a Account) *js {
	t.Helper()
	env := []string{"SABIR_INTEROP_NODE=" + needs(t, "SABIR_INTEROP_NODE"), "NODE_EXTRA_CA_CERTS=" + w.CAFile}
	return &js{startAgent(t, env, "node", "testdata/agents/xmppjs.mjs"), w, a}
}

// login logs in by STARTTLS and SASL2 and returns the full JID. mechanism is what is to be used.
func (j *js) login(t *testing.T, mechanism string) string {
	t.Helper()
	user, domain, _ := strings.Cut(j.a.JID, "@")
	r := j.do(t, "login", args{
		"service": "xmpp://" + j.w.Addresses["c2s"], "domain": domain, "user": user, "password": j.a.Password,
		"id": "d4565fa7-4d72-4749-b3d3-740edbf8777b",
	})
	if used := field[string](t, r, "used"); used != mechanism {
		t.Errorf("logged in by %s, want %s", used, mechanism)
	}
	if errs := field[[]any](t, r, "errors"); len(errs) > 0 {
		t.Errorf("XMPP.js complains: %v", errs)
	}
	if m := field[string](t, field[map[string]any](t, r, "token"), "mechanism"); m != "HT-SHA-256-NONE" {
		t.Errorf("the token is for %s", m)
	}
	j.w.loggedIn(t, j.a.JID, mechanism, "tcp")
	return field[string](t, r, "jid")
}

// TestXMPPJS has two clients log in by SASL2 with Bind 2 (XEP-0388, XEP-0386), talk, and come back by the token (XEP-0484)
// under the same address.
func TestXMPPJS(t *testing.T) {
	w := enter(t)
	romeo, juliet := newJS(t, w, w.account(t, "romeo")), newJS(t, w, w.account(t, "juliet"))
	first := romeo.login(t, "SCRAM-SHA-1")
	if !strings.HasPrefix(first, romeo.a.JID+"/xmpp.js/") {
		t.Errorf("bound %s", first)
	}
	juliet.login(t, "SCRAM-SHA-1")
	talk := func(text string) {
		t.Helper()
		romeo.do(t, "send", args{"to": juliet.a.JID, "text": text})
		juliet.do(t, "receive", args{"text": text})
	}
	talk("But, soft!")
	romeo.do(t, "logout", nil)
	if again := romeo.login(t, "HT-SHA-256-NONE"); again != first {
		t.Errorf("bound %s, and then %s", first, again)
	}
	talk("What light through yonder window breaks?")
	romeo.do(t, "logout", nil)
	romeo.do(t, "forget", nil)
	romeo.login(t, "SCRAM-SHA-1")
	talk("It is the east")
	for _, j := range []*js{romeo, juliet} {
		j.do(t, "logout", nil)
	}
}
