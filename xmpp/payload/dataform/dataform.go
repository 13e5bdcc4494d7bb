// Package dataform owns data forms (XEP-0004) with the FORM_TYPE that gives their fields a meaning (XEP-0068).
package dataform

import (
	"fmt"
	"strconv"
	"strings"

	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// NS is the namespace of forms.
const NS = "jabber:x:data"

// FormType is the name of the field that holds the type of a form (XEP-0068#approach-formtypes).
const FormType = "FORM_TYPE"

// Type tells what a form is for (XEP-0004#protocol-formtypes).
type Type string

// The types of forms.
const (
	TypeForm   Type = "form"
	TypeSubmit Type = "submit"
	TypeCancel Type = "cancel"
	TypeResult Type = "result"
)

// FieldType is the type of a field's data (XEP-0004#protocol-fieldtypes).
type FieldType string

// The types of fields.
const (
	Boolean     FieldType = "boolean"
	Fixed       FieldType = "fixed"
	Hidden      FieldType = "hidden"
	JIDMulti    FieldType = "jid-multi"
	JIDSingle   FieldType = "jid-single"
	ListMulti   FieldType = "list-multi"
	ListSingle  FieldType = "list-single"
	TextMulti   FieldType = "text-multi"
	TextPrivate FieldType = "text-private"
	TextSingle  FieldType = "text-single"
)

// multi tells whether a field of this type may have more than one value (XEP-0004#protocol-field).
func (t FieldType) multi() bool {
	return t == JIDMulti || t == ListMulti || t == TextMulti || t == Hidden
}

// Option is one of the choices of a list.
type Option struct {
	Label, Value string
}

// Field is a field of a form.
type Field struct {
	Var      string
	Type     FieldType // "" where the wire has none, which in a form of type form means text-single
	Label    string
	Desc     string
	Required bool
	Values   []string
	Options  []Option
	Extra    []*xmlstream.Element // children of other namespaces: validation, media
}

// Value returns the first value, or "".
func (f *Field) Value() string {
	if f == nil || len(f.Values) == 0 {
		return ""
	}
	return f.Values[0]
}

// Text returns the values of a text-multi joined by newlines (XEP-0004#protocol-fieldtypes).
func (f *Field) Text() string {
	if f == nil {
		return ""
	}
	return strings.Join(f.Values, "\n")
}

// Bool returns the value of a boolean: 1, true, 0 or false; without a value it is false (XEP-0004#protocol-fieldtypes). ok is false for
// other values.
func (f *Field) Bool() (value, ok bool) {
	switch f.Value() {
	case "1", "true":
		return true, true
	case "", "0", "false":
		return false, true
	}
	return false, false
}

// Form is a data form.
type Form struct {
	Type         Type
	Title        string
	Instructions []string
	Fields       []Field
	// Reported and Items are the head and the rows of a table, in a form of type result only (XEP-0004#protocol-results).
	Reported []Field
	Items    [][]Field
}

// New returns a form with a hidden FORM_TYPE, which is left out where it is "", and these fields.
func New(t Type, formType string, fields ...Field) *Form {
	f := &Form{Type: t}
	if formType != "" {
		f.Fields = append(f.Fields, Field{Var: FormType, Type: Hidden, Values: []string{formType}})
	}
	f.Fields = append(f.Fields, fields...)
	return f
}

// Field returns the field of this name, or nil, on which Value, Text and Bool may be called.
func (f *Form) Field(name string) *Field {
	for i := range f.Fields {
		if f.Fields[i].Var == name {
			return &f.Fields[i]
		}
	}
	return nil
}

// FormType returns the value of FORM_TYPE, or "". In forms of type form and result it counts only where the field is
// hidden (XEP-0068#approach-formtypes).
func (f *Form) FormType() string {
	t := f.Field(FormType)
	if t == nil || t.Type != Hidden && (f.Type == TypeForm || f.Type == TypeResult) {
		return ""
	}
	return t.Value()
}

// Element returns the form as XML.
func (f *Form) Element() *xmlstream.Element {
	x := xmlstream.El(NS, "x", xmlstream.A("type", string(f.Type)))
	if f.Title != "" {
		x.Add(xmlstream.El(NS, "title", f.Title))
	}
	for _, i := range f.Instructions {
		x.Add(xmlstream.El(NS, "instructions", i))
	}
	if len(f.Reported) > 0 {
		x.Add(row("reported", f.Reported))
	}
	for _, i := range f.Items {
		x.Add(row("item", i))
	}
	for i := range f.Fields {
		x.Add(f.Fields[i].element())
	}
	return x
}

func row(name string, fields []Field) *xmlstream.Element {
	x := xmlstream.El(NS, name)
	for i := range fields {
		x.Add(fields[i].element())
	}
	return x
}

func (f *Field) element() *xmlstream.Element {
	x := xmlstream.El(NS, "field")
	for _, a := range []struct{ name, value string }{{"var", f.Var}, {"type", string(f.Type)}, {"label", f.Label}} {
		if a.value != "" {
			x.Add(xmlstream.A(a.name, a.value))
		}
	}
	if f.Desc != "" {
		x.Add(xmlstream.El(NS, "desc", f.Desc))
	}
	if f.Required {
		x.Add(xmlstream.El(NS, "required"))
	}
	for _, v := range f.Values {
		x.Add(xmlstream.El(NS, "value", v))
	}
	for _, o := range f.Options {
		k := xmlstream.El(NS, "option", xmlstream.El(NS, "value", o.Value))
		if o.Label != "" {
			k.Add(xmlstream.A("label", o.Label))
		}
		x.Add(k)
	}
	return x.Add(f.Extra)
}

// Parse reads a form. It is strict where a form would be ambiguous: an unknown type, a field without a name or twice, more
// values than the type allows, an option without exactly one value, two <reported/>. Children it does not know are
// skipped within the form and kept within a field.
func Parse(x *xmlstream.Element) (*Form, error) {
	if !x.Is(NS, "x") {
		return nil, fmt.Errorf("dataform: not an <x/> of %s", NS)
	}
	f := &Form{Type: Type(x.Attr("type"))}
	switch f.Type {
	case TypeForm, TypeSubmit, TypeCancel, TypeResult:
	default:
		return nil, fmt.Errorf("dataform: no form has the type %.40q", f.Type)
	}
	reported := false
	for k := range x.Elements() {
		if k.Name.Space != NS {
			continue
		}
		var err error
		switch k.Name.Local {
		case "title":
			f.Title = k.Text()
		case "instructions":
			f.Instructions = append(f.Instructions, k.Text())
		case "field":
			f.Fields, err = appendField(f.Fields, k)
		case "reported":
			if reported {
				return nil, fmt.Errorf("dataform: a form has one <reported/>")
			}
			reported = true
			f.Reported, err = parseRow(k)
		case "item":
			var item []Field
			item, err = parseRow(k)
			f.Items = append(f.Items, item)
		}
		if err != nil {
			return nil, err
		}
	}
	return f, nil
}

func parseRow(x *xmlstream.Element) (fields []Field, err error) {
	for k := range x.Elements() {
		if k.Is(NS, "field") {
			if fields, err = appendField(fields, k); err != nil {
				return nil, err
			}
		}
	}
	return fields, nil
}

// appendField reads one <field/>.
func appendField(to []Field, x *xmlstream.Element) ([]Field, error) {
	f := Field{Var: x.Attr("var"), Label: x.Attr("label")}
	switch t := FieldType(x.Attr("type")); t {
	case "", Boolean, Fixed, Hidden, JIDMulti, JIDSingle, ListMulti, ListSingle, TextMulti, TextPrivate, TextSingle:
		f.Type = t
	default:
		f.Type = TextSingle // XEP-0004#protocol-fieldtypes: the default for what is not understood
	}
	if f.Var == "" && f.Type != Fixed {
		return nil, fmt.Errorf("dataform: a field has no var")
	}
	for i := range to {
		if f.Var != "" && to[i].Var == f.Var {
			return nil, fmt.Errorf("dataform: the field %.80q is there twice", f.Var)
		}
	}
	for k := range x.Elements() {
		if k.Name.Space != NS {
			f.Extra = append(f.Extra, k)
			continue
		}
		switch k.Name.Local {
		case "desc":
			f.Desc = k.Text()
		case "required":
			f.Required = true
		case "value":
			f.Values = append(f.Values, k.Text())
		case "option":
			o, err := parseOption(k)
			if err != nil {
				return nil, err
			}
			f.Options = append(f.Options, o)
		}
	}
	if len(f.Values) > 1 && f.Type != "" && !f.Type.multi() {
		return nil, fmt.Errorf("dataform: the field %.80q of type %s has more than one value", f.Var, f.Type)
	}
	return append(to, f), nil
}

func parseOption(x *xmlstream.Element) (Option, error) {
	o := Option{Label: x.Attr("label")}
	n := 0
	for k := range x.Elements() {
		if k.Is(NS, "value") {
			o.Value = k.Text()
			n++
		}
	}
	if n != 1 {
		return o, fmt.Errorf("dataform: an option has one value, not %d", n)
	}
	return o, nil
}

// Submit checks a submission against the form that was asked, and returns its values in the types of that form: fields
// that the form does not have are left out (XEP-0004#protocol-formtypes), as are repeated JIDs (#protocol-fieldtypes). The form's type of a field counts,
// not that of the submission. The error is a *stanza.Error: bad-request for a form that is not of type submit,
// not-acceptable for values that do not fit (XEP-0004#validation).
func (f *Form) Submit(s *Form) (*Form, error) {
	if s.Type != TypeSubmit {
		return nil, stanza.Err(stanza.BadRequest, "the form is not of type submit")
	}
	if want, got := f.FormType(), s.FormType(); got != "" && got != want {
		return nil, stanza.Errf(stanza.NotAcceptable, "the FORM_TYPE is not %s", want)
	}
	out := &Form{Type: TypeSubmit}
	for i := range f.Fields {
		want := &f.Fields[i]
		if want.Type == Fixed {
			continue
		}
		got := s.Field(want.Var)
		if got == nil || len(got.Values) == 0 || want.Type != Hidden && got.Text() == "" {
			if want.Required {
				return nil, stanza.Errf(stanza.NotAcceptable, "the field %s is required", want.Var)
			}
			if got == nil {
				continue // XEP-0004#incomplete-submission-form-handling: what is omitted keeps its value
			}
		}
		values, err := want.accept(got.Values)
		if err != nil {
			return nil, err
		}
		out.Fields = append(out.Fields, Field{Var: want.Var, Type: want.Type, Values: values})
	}
	return out, nil
}

// accept checks values against the field.
func (f *Field) accept(values []string) ([]string, error) {
	bad := func(why string) ([]string, error) {
		return nil, stanza.Errf(stanza.NotAcceptable, "the field %s %s", f.Var, why)
	}
	if len(values) > 1 && !f.Type.multi() {
		return bad("takes one value")
	}
	switch f.Type {
	case Boolean:
		if _, ok := (&Field{Values: values}).Bool(); !ok {
			return bad("is true or false")
		}
	case ListSingle, ListMulti:
		for _, v := range values {
			if v == "" || len(f.Options) == 0 || f.offers(v) {
				continue
			}
			if f.open() == nil {
				return bad("takes one of its options")
			}
			if _, err := strconv.Atoi(v); err != nil && f.open().Attr("datatype") == integer {
				return bad("takes one of its options or a whole number")
			}
		}
	case JIDSingle, JIDMulti:
		return f.acceptJIDs(values)
	case "", TextSingle, TextPrivate:
		if len(values) == 1 && strings.ContainsAny(values[0], "\r\n") {
			return bad("is a single line")
		}
	}
	return values, nil
}

// OpenInteger is what lets a list take whole numbers besides its options (XEP-0122#usercases-validation.open): an Extra of its field.
func OpenInteger() *xmlstream.Element {
	return xmlstream.El(nsValidate, "validate", xmlstream.A("datatype", integer), xmlstream.El(nsValidate, "open"))
}

const (
	nsValidate = "http://jabber.org/protocol/xdata-validate" // XEP-0122
	integer    = "xs:integer"
)

// open returns the validation of a list that takes other values than its options, or nil.
func (f *Field) open() *xmlstream.Element {
	for _, x := range f.Extra {
		if x.Is(nsValidate, "validate") && x.Child(nsValidate, "open") != nil {
			return x
		}
	}
	return nil
}

func (f *Field) offers(value string) bool {
	for _, o := range f.Options {
		if o.Value == value {
			return true
		}
	}
	return false
}

func (f *Field) acceptJIDs(values []string) ([]string, error) {
	var out []string
	seen := make(map[jid.JID]bool)
	for _, v := range values {
		if v == "" {
			continue
		}
		j, err := jid.Parse(v)
		if err != nil {
			return nil, stanza.Errf(stanza.NotAcceptable, "the field %s: %v", f.Var, err)
		}
		if !seen[j] {
			seen[j] = true
			out = append(out, j.String())
		}
	}
	return out, nil
}
