package dataform

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

func parse(t *testing.T, s string) (*Form, error) {
	t.Helper()
	x, err := xmlstream.Parse(s, xmlstream.DefaultLimits)
	if err != nil {
		t.Fatalf("%v in %s", err, s)
	}
	return Parse(x)
}

func mustParse(t *testing.T, s string) *Form {
	t.Helper()
	f, err := parse(t, s)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

const bot = `<x xmlns='jabber:x:data' type='form'><title>Bot Configuration</title><instructions>Fill out this form!</instructions>` +
	`<instructions>Twice.</instructions><field var='FORM_TYPE' type='hidden'><value>jabber:bot</value></field>` +
	`<field type='fixed'><value>Section 1: Bot Info</value></field>` +
	`<field var='botname' type='text-single' label='The name of your bot'><desc>Any</desc><required/></field>` +
	`<field var='description' type='text-multi'/><field var='public' type='boolean'><required/></field>` +
	`<field var='features' type='list-multi'><value>news</value><option label='News'><value>news</value></option><option><value>search</value></option></field>` +
	`<field var='maxsubs' type='list-single'><value>20</value><option><value>20</value></option><option><value>30</value></option></field>` +
	`<field var='invitelist' type='jid-multi'/><field var='owner' type='jid-single'/><field var='password' type='text-private'/></x>`

func TestRoundTrip(t *testing.T) {
	for _, s := range []string{
		bot,
		`<x xmlns='jabber:x:data' type='result'><reported><field var='name' type='text-single' label='Name'/></reported>` +
			`<item><field var='name'><value>A</value></field></item><item><field var='name'><value/></field></item></x>`,
		`<x xmlns='jabber:x:data' type='cancel'/>`,
		`<x xmlns='jabber:x:data' type='submit'><field var='a'><value>1</value><value>2</value></field></x>`,
		`<x xmlns='jabber:x:data' type='form'><field var='a' type='text-single'><validate xmlns='http://jabber.org/protocol/xdata-validate' datatype='xs:integer'/></field></x>`,
	} {
		f := mustParse(t, s)
		if got := f.Element().String(); got != s {
			t.Errorf("\n got %s\nwant %s", got, s)
		}
	}
}

func TestFields(t *testing.T) {
	f := mustParse(t, bot)
	if f.FormType() != "jabber:bot" || f.Title != "Bot Configuration" || len(f.Instructions) != 2 {
		t.Errorf("head: %+v", f)
	}
	if f.Field("maxsubs").Value() != "20" || !f.Field("botname").Required || f.Field("nothing").Value() != "" || f.Field("nothing").Text() != "" {
		t.Error("fields are not found")
	}
	if n := New(TypeResult, "urn:x", Field{Var: "a", Values: []string{"b"}}); n.FormType() != "urn:x" || n.Field("a").Value() != "b" {
		t.Errorf("New: %s", n.Element())
	}
	visible := mustParse(t, `<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='text-single'><value>urn:x</value></field></x>`)
	if visible.FormType() != "" {
		t.Error("a visible FORM_TYPE of a result counts")
	}
	sent := mustParse(t, `<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:x</value></field></x>`)
	if sent.FormType() != "urn:x" {
		t.Error("a FORM_TYPE of a submission without a type does not count")
	}
}

func TestUnknownFieldType(t *testing.T) {
	f := mustParse(t, `<x xmlns='jabber:x:data' type='form'><field var='a' type='colour'><value>1</value></field></x>`)
	if got := f.Field("a").Type; got != TextSingle {
		t.Errorf("an unknown type became %q", got)
	}
}

func TestBool(t *testing.T) {
	for in, want := range map[string]struct{ v, ok bool }{
		"1": {true, true}, "true": {true, true}, "0": {false, true}, "false": {false, true}, "": {false, true}, "yes": {false, false}, "TRUE": {false, false},
	} {
		if v, ok := (&Field{Values: []string{in}}).Bool(); v != want.v || ok != want.ok {
			t.Errorf("Bool of %q = %v, %v", in, v, ok)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for name, s := range map[string]string{
		"type":        `<x xmlns='jabber:x:data'/>`,
		"bogus type":  `<x xmlns='jabber:x:data' type='error'/>`,
		"namespace":   `<x xmlns='jabber:x:oob' type='form'/>`,
		"no var":      `<x xmlns='jabber:x:data' type='submit'><field><value>1</value></field></x>`,
		"twice":       `<x xmlns='jabber:x:data' type='submit'><field var='a'/><field var='a'/></x>`,
		"values":      `<x xmlns='jabber:x:data' type='submit'><field var='a' type='boolean'><value>1</value><value>0</value></field></x>`,
		"option":      `<x xmlns='jabber:x:data' type='form'><field var='a' type='list-single'><option/></field></x>`,
		"two options": `<x xmlns='jabber:x:data' type='form'><field var='a' type='list-single'><option><value>1</value><value>2</value></option></field></x>`,
		"reported":    `<x xmlns='jabber:x:data' type='result'><reported/><reported/></x>`,
		"in an item":  `<x xmlns='jabber:x:data' type='result'><item><field/></item></x>`,
	} {
		if f, err := parse(t, s); err == nil {
			t.Errorf("%s: taken as %+v", name, f)
		}
	}
}

func submit(fields string) string {
	return `<x xmlns='jabber:x:data' type='submit'>` + fields + `</x>`
}

const least = `<field var='botname'><value>Robin</value></field><field var='public'><value>1</value></field>`

func TestSubmit(t *testing.T) {
	form := mustParse(t, bot)
	got, err := form.Submit(mustParse(t, submit(least+
		`<field var='FORM_TYPE'><value>jabber:bot</value></field><field var='unknown'><value>1</value></field>`+
		`<field var='features'><value>news</value><value>search</value></field>`+
		`<field var='description'><value>one</value><value>two</value></field>`+
		`<field var='invitelist'><value>A@example.org</value><value>a@example.org</value><value>b@example.org</value></field>`)))
	if err != nil {
		t.Fatal(err)
	}
	if got.Field("unknown") != nil || got.Field("maxsubs") != nil {
		t.Error("a field came from nowhere")
	}
	if v, _ := got.Field("public").Bool(); !v || got.Field("public").Type != Boolean || got.Field("description").Text() != "one\ntwo" {
		t.Errorf("got %s", got.Element())
	}
	if v := got.Field("invitelist").Values; !slices.Equal(v, []string{"a@example.org", "b@example.org"}) {
		t.Errorf("invitelist: %v", v)
	}
}

// TestOpenList checks a list that takes numbers besides its options.
func TestOpenList(t *testing.T) {
	form := New(TypeForm, "", Field{Var: "max", Type: ListSingle, Options: []Option{{Value: "10"}, {Value: "none"}}, Extra: []*xmlstream.Element{OpenInteger()}})
	form = mustParse(t, form.Element().String()) // and so does what others have made of it
	for value, ok := range map[string]bool{"10": true, "none": true, "3": true, "many": false, "3.5": false} {
		got, err := form.Submit(New(TypeSubmit, "", Field{Var: "max", Values: []string{value}}))
		if ok != (err == nil) || ok && got.Field("max").Value() != value {
			t.Errorf("%s: %v", value, err)
		}
	}
}

func TestSubmitRefuses(t *testing.T) {
	form := mustParse(t, bot)
	for name, c := range map[string]struct {
		in   string
		want stanza.Condition
	}{
		"form type":  {strings.Replace(submit(least), "submit", "result", 1), stanza.BadRequest},
		"FORM_TYPE":  {submit(least + `<field var='FORM_TYPE'><value>urn:other</value></field>`), stanza.NotAcceptable},
		"required":   {submit(`<field var='public'><value>1</value></field>`), stanza.NotAcceptable},
		"empty":      {submit(`<field var='botname'><value/></field><field var='public'><value>1</value></field>`), stanza.NotAcceptable},
		"boolean":    {submit(`<field var='botname'><value>a</value></field><field var='public'><value>maybe</value></field>`), stanza.NotAcceptable},
		"option":     {submit(least + `<field var='maxsubs'><value>25</value></field>`), stanza.NotAcceptable},
		"options":    {submit(least + `<field var='features'><value>news</value><value>rock</value></field>`), stanza.NotAcceptable},
		"two values": {submit(least + `<field var='maxsubs'><value>20</value><value>30</value></field>`), stanza.NotAcceptable},
		"jid":        {submit(least + `<field var='owner'><value>@@</value></field>`), stanza.NotAcceptable},
		"jids":       {submit(least + `<field var='invitelist'><value>a@b</value><value>@@</value></field>`), stanza.NotAcceptable},
		"two lines":  {submit("<field var='botname'><value>a\nb</value></field><field var='public'><value>1</value></field>"), stanza.NotAcceptable},
	} {
		_, err := form.Submit(mustParse(t, c.in))
		var e *stanza.Error
		if !errors.As(err, &e) || e.Condition != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}
