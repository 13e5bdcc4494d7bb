package adhoc

import (
	"context"
	"encoding/json"
	"strconv"

	"sabir/mod"
	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/xmlstream"
)

// fieldType is the type of a form's field for a type of arguments or results.
func fieldType(t mod.ArgType, choice bool) dataform.FieldType {
	switch t {
	case mod.ArgLines:
		if choice {
			return dataform.ListMulti
		}
		return dataform.TextMulti
	case mod.ArgAddress:
		return dataform.JIDSingle
	case mod.ArgAddresses:
		return dataform.JIDMulti
	case mod.ArgSecret:
		return dataform.TextPrivate
	case mod.ArgFlag:
		return dataform.Boolean
	}
	if choice {
		return dataform.ListSingle
	}
	return dataform.TextSingle
}

// form makes the form of a command.
func form(ctx context.Context, c *mod.Command, call *mod.Call) (*dataform.Form, error) {
	f := dataform.New(dataform.TypeForm, c.FormType)
	f.Title = c.Doc
	f.Instructions = []string{"Fill in this form and complete the command."}
	for i := range c.Args {
		a := &c.Args[i]
		choices, err := c.Choices(ctx, call, a)
		if err != nil {
			return nil, err
		}
		field := dataform.Field{Var: a.Name, Type: fieldType(a.Type, len(choices) > 0 || a.Chosen), Label: a.Doc, Required: a.Required}
		for _, o := range choices {
			field.Options = append(field.Options, dataform.Option{Label: o.Label, Value: o.Value})
		}
		if a.Default != "" {
			field.Values = []string{a.Default}
		}
		f.Fields = append(f.Fields, field)
	}
	return f, nil
}

// submitted reads a form that was filled in and returns the arguments as JSON. A form of type cancel counts as submitted
// (XEP-0050#impl-forms).
func submitted(c *mod.Command, f *dataform.Form, x *xmlstream.Element) ([]byte, error) {
	s, err := dataform.Parse(x)
	if err != nil {
		return nil, bad("bad-payload", "%v", err)
	}
	if s.Type == dataform.TypeCancel {
		s.Type = dataform.TypeSubmit
	}
	if s, err = f.Submit(s); err != nil {
		return nil, bad("bad-payload", "%v", err)
	}
	args := make(map[string]any)
	for _, a := range c.Args {
		field := s.Field(a.Name)
		if field == nil || len(field.Values) == 0 {
			continue
		}
		switch a.Type {
		case mod.ArgLines, mod.ArgAddresses:
			args[a.Name] = field.Values
		case mod.ArgFlag:
			args[a.Name], _ = field.Bool()
		case mod.ArgNumber:
			if field.Value() == "" || field.Value() == "none" { // XEP-0133#registrar-formtype: max_items
				continue
			}
			n, err := strconv.Atoi(field.Value())
			if err != nil {
				return nil, bad("bad-payload", "the field %s is a whole number", a.Name)
			}
			args[a.Name] = n
		default:
			args[a.Name] = field.Value()
		}
	}
	return json.Marshal(args)
}

// Elements is implemented by results that have elements of their own in the form, such as a roster (XEP-0133#get-user-roster).
type Elements interface{ Elements() []*xmlstream.Element }

// completed is the end of a command with its result (XEP-0050#execute-simple).
func completed(c *mod.Command, id string, result any) *xmlstream.Element {
	a := answer(c.NodeOf(), id, "completed")
	if n, ok := result.(mod.Note); ok {
		return a.Add(xmlstream.El(NS, "note", xmlstream.A("type", "info"), string(n)))
	}
	t := mod.Tabulate(result)
	if len(t.Fields) == 0 && len(t.Columns) == 0 {
		return a
	}
	f := dataform.New(dataform.TypeResult, c.FormType)
	f.Title = c.Doc
	for i, k := range t.Fields {
		f.Fields = append(f.Fields, dataform.Field{Var: k.Name, Type: resultType(k), Label: k.Doc, Values: t.Values[i]})
	}
	for _, k := range t.Columns {
		f.Reported = append(f.Reported, dataform.Field{Var: k.Name, Type: resultType(k), Label: k.Doc})
	}
	for _, row := range t.Rows {
		var item []dataform.Field
		for i, k := range t.Columns {
			item = append(item, dataform.Field{Var: k.Name, Values: row[i]})
		}
		f.Items = append(f.Items, item)
	}
	x := f.Element()
	if e, ok := result.(Elements); ok {
		for _, k := range e.Elements() {
			x.Add(k)
		}
	}
	return a.Add(x)
}

func resultType(k mod.Column) dataform.FieldType { return fieldType(k.Type, false) }
