package transcript

import (
	"errors"
	"strings"
	"testing"
	"time"
)

const cast = `# Two people
# who meet.
## slow
## only: tcp tls
## config: auth.plain = true
## without: urn:example:2
# spec: RFC 6121 §8.5.2.1.1
# feature: urn:example

[Client] Romeo
	jid: romeo@localhost/orchard
	password: pass:word

[Client] Juliet's phone
    jid: juliet@localhost
    password: password
    connect_host: 127.0.0.1
    connect_port: 5299

[Client] Juliet
	jid: juliet@localhost
	password: password

---------

`

func TestParse(t *testing.T) {
	s, err := Parse("x.xt", cast+`
Romeo connects
# a comment
// another
-- and one more

Juliet's phone sends:
	<presence/>

	<message to='a'>
# within
		<!-- and inside --><body> two  words </body>
	</message>

Romeo receives: nothing
Romeo receives nothing
Romeo receives nothing for 1500ms
Romeo receives
	<iq type='result'/>

together:
	Romeo receives:
		<a xmlns='b'/>
	Juliet's phone receives:
		<c xmlns='d'/>
		<e xmlns='f'/>

capture ${id}
node 2 stops
node 2 starts
Romeo opens to elsewhere.test
Romeo sends raw:
	<stream:stream
	x='y'>
Romeo is offered:
	<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>
Romeo is disconnected
Romeo drops
Romeo authenticates
Romeo resumes
Juliet disconnects
// vim: syntax=xml:
`)
	if err != nil {
		t.Fatal(err)
	}
	if s.Title != "Two people" || s.Description != "who meet." || strings.Join(s.Tags, "|") != "slow|only: tcp tls|config: auth.plain = true|without: urn:example:2" || strings.Join(s.Specs, "|") != "RFC 6121 §8.5.2.1.1" || strings.Join(s.Features, "|") != "urn:example" {
		t.Errorf("head: %q %q %q %q %q", s.Title, s.Description, s.Tags, s.Specs, s.Features)
	}
	if c := s.Config(); len(c) != 1 || c[0] != "auth.plain = true" {
		t.Errorf("settings %q", c)
	}
	if w := s.Without(); len(w) != 1 || w[0] != "urn:example:2" {
		t.Errorf("without %q", w)
	}
	if len(s.Characters) != 3 || s.Characters[0].Get("password") != "pass:word" || s.Characters[1].Get("connect_port") != "5299" || s.Needs() != 2 {
		t.Errorf("characters %+v", s.Characters)
	}
	verbs := []Verb{Connects, Sends, ReceivesNothing, ReceivesNothing, ReceivesNothing, Receives, Together, Capture, NodeStops, NodeStarts, Opens, SendsRaw, IsOffered, IsDisconnected, Drops, Authenticates, Resumes, Disconnects}
	if len(s.Steps) != len(verbs) {
		t.Fatalf("%d steps, not %d", len(s.Steps), len(verbs))
	}
	for i, v := range verbs {
		if s.Steps[i].Verb != v {
			t.Errorf("step %d in line %d is %d, not %d", i, s.Steps[i].Line, s.Steps[i].Verb, v)
		}
	}
	sends := s.Steps[1]
	if sends.Actor != 1 || len(sends.Elements) != 2 || sends.Elements[1].ChildText("jabber:client", "body") != " two  words " || len(sends.Elements[1].Nodes) != 1 {
		t.Errorf("sends %+v", sends)
	}
	if s.Steps[4].Duration != 1500*time.Millisecond || s.Steps[3].Duration != 0 {
		t.Error("durations")
	}
	to := s.Steps[6]
	if len(to.Steps) != 2 || to.Steps[0].Line != to.Line+1 || to.Steps[1].Line != to.Line+3 || len(to.Steps[1].Elements) != 2 {
		t.Errorf("together %+v", to)
	}
	if s.Steps[7].Text != "id" || s.Steps[8].Node != 2 || s.Steps[10].Text != "elsewhere.test" || s.Steps[11].Text != "<stream:streamx='y'>" {
		t.Errorf("texts %q %q", s.Steps[10].Text, s.Steps[11].Text)
	}
}

