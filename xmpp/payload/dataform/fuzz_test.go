package dataform

import (
	"testing"

	"sabir/xmpp/xmlstream"
)

// What is read, written and read again is the same, and no submission makes Submit panic or return fields that the form
// does not have.
func FuzzForm(f *testing.F) {
	f.Add(bot, submit(least))
	f.Add(`<x xmlns='jabber:x:data' type='result'><reported><field var='a'/></reported><item><field var='a'><value/></field></item></x>`, `<x xmlns='jabber:x:data' type='submit'/>`)
	f.Add(`<x xmlns='jabber:x:data' type='form'><field type='fixed'/><field var='a' type='jid-multi'><required/><x xmlns='u'/></field></x>`, submit(`<field var='a'><value>@</value></field>`))
	f.Fuzz(func(t *testing.T, a, b string) {
		form := read(a)
		if form == nil {
			return
		}
		again := read(form.Element().String())
		if again == nil || again.Element().String() != form.Element().String() {
			t.Fatalf("%s became %v", form.Element(), again)
		}
		sent := read(b)
		if sent == nil {
			return
		}
		got, err := form.Submit(sent)
		if err != nil {
			return
		}
		for _, fd := range got.Fields {
			if form.Field(fd.Var) == nil {
				t.Errorf("the field %q came from nowhere", fd.Var)
			}
		}
	})
}

func read(s string) *Form {
	x, err := xmlstream.Parse(s, xmlstream.DefaultLimits)
	if err != nil {
		return nil
	}
	f, err := Parse(x)
	if err != nil {
		return nil
	}
	return f
}
