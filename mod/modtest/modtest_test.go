package modtest

import (
	"context"
	"testing"

	"sabir/mod"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// echo is an extension that uses what a Host offers.
var echo = mod.Info{
	Name:   "echo",
	Config: func() any { return &config{Word: "hello"} },
	New: func(h mod.Host, cfg any) (*mod.Hooks, error) {
		c := cfg.(*config)
		return &mod.Hooks{
			IQ: []mod.IQHandler{{At: mod.AtHost | mod.AtOwn, Space: "urn:echo", Local: "echo", Type: stanza.TypeGet,
				Func: func(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
					if r.Session != nil {
						r.Session.Send(r.Result(nil))
						return nil, mod.ErrAnswered
					}
					return xmlstream.El("urn:echo", "echo", c.Word), nil
				}}},
			Admit: []mod.AdmitHook{{When: mod.When{Side: mod.In, Kinds: mod.Messages}, Func: func(_ context.Context, p *mod.Pass) error {
				if p.Stanza.Body() == "" {
					return mod.Drop{Why: "empty"}
				}
				return nil
			}}},
			Available: func(ctx context.Context, s mod.Session, initial bool) {
				q := stanza.NewIQ(stanza.TypeGet, h.Domain(), s.JID(), xmlstream.El("urn:xmpp:ping", "ping"))
				h.Ask(ctx, q, func(a *stanza.Stanza) {
					if a == nil && initial {
						s.Close("connection-timeout", "")
					}
				})
			},
		}, nil
	},
}

type config struct{ Word string }

func TestHost(t *testing.T) {
	h := New(t, echo, WithConfig(func(c *config) { c.Word = "hi" }), WithDomain("capulet.example"), WithAccounts("juliet"))
	Expect(t, h.Get("romeo@montague.example/a", "capulet.example", "<echo xmlns='urn:echo'/>"),
		"<iq type='result' from='capulet.example'><echo xmlns='urn:echo'>hi</echo></iq>")
	ExpectError(t, h.Set("romeo@montague.example/a", "capulet.example", "<echo xmlns='urn:echo'/>"), stanza.Cancel, stanza.ServiceUnavailable)
	s := h.Online("juliet@capulet.example/balcony", 5)
	if got := h.Get("juliet@capulet.example/balcony", "", "<echo xmlns='urn:echo'/>"); got == nil || len(s.Take()) != 0 {
		t.Errorf("the answer that was sent is not the answer: %v", got)
	}
	in := Stanza(t, "<message to='juliet@capulet.example'/>")
	if _, err := h.Run(mod.In, in); Condition(t, err) != "drop" {
		t.Errorf("an empty message: %v", err)
	}
	in = Stanza(t, "<message to='juliet@capulet.example'><body>b</body></message>")
	if _, err := h.Run(mod.In, in); err != nil {
		t.Errorf("a message: %v", err)
	}
	asked := h.Asked()
	if len(asked) != 1 {
		t.Fatalf("asked %d times", len(asked))
	}
	asked[0].Answer(nil)
	if c, closed := s.Closed(); !closed || c != "connection-timeout" || s.Deliver(in) || len(h.Sessions(s.JID().Bare())) != 0 {
		t.Errorf("after the timeout: %s %v", c, closed)
	}
}

func TestCompare(t *testing.T) {
	got := "<iq id='1' type='result'><query xmlns='urn:x' a='1'><item>text</item><item/></query></iq>"
	for want, same := range map[string]bool{
		got: true,
		"<iq type='result'>\n <query xmlns='urn:x' a='{any}'>\n <item>{any}</item> <item/></query></iq>": true,
		"<iq type='error'><query xmlns='urn:x' a='1'><item>text</item><item/></query></iq>":              false,
		"<iq><query xmlns='urn:x'><item>text</item><item/></query></iq>":                                 false,
		"<iq><query xmlns='urn:x' a='1'><item/><item>text</item></query></iq>":                           false,
		"<iq><query xmlns='urn:x' a='1'><item>text</item></query></iq>":                                  false,
		"<iq><query xmlns='urn:y' a='1'><item>text</item><item/></query></iq>":                           false,
		"<iq/>": false,
	} {
		if diff := compare(XML(t, got), XML(t, want), true); (diff == "") != same {
			t.Errorf("%s: %q", want, diff)
		}
	}
}
