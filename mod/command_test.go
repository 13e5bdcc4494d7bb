package mod_test

import (
	"context"
	"reflect"
	"strings"
	"testing"
	"time"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

type instance struct{ greeting string }

type args struct {
	Who   jid.JID   `json:"who" doc:"Whom." required:""`
	All   []jid.JID `json:"all" doc:"Others."`
	Lines []string  `json:"lines" doc:"Lines."`
	N     int       `json:"n" doc:"A number." oneof:"1 2"`
	Loud  bool      `json:"loud" doc:"Aloud."`
	Word  mod.Secret
}

func greet() mod.Command {
	return mod.Define(mod.Command{Name: "greet one", Doc: "Greets."}, func(_ context.Context, in *instance, c *mod.Call, a args) (any, error) {
		return mod.Note(in.greeting + " " + a.Who.String() + " by " + c.By.String()), nil
	})
}

func TestCommand(t *testing.T) {
	c := greet()
	var types []string
	for _, a := range c.Args {
		types = append(types, string(a.Type))
	}
	if got := strings.Join(types, " "); got != "address addresses lines number flag secret" {
		t.Errorf("types are %s", got)
	}
	if c.NodeOf() != "sabir/greet/one" {
		t.Errorf("node is %s", c.NodeOf())
	}
	call := &mod.Call{By: jid.MustParse("a@b/c")}
	if _, err := c.Run(t.Context(), call, nil); err == nil {
		t.Error("a command that is not bound has run")
	}
	c = c.Bind(&instance{"Hello"})
	if got, err := c.Run(t.Context(), call, []byte(`{"who":"x@y"}`)); got != mod.Note("Hello x@y by a@b/c") || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{`{}`, ``, `{"who":"@"}`, `{"who":"x@y","n":3}`, `{"who":"x@y","other":1}`, `{"who":"x@y","loud":"very"}`, `[`} {
		_, err := c.Run(t.Context(), call, []byte(bad))
		if e, ok := err.(*stanza.Error); !ok || e.Condition != stanza.BadRequest {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, err := c.Run(t.Context(), call, []byte(`{"who":"x@y","Word":7}`)); err == nil || strings.Contains(err.Error(), "7") {
		t.Errorf("the value of a secret is told: %v", err)
	}
}

func TestTabulate(t *testing.T) {
	type row struct {
		JID  jid.JID   `json:"jid" doc:"Who"`
		At   time.Time `json:"at"`
		Tags []string  `json:"tags,omitempty"`
		Deep any       `json:"deep"`
	}
	type whole struct {
		Name string `json:"name" doc:"Name"`
		None string `json:"none,omitempty"`
		Rows []row  `json:"rows"`
		N    int    `json:"n"`
		Self struct{ X int }
	}
	rows := []row{{jid.MustParse("a@b"), time.Unix(0, 0), []string{"x", "y"}, map[string]int{"k": 1}}, {}}
	columns := []mod.Column{
		{Name: "jid", Doc: "Who", Type: mod.ArgAddress}, {Name: "at", Type: mod.ArgText}, {Name: "tags", Type: mod.ArgLines}, {Name: "deep", Type: mod.ArgText},
	}
	cells := [][][]string{{{"a@b"}, {"1970-01-01T00:00:00Z"}, {"x", "y"}, {`{"k":1}`}}, {nil, nil, nil, {"null"}}}
	for _, c := range []struct {
		in   any
		want mod.Table
	}{
		{nil, mod.Table{}},
		{struct{}{}, mod.Table{}},
		{mod.Note("Done."), mod.Table{Fields: []mod.Column{{Name: "result", Type: mod.ArgText}}, Values: [][]string{{"Done."}}}},
		{[]string{"a", "b"}, mod.Table{Fields: []mod.Column{{Name: "result", Type: mod.ArgLines}}, Values: [][]string{{"a", "b"}}}},
		{rows, mod.Table{Columns: columns, Rows: cells}},
		{&whole{Name: "w", Rows: rows, N: 2}, mod.Table{
			Columns: columns, Rows: cells, Fields: []mod.Column{{Name: "name", Doc: "Name", Type: mod.ArgText}, {Name: "n", Type: mod.ArgNumber}, {Name: "Self", Type: mod.ArgText}},
			Values: [][]string{{"w"}, {"2"}, {`{"X":0}`}},
		}},
		{map[string]int{"a": 1}, mod.Table{Fields: []mod.Column{{Name: "result", Type: mod.ArgText}}, Values: [][]string{{`{"a":1}`}}}},
	} {
		if got := mod.Tabulate(c.in); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v:\n got %+v\nwant %+v", c.in, got, c.want)
		}
	}
	if got := mod.Tabulate(mod.Table{Rows: cells}); !reflect.DeepEqual(got.Rows, cells) {
		t.Errorf("a table became %v", got)
	}
}
