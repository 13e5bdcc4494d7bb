package config

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sabir/mod"
)

var (
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
	durationType    = reflect.TypeFor[mod.Duration]()
)

// field is one key that a struct may have.
type field struct {
	reflect.StructField
	key string
}

// fields returns the keys of a struct in their order; structs embedded without a tag count as written out.
func fields(t reflect.Type) []field {
	var fs []field
	for i := range t.NumField() {
		f := t.Field(i)
		key, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
		switch {
		case f.Anonymous && key == "":
			for _, e := range fields(f.Type) {
				e.Index = append(slices.Clone(f.Index), e.Index...)
				fs = append(fs, e)
			}
		case f.IsExported() && key != "" && key != "-":
			fs = append(fs, field{f, key})
		}
	}
	return fs
}

// check compares a value as TOML has it with the type of its setting and with the bounds that the tags give.
func (r *reader) check(key string, v any, t reflect.Type, tag reflect.StructTag) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(textUnmarshaler) {
		r.checkText(key, v, t, tag)
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		if m, ok := r.table(key, v); ok {
			r.checkStruct(key, m, t)
		}
	case reflect.Slice:
		list, ok := v.([]any)
		if !ok {
			if t.Elem().Kind() == reflect.Struct {
				r.problem(key, "write [["+key+"]]", "%s where blocks are wanted", kindOf(v))
			} else {
				r.problem(key, `write it as a list: ["…", "…"]`, "%s where a list is wanted", kindOf(v))
			}
			return
		}
		for i, e := range list {
			r.check(key+"["+strconv.Itoa(i)+"]", e, t.Elem(), tag)
		}
	case reflect.Map:
		if m, ok := r.table(key, v); ok {
			for _, k := range sortedKeys(m) {
				r.check(join(key, k), m[k], t.Elem(), tag)
			}
		}
	default:
		r.checkScalar(key, v, t, tag)
	}
}

func (r *reader) checkScalar(key string, v any, t reflect.Type, tag reflect.StructTag) {
	switch t.Kind() {
	case reflect.String:
		if s, ok := v.(string); !ok {
			r.problem(key, "put it in quotes", "%s where text is wanted", kindOf(v))
		} else {
			r.checkEnum(key, s, tag)
		}
	case reflect.Bool:
		if _, ok := v.(bool); !ok {
			r.problem(key, "write true or false, without quotes", "%s where true or false is wanted", kindOf(v))
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, ok := v.(int64)
		if !ok {
			r.problem(key, "write digits without quotes, such as 65_536", "%s where a whole number is wanted", kindOf(v))
			return
		}
		signed := t.Kind() <= reflect.Int64
		if signed && reflect.Zero(t).OverflowInt(n) || !signed && (n < 0 || reflect.Zero(t).OverflowUint(uint64(n))) {
			r.problem(key, "", "%d is out of range", n)
			return
		}
		r.checkBounds(key, float64(n), func(s string) (float64, error) { return strconv.ParseFloat(s, 64) }, tag)
	case reflect.Float32, reflect.Float64:
		n, ok := v.(float64)
		if i, whole := v.(int64); whole {
			n, ok = float64(i), true
		}
		if !ok {
			r.problem(key, "write a number without quotes", "%s where a number is wanted", kindOf(v))
			return
		}
		r.checkBounds(key, n, func(s string) (float64, error) { return strconv.ParseFloat(s, 64) }, tag)
	default:
		r.problem(key, "", "a setting of type %s cannot be read", t)
	}
}

// checkText tries a value that reads itself.
func (r *reader) checkText(key string, v any, t reflect.Type, tag reflect.StructTag) {
	s, ok := v.(string)
	if !ok {
		cure := "put it in quotes"
		if t == durationType {
			cure = `write a number with a unit in quotes, such as "90s" or "24h"`
		}
		r.problem(key, cure, "%s where text is wanted", kindOf(v))
		return
	}
	p := reflect.New(t)
	if err := p.Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s)); err != nil {
		if t == durationType {
			r.problem(key, `write a number with a unit, such as "90s", "5m" or "24h"`, "%q is no duration", s)
		} else {
			r.problem(key, "", "%v", err)
		}
		return
	}
	if t == durationType {
		d := time.Duration(p.Elem().Int())
		if d < 0 {
			r.problem(key, "", "%s is less than nothing", d)
			return
		}
		r.checkBounds(key, d.Seconds(), func(s string) (float64, error) {
			d, err := time.ParseDuration(s)
			return d.Seconds(), err
		}, tag)
	}
}

// checkBounds compares with the tags min and max. Where the tag zero is given, 0 is allowed besides.
func (r *reader) checkBounds(key string, n float64, parse func(string) (float64, error), tag reflect.StructTag) {
	if _, ok := tag.Lookup("zero"); ok && n == 0 {
		return
	}
	if s, ok := tag.Lookup("min"); ok {
		if least, err := parse(s); err != nil || math.IsNaN(n) || n < least {
			r.problem(key, "", "the least is %s", s)
			return
		}
	} else if n < 0 {
		if _, ok := tag.Lookup("negative"); !ok {
			r.problem(key, "", "it cannot be negative")
		}
	}
	if s, ok := tag.Lookup("max"); ok {
		if most, err := parse(s); err != nil || n > most {
			r.problem(key, "", "the most is %s", s)
		}
	}
}

// checkEnum compares with the tag enum, a list with commas.
func (r *reader) checkEnum(key, s string, tag reflect.StructTag) {
	list, ok := tag.Lookup("enum")
	if !ok {
		return
	}
	if known := strings.Split(list, ","); !slices.Contains(known, s) {
		cure := "one of: " + strings.Join(known, ", ")
		if best := nearest(s, known); best != "" {
			cure = "did you mean " + best + "?"
		}
		r.problem(key, cure, "unknown value %q", s)
	}
}

// checkStruct checks each key of a table.
func (r *reader) checkStruct(key string, m map[string]any, t reflect.Type) {
	fs := fields(t)
	names := make([]string, len(fs))
	for i, f := range fs {
		names[i] = f.key
	}
	for _, k := range sortedKeys(m) {
		i := slices.Index(names, k)
		if i < 0 {
			what := "setting"
			if _, table := m[k].(map[string]any); table {
				what = "section"
			}
			r.unknown(join(key, k), k, names, what)
			continue
		}
		r.check(join(key, k), m[k], fs[i].Type, fs[i].Tag)
	}
}

// element is the number of a block within a key, which headers do not have.
var element = regexp.MustCompile(`\[\d+\]`)

func (r *reader) table(key string, v any) (map[string]any, bool) {
	m, ok := v.(map[string]any)
	if !ok {
		r.problem(key, "write ["+element.ReplaceAllString(key, "")+"]", "%s where a section is wanted", kindOf(v))
	}
	return m, ok
}

// kindOf names a value as TOML has it.
func kindOf(v any) string {
	switch v.(type) {
	case string:
		return "text"
	case int64:
		return "a whole number"
	case float64:
		return "a number with a fraction"
	case bool:
		return "true or false"
	case []any:
		return "a list"
	case map[string]any:
		return "a section"
	}
	return fmt.Sprintf("a %T", v) // dates and times
}

func sortedKeys(m map[string]any) []string {
	ks := make([]string, 0, len(m))
	for k := range m {
		ks = append(ks, k)
	}
	slices.Sort(ks)
	return ks
}
