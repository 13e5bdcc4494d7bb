package mod

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"sabir/xmpp/jid"
)

// Column is a column of a table of results, or a field of a single result.
type Column struct {
	Name string  `json:"name"`
	Doc  string  `json:"doc,omitempty"`
	Type ArgType `json:"type"` // of its values; ArgLines and ArgAddresses may have several in a cell
}

// Table is the result of a command as rows.
type Table struct {
	// Columns and Rows are those of a list; a row has a cell for each column, a cell any number of values.
	Columns []Column     `json:"columns,omitempty"`
	Rows    [][][]string `json:"rows,omitempty"`
	// Fields are what there is once, beside the list or instead of it, with their values in Values.
	Fields []Column   `json:"fields,omitempty"`
	Values [][]string `json:"values,omitempty"`
}

// Tabulate makes a table of the result of a command. The fields of a struct become Fields; a slice of structs becomes rows, as does the
// first field of a struct that is one. Their tag json names them, doc says what they are. What fits into no cell is written as JSON. A
// Table is what it is.
func Tabulate(result any) Table {
	if t, ok := result.(Table); ok {
		return t
	}
	var t Table
	v := reflect.ValueOf(result)
	for v.IsValid() && (v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface) {
		v = v.Elem()
	}
	switch {
	case !v.IsValid():
	case isRows(v.Type()):
		t.rows(v)
	case v.Kind() == reflect.Struct && scalar(v.Type()) == "":
		t.fields(v)
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.String, scalar(v.Type()) != "":
		t.Fields, t.Values = []Column{{Name: "result", Type: typeOfCell(v.Type())}}, [][]string{cell(v)}
	default:
		t.Fields, t.Values = []Column{{Name: "result", Type: ArgText}}, [][]string{{inJSON(v)}}
	}
	return t
}

func isRows(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct && scalar(t.Elem()) == ""
}

func (t *Table) rows(v reflect.Value) {
	list := columns(v.Type().Elem())
	for _, c := range list {
		t.Columns = append(t.Columns, c.Column)
	}
	for i := range v.Len() {
		var row [][]string
		for _, c := range list {
			row = append(row, cell(v.Index(i).FieldByIndex(c.index)))
		}
		t.Rows = append(t.Rows, row)
	}
}

func (t *Table) fields(v reflect.Value) {
	for _, c := range columns(v.Type()) {
		f := v.FieldByIndex(c.index)
		if isRows(f.Type()) && t.Columns == nil {
			t.rows(f)
			continue
		}
		if c.omit && f.IsZero() {
			continue
		}
		t.Fields = append(t.Fields, c.Column)
		t.Values = append(t.Values, cell(f))
	}
}

type column struct {
	Column
	index []int
	omit  bool
}

// columns are the fields of a struct that results show, those of embedded structs in their place.
func columns(t reflect.Type) (all []column) {
	for _, f := range reflect.VisibleFields(t) {
		key, rest, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || key == "-" || f.Anonymous {
			continue
		}
		if key == "" {
			key = f.Name
		}
		all = append(all, column{
			Column{Name: key, Doc: f.Tag.Get("doc"), Type: typeOfCell(f.Type)}, f.Index, strings.Contains(rest, "omitempty") || strings.Contains(rest, "omitzero"),
		})
	}
	return all
}

// scalar tells what a type holds that fits into one value, or "".
func scalar(t reflect.Type) ArgType {
	switch {
	case t == reflect.TypeFor[jid.JID]():
		return ArgAddress
	case t == reflect.TypeFor[Secret]():
		return ArgSecret
	case t == reflect.TypeFor[time.Time](), t.Kind() == reflect.String:
		return ArgText
	case t.Kind() == reflect.Bool:
		return ArgFlag
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Float64:
		return ArgNumber
	}
	return ""
}

func typeOfCell(t reflect.Type) ArgType {
	switch {
	case t == reflect.TypeFor[[]jid.JID]():
		return ArgAddresses
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.String:
		return ArgLines
	case scalar(t) != "":
		return scalar(t)
	}
	return ArgText
}

func cell(v reflect.Value) []string {
	if v.Kind() == reflect.Slice && scalar(v.Type().Elem()) != "" {
		var all []string
		for i := range v.Len() {
			all = append(all, one(v.Index(i)))
		}
		return all
	}
	if s := one(v); s != "" {
		return []string{s}
	}
	return nil
}

func one(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Time:
		if x.IsZero() {
			return ""
		}
		return x.UTC().Format(time.RFC3339)
	case jid.JID:
		return x.String()
	}
	if scalar(v.Type()) != "" {
		return fmt.Sprint(v.Interface())
	}
	return inJSON(v)
}

// inJSON writes what has a form of its own.
func inJSON(v reflect.Value) string {
	b, err := json.Marshal(v.Interface())
	if err != nil {
		return err.Error()
	}
	return string(b)
}