func TestParseErrors(t *testing.T) {
	lines := strings.Count(cast, "\n")
	for _, c := range []struct {
		name, text string
		line       int // from the first one after cast
		want       string
	}{
		{"nothing", "", 1 - lines, "no actions"},
		{"nobody", "Mercutio connects", 1, "no character acts"},
		{"no verb", "Romeo dances", 1, "cannot do this"},
		{"no XML", "Romeo sends:", 1, "stand below"},
		{"bad XML", "Romeo sends:\n\t<a>", 2, ""},
		{"DTD", "Romeo sends:\n\t<!DOCTYPE x>", 2, ""},
		{"text", "Romeo sends:\n\t<a/> b", 2, "text stands outside"},
		{"XML where none belongs", "Romeo connects\n\t<a/>", 2, "nothing stands below"},
		{"indented", "\tRomeo connects", 1, "belongs to nothing"},
		{"duration", "Romeo receives nothing for ever", 1, "nothing for 2s"},
		{"negative", "Romeo receives nothing for -1s", 1, "nothing for 2s"},
		{"word", "Romeo receives silence", 1, "nothing for 2s"},
		{"together empty", "together:", 1, "received together"},
		{"together sends", "together:\n\tRomeo sends:\n\t\t<a/>", 2, "everybody receives"},
		{"together crooked", "together:\n\t\tRomeo receives:\n\t\t\t<a/>\n\tJuliet receives:\n\t\t<a/>", 4, "indentation"},
		{"late character", "Romeo connects\n[Client] Nurse\n\tjid: n@localhost", 2, "before the actions"},
		{"same name", "[Client] Romeo\n\tjid: r@localhost\nRomeo connects", 1, "already"},
		{"no kind", "[Nurse] Nurse", 1, "[Client]"},
		{"no jid", "[Client] Nurse\n\tpassword: x", 1, "no jid"},
		{"no domain", "[Server] Verona\n\tcertificate: none", 1, "no domain"},
		{"what a server does", "Romeo accepts", 1, "cannot do this"},
		{"property", "[Client] Nurse\n\tjid", 2, "key: value"},
		{"node", "node x stops", 1, "a node stops"},
		{"comment without end", "Romeo sends:\n\t<a/><!-- ", 2, "no end"},
	} {
		_, err := Parse("x.xt", cast+c.text)
		var bad *SyntaxError
		if !errors.As(err, &bad) {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if bad.Line != lines+c.line || !strings.Contains(bad.Text, c.want) {
			t.Errorf("%s: line %d, not %d: %v", c.name, bad.Line, lines+c.line, err)
		}
	}
	if _, err := Parse("x.xt", "\xff"); err == nil {
		t.Error("a file that is not UTF-8 is read")
	}
}

// FuzzParse checks that no text brings the parser down, that a script that is accepted has what running it needs, and
// that errors name a line of the file.
func FuzzParse(f *testing.F) {
	f.Add(cast + "Romeo connects\n")
	f.Add(cast + "together:\n\tRomeo receives:\n\t\t<a/>\n\n\tJuliet receives:\n\t\t<b/>\n")
	f.Add(cast + "Romeo sends:\n\t<message><body>${x} {any} {scansion:capture:y}</body></message>\nRomeo receives nothing for 1s\n")
	f.Add("[Client] A\n jid: a@b\n--\nA sends raw:\n\t<x\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse("x.xt", text)
		if err != nil {
			var bad *SyntaxError
			if !errors.As(err, &bad) || bad.Line < 1 || bad.Line > strings.Count(text, "\n")+2 {
				t.Fatalf("%v", err)
			}
			return
		}
		if len(s.Steps) == 0 {
			t.Fatal("no steps")
		}
		v := &scope{domain: "d.test", captured: map[string]string{}}
		for range s.Characters {
			v.people = append(v.people, person{account: -1})
		}
		var all func(steps []Step)
		all = func(steps []Step) {
			for i := range steps {
				st := &steps[i]
				if st.Actor >= len(s.Characters) || st.Actor < 0 && st.Verb < Together {
					t.Fatalf("line %d: nobody acts", st.Line)
				}
				if (st.Verb == Sends || st.Verb == Receives) && len(st.Elements) == 0 {
					t.Fatalf("line %d: nothing to send or receive", st.Line)
				}
				for _, x := range st.Elements {
					if d := (&matcher{v: v, actor: st.Actor}).match(x, x); d != nil && !strings.Contains(x.String(), "{") && !strings.Contains(x.String(), nsScansion) {
						t.Fatalf("line %d: an element does not match itself: %v", st.Line, d)
					}
				}
				all(st.Steps)
			}
		}
		all(s.Steps)
	})
}
