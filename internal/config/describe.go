package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"sabir/internal/observe"
)

// Example returns a configuration file that explains every setting. Those that have a default stand there as comments, so that the
// file says only what was decided; it loads as it is.
func Example(sections []Section) string {
	w := &writer{}
	w.comment("Settings of Sabir, in TOML 1.0. What is commented out is the default. `sabir config check FILE` tells what is wrong with a file; " +
		"`sabir reload` puts most changes in force without a restart.")
	d := Default()
	v := reflect.ValueOf(d).Elem()
	for _, f := range fields(v.Type()) {
		if plain(f.Type) {
			w.line("")
			w.setting(f, v.FieldByIndex(f.Index))
		}
	}
	for _, f := range fields(v.Type()) {
		switch {
		case plain(f.Type):
		case f.key == "host":
			w.hosts(f)
		case f.key == "listen":
			w.sockets(f)
		default:
			w.section(f.key, f.Tag.Get("doc"), v.FieldByIndex(f.Index))
		}
	}
	for _, s := range sections {
		doc := s.Doc
		if s.Off {
			doc += " Off unless named in `enabled` of a [[host]]."
		}
		if s.New == nil {
			w.line("")
			w.comment("Extension " + s.Name + ": " + doc)
			continue
		}
		w.section("mod."+s.Name, "Extension "+s.Name+": "+doc, reflect.ValueOf(s.New()).Elem())
	}
	return w.String()
}

// plain tells whether a setting is written on one line.
func plain(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(textUnmarshaler) {
		return true
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return false
	case reflect.Slice:
		return plain(t.Elem())
	}
	return true
}

type writer struct{ strings.Builder }

func (w *writer) line(s string) { w.WriteString(s + "\n") }

// comment writes text in lines of at most 110 characters.
func (w *writer) comment(text string) {
	line := "#"
	for _, word := range strings.Fields(text) {
		if len(line)+1+len(word) > 110 {
			w.line(line)
			line = "#"
		}
		line += " " + word
	}
	w.line(line)
}

// setting writes one setting with its default, commented out; one that a file must give has an example instead.
func (w *writer) setting(f field, v reflect.Value) {
	w.comment(f.Tag.Get("doc") + remark(f.Tag))
	if e, ok := f.Tag.Lookup("example"); ok {
		w.line(f.key + " = " + strconv.Quote(e))
		return
	}
	w.line("#" + f.key + " = " + literal(v))
}

// section writes a table and those within it.
func (w *writer) section(key, doc string, v reflect.Value) {
	w.line("")
	w.comment(doc)
	w.line("[" + key + "]")
	for _, f := range fields(v.Type()) {
		if plain(f.Type) {
			w.setting(f, v.FieldByIndex(f.Index))
		}
	}
	for _, f := range fields(v.Type()) {
		if f.Type.Kind() == reflect.Struct && !plain(f.Type) {
			w.section(join(key, f.key), f.Tag.Get("doc"), v.FieldByIndex(f.Index))
		} else if !plain(f.Type) {
			w.line("")
			w.comment("Blocks [[" + join(key, f.key) + "]]: " + f.Tag.Get("doc"))
			if f.Type.Kind() == reflect.Slice {
				for _, bf := range fields(f.Type.Elem()) {
					w.comment(bf.key + ": " + bf.Tag.Get("doc"))
				}
			}
		}
	}
}

// hosts writes the block of one host.
func (w *writer) hosts(f field) {
	w.line("")
	w.comment(f.Tag.Get("doc") + " Settings of an extension for this domain alone stand in [host.mod.NAME] behind the block.")
	w.line("[[host]]")
	v := reflect.New(f.Type.Elem()).Elem()
	for _, hf := range fields(f.Type.Elem()) {
		if plain(hf.Type) {
			w.setting(hf, v.FieldByIndex(hf.Index))
		}
	}
	for _, hf := range fields(f.Type.Elem()) {
		if plain(hf.Type) {
			continue
		}
		w.comment(hf.Tag.Get("doc") + " Any of " + strings.Join(keys(hf.Type), ", ") + ".")
		w.line("#[" + join(f.key, hf.key) + "]")
	}
}

// keys lists the settings of a section.
func keys(t reflect.Type) []string {
	var ks []string
	for _, f := range fields(t) {
		ks = append(ks, f.key)
	}
	return ks
}

