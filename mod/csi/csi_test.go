package csi

import (
	"testing"

	"sabir/mod"
	"sabir/mod/modtest"
	"sabir/xmpp/xmlstream"
)

const (
	presence  = "<presence from='a@b/c'/>"
	composing = "<message type='chat' from='a@b/c' to='d@e/f'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>"
	receipt   = "<message type='chat' from='a@b/c' to='d@e/f'><received xmlns='urn:xmpp:receipts' id='1'/></message>"
	body      = "<message type='chat' from='a@b/c' to='d@e/f'><body>x</body></message>"
	ping      = "<iq type='get' id='1' from='a@b/c' to='d@e/f'><ping xmlns='urn:xmpp:ping'/></iq>"
)

func say(h *modtest.Host, s *modtest.Session, what string) {
	for _, n := range h.Hooks.Nonzas {
		if n.Local == what {
			n.Func(h.Context(), s, xmlstream.El(ns, what))
		}
	}
}

func TestStates(t *testing.T) {
	h := modtest.New(t, Info)
	s := h.Online("juliet@localhost/phone", 0)
	say(h, s, "active")
	if s.Judge() != nil {
		t.Error("an active client is judged")
	}
	say(h, s, "inactive")
	say(h, s, "inactive")
	judge := s.Judge()
	if judge == nil {
		t.Fatal("nothing is held back")
	}
	states := map[uint8]bool{}
	for xml, want := range map[string]mod.Urgency{presence: mod.Replaceable, composing: mod.Replaceable, receipt: mod.Patient, body: mod.Urgent, ping: mod.Urgent} {
		u, state := judge(modtest.Stanza(t, xml))
		if u != want {
			t.Errorf("%s: %d, want %d", xml, u, want)
		}
		if u == mod.Replaceable {
			states[state] = true
		}
	}
	if len(states) != 2 {
		t.Error("presence would take the place of chat states")
	}
	say(h, s, "active")
	if s.Judge() != nil {
		t.Error("it does not end")
	}
}

func TestInline(t *testing.T) {
	h := modtest.New(t, Info)
	s := h.Login("juliet@localhost/phone")
	in := h.Hooks.Inline[0]
	in.Func(h.Context(), s, xmlstream.El(ns, "inactive"))
	if s.Judge() == nil || in.Var != ns {
		t.Error("binding inactive holds nothing back")
	}
}

// TestConfig: whoever runs the server says what is held back (XEP-0352 §3.2).
func TestConfig(t *testing.T) {
	h := modtest.New(t, Info, modtest.WithConfig(func(c *Config) { *c = Config{} }))
	s := h.Online("juliet@localhost/phone", 0)
	say(h, s, "inactive")
	for _, xml := range []string{presence, composing, receipt} {
		if u, _ := s.Judge()(modtest.Stanza(t, xml)); u != mod.Urgent {
			t.Errorf("%s is held back although it is switched off", xml)
		}
	}
}
