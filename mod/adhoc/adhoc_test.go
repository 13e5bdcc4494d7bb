package adhoc

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"sabir/mod"
	"sabir/mod/modtest"
	"sabir/xmpp/stanza"
)

const (
	admin = "admin@localhost/office"
	romeo = "romeo@localhost/orchard"
	node  = "sabir/test/echo"
)

type echoArgs struct {
	Word  string   `json:"word" doc:"Word" required:""`
	Which string   `json:"which" doc:"Which" choose:""`
	Lines []string `json:"lines" doc:"Lines"`
	Times int      `json:"times" doc:"How often"`
	Loud  bool     `json:"loud" doc:"Aloud"`
}

type echo struct {
	Word  string `json:"word" doc:"Word"`
	Lines int    `json:"lines"`
	Rows  []struct {
		N int `json:"n"`
	} `json:"rows"`
}

// info is the extension with commands as others would bring them.
func info() mod.Info {
	i := Info
	i.Commands = []mod.Command{
		mod.Choosing(mod.Define(mod.Command{Name: "test echo", Doc: "Echoes.", Right: mod.User},
			func(_ context.Context, _ string, _ *mod.Call, a echoArgs) (any, error) {
				switch a.Word {
				case "refuse":
					return nil, stanza.Err(stanza.Conflict, "no")
				case "lack":
					return nil, stanza.Err(stanza.ItemNotFound, "there is no such word")
				}
				e := echo{Word: a.Word, Lines: len(a.Lines)}
				for n := range a.Times {
					e.Rows = append(e.Rows, struct {
						N int `json:"n"`
					}{n})
				}
				return e, nil
			}), func(context.Context, string, *mod.Call, string) ([]mod.Choice, error) {
			return []mod.Choice{{Value: "a", Label: "A"}}, nil
		}),
		mod.Define(mod.Command{Name: "test note", Doc: "Notes.", Right: mod.HostAdmin},
			func(context.Context, string, *mod.Call, struct{}) (any, error) { return mod.Note("Done."), nil }),
		mod.Define(mod.Command{Name: "test local", Doc: "Stays.", Local: true},
			func(context.Context, string, *mod.Call, struct{}) (any, error) { return nil, nil }),
	}
	of := i.New
	i.New = func(h mod.Host, c any) (*mod.Hooks, error) {
		hooks, err := of(h, c)
		hooks.Instance = "instance"
		return hooks, err
	}
	return i
}

func give(node, more, inner string) string {
	return "<command xmlns='http://jabber.org/protocol/commands' node='" + node + "' " + more + ">" + inner + "</command>"
}

func form(pairs ...string) string {
	f := ""
	for i := 0; i < len(pairs); i += 2 {
		f += "<field var='" + pairs[i] + "'><value>" + pairs[i+1] + "</value></field>"
	}
	return "<x xmlns='jabber:x:data' type='submit'>" + f + "</x>"
}

func TestResults(t *testing.T) {
	h := modtest.New(t, info())
	a := h.Set(romeo, "localhost", give(node, "", form("word", "w", "which", "a", "lines", "x", "times", "2", "loud", "true"))).String()
	for _, want := range []string{"status='completed'", "<field var='word' type='text-single' label='Word'><value>w</value></field>", "<reported><field var='n' type='text-single'/></reported>",
		"<item><field var='n'><value>0</value></field></item><item><field var='n'><value>1</value></field></item>"} {
		if !strings.Contains(a, want) {
			t.Errorf("no %s in %s", want, a)
		}
	}
	modtest.ExpectError(t, h.Set(romeo, "localhost", give(node, "", form("word", "refuse"))), stanza.Cancel, stanza.Conflict)
	modtest.ExpectFailed(t, h.Set(romeo, "localhost", give(node, "", form("word", "lack"))), "no such word")
	for _, bad := range []string{form("word", "w", "which", "b"), form("word", "w", "times", "many"), form("which", "a"), "<x xmlns='jabber:x:data' type='waltz'/>"} {
		if e := h.Set(romeo, "localhost", give(node, "", bad)).String(); !strings.Contains(e, "bad-payload") {
			t.Errorf("%s: %s", bad, e)
		}
	}
	modtest.ExpectError(t, h.Set(romeo, "localhost", give("sabir/test/note", "", "")), stanza.Cancel, stanza.Forbidden)
	h.SetRight("admin@localhost", mod.HostAdmin)
	if a := h.Set(admin, "localhost", give("sabir/test/note", "action='execute'", "")).String(); !strings.Contains(a, "<note type='info'>Done.</note>") {
		t.Error(a)
	}
	modtest.ExpectError(t, h.Set(admin, "localhost", give("sabir/test/local", "", "")), stanza.Cancel, stanza.ItemNotFound)
}

// TestSessions: a session belongs to one client, ends after a while, and there are not too many.
func TestSessions(t *testing.T) {
	h := modtest.New(t, info())
	open := func(from string) (string, *stanza.Stanza) {
		a := h.Set(from, "localhost", give(node, "", ""))
		return a.Payload().Attr("sessionid"), a
	}
	id, a := open(romeo)
	if id == "" || !strings.Contains(a.String(), "<option label='A'><value>a</value></option>") {
		t.Fatal(a)
	}
	submit := func(from, id string) string {
		return h.Set(from, "localhost", give(node, "sessionid='"+id+"' action='complete'", form("word", "w"))).String()
	}
	if got := submit("romeo@localhost/elsewhere", id); !strings.Contains(got, "bad-sessionid") {
		t.Errorf("another client has taken the session: %s", got)
	}
	h.Advance(time.Hour)
	if got := submit(romeo, id); !strings.Contains(got, "session-expired") {
		t.Errorf("after an hour: %s", got)
	}
	id, _ = open(romeo)
	if got := submit(romeo, id); !strings.Contains(got, "completed") {
		t.Error(got)
	}
	if got := submit(romeo, id); !strings.Contains(got, "session-expired") {
		t.Errorf("a session was used twice: %s", got)
	}
	for i := range 40 {
		_, a := open(romeo)
		if full := a.Type == stanza.TypeError; full != (i >= 20) {
			t.Fatalf("session %d: %s", i, a)
		}
	}
	if _, a := open("juliet@localhost/balcony"); a.Type != stanza.TypeResult {
		t.Errorf("one has taken all sessions: %s", a)
	}
	h.Advance(time.Hour)
	if _, a := open(romeo); a.Type != stanza.TypeResult {
		t.Error(a)
	}
}

func TestNodes(t *testing.T) {
	h := modtest.New(t, info())
	items := func(who string) string {
		list, ok, err := h.Hooks.HostNodes.NodeItems(t.Context(), modtest.Stanza(t, "<message from='"+who+"'/>").From, "http://jabber.org/protocol/commands")
		if err != nil || !ok {
			t.Fatal(err)
		}
		out := ""
		for _, i := range list {
			out += fmt.Sprintf("%s %s;", i.Node, i.Name)
		}
		return out
	}
	if got := items(romeo); got != "sabir/test/echo Echoes.;" {
		t.Errorf("users see %s", got)
	}
	if got := items("x@elsewhere.example"); got != "" {
		t.Errorf("strangers see %s", got)
	}
	h.SetRight("admin@localhost", mod.ServerAdmin)
	if got := items(admin); got != "sabir/test/echo Echoes.;sabir/test/note Notes.;" {
		t.Errorf("admins see %s", got)
	}
}