// sockets writes the sockets that are open by default.
func (w *writer) sockets(f field) {
	w.line("")
	w.comment(f.Tag.Get("doc"))
	for _, lf := range fields(f.Type.Elem()) {
		w.comment(lf.key + ": " + lf.Tag.Get("doc"))
	}
	for _, l := range defaultSockets() {
		w.line("#[[listen]]")
		w.line("#address = " + strconv.Quote(l.Address))
		w.line("#purpose = " + strconv.Quote(string(l.Purpose)))
	}
}

// remark tells the bounds of a setting.
func remark(tag reflect.StructTag) string {
	var parts []string
	if s, ok := tag.Lookup("enum"); ok && !strings.Contains(tag.Get("doc"), strings.Split(s, ",")[0]) {
		parts = append(parts, "one of "+strings.ReplaceAll(s, ",", ", "))
	}
	least, hasLeast := tag.Lookup("min")
	most, hasMost := tag.Lookup("max")
	switch {
	case hasLeast && hasMost:
		parts = append(parts, least+" to "+most)
	case hasLeast:
		parts = append(parts, "at least "+least)
	case hasMost:
		parts = append(parts, "at most "+most)
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, "; ") + ")"
}

// literal writes a value as TOML.
func literal(v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return literal(reflect.Zero(v.Type().Elem()))
		}
		v = v.Elem()
	}
	if s, ok := v.Interface().(observe.Secret); ok {
		if s == "" {
			return `""`
		}
		return strconv.Quote(s.String())
	}
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		if text, err := m.MarshalText(); err == nil {
			return strconv.Quote(string(text))
		}
	}
	switch v.Kind() {
	case reflect.String:
		return strconv.Quote(v.String())
	case reflect.Slice:
		list := make([]string, v.Len())
		for i := range list {
			list[i] = literal(v.Index(i))
		}
		return "[" + strings.Join(list, ", ") + "]"
	}
	return fmt.Sprint(v.Interface())
}

// typeName names the type of a setting for people.
func typeName(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == durationType {
		return "duration"
	}
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "number"
	case reflect.Slice:
		if !plain(t) {
			return "blocks"
		}
		return "list of " + typeName(t.Elem())
	case reflect.Struct:
		if reflect.PointerTo(t).Implements(textUnmarshaler) {
			return "text"
		}
		return "section"
	case reflect.Map:
		return "section"
	}
	return "whole number"
}

// Setting is an entry of the reference.
type Setting struct {
	Key     string `json:"key"` // "limits.resources", "host[].domain"
	Type    string `json:"type"`
	Default string `json:"default,omitempty"` // as TOML; "" where there is none
	Bounds  string `json:"bounds,omitempty"`
	Doc     string `json:"doc"`
	// Restart says that a change takes effect at the next start only.
	Restart bool `json:"restart"`
}

// Describe returns the reference: all settings in the order of the example file.
func Describe(sections []Section) []Setting {
	list := describe(nil, "", reflect.ValueOf(Default()).Elem(), false)
	for _, s := range sections {
		if s.New != nil {
			list = describe(list, "mod."+s.Name, reflect.ValueOf(s.New()).Elem(), false)
		}
	}
	return list
}

func describe(list []Setting, key string, v reflect.Value, restart bool) []Setting {
	for _, f := range fields(v.Type()) {
		at, late := join(key, f.key), restart || f.Tag.Get("reload") == "restart"
		fv := v.FieldByIndex(f.Index)
		switch {
		case f.Type.Kind() == reflect.Struct && !plain(f.Type):
			list = describe(list, at, fv, late)
		case f.Type.Kind() == reflect.Slice && !plain(f.Type) && f.Type.Elem().Kind() == reflect.Struct:
			list = describe(list, at+"[]", reflect.New(f.Type.Elem()).Elem(), late)
		default:
			s := Setting{Key: at, Type: typeName(f.Type), Doc: f.Tag.Get("doc"), Restart: late}
			s.Bounds = strings.Trim(remark(f.Tag), " ()")
			if plain(f.Type) && f.Type.Kind() != reflect.Pointer && !strings.Contains(at, "[]") {
				s.Default = literal(fv)
			}
			list = append(list, s)
		}
	}
	return list
}
