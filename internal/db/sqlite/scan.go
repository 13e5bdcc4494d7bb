package sqlite

import (
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"time"
)

var errNull = errors.New("NULL needs a pointer to a pointer, a sql.Null or *[]byte")

// scan copies a value of the driver (int64, float64, string, []byte, nil) into dest: pointers to strings, byte slices,
// integers, bool (from 0 and 1), floats, time.Time (from microseconds since 1970), types made of these, a pointer to
// such a pointer for what may be NULL, any, and everything that implements sql.Scanner. Numbers that do not fit are errors.
func scan(dest any, v sqldriver.Value) error {
	switch d := dest.(type) {
	case *string:
		switch v := v.(type) {
		case string:
			*d = v
			return nil
		case []byte:
			*d = string(v)
			return nil
		}
	case *[]byte:
		switch v := v.(type) {
		case nil:
			*d = nil
			return nil
		case []byte:
			*d = notNil(v)
			return nil
		case string:
			*d = []byte(v)
			return nil
		}
	case *int64:
		if v, ok := v.(int64); ok {
			*d = v
			return nil
		}
	case *bool:
		if v, ok := v.(int64); ok && (v == 0 || v == 1) {
			*d = v == 1
			return nil
		}
	case *time.Time:
		if v, ok := v.(int64); ok {
			*d = time.UnixMicro(v).UTC()
			return nil
		}
	case *any:
		if b, ok := v.([]byte); ok {
			v = notNil(b)
		}
		*d = v
		return nil
	case sql.Scanner:
		if b, ok := v.([]byte); ok {
			v = notNil(b)
		}
		return d.Scan(v)
	}
	return scanReflect(dest, v)
}

// notNil tells an empty BLOB from NULL: the driver returns both as a nil slice, but only the BLOB with a type.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func scanReflect(dest any, v sqldriver.Value) error {
	p := reflect.ValueOf(dest)
	if p.Kind() != reflect.Pointer || p.IsNil() {
		return fmt.Errorf("cannot scan into %T: not a pointer", dest)
	}
	e := p.Elem()
	if e.Kind() == reflect.Pointer {
		if v == nil {
			e.SetZero()
			return nil
		}
		n := reflect.New(e.Type().Elem())
		if err := scan(n.Interface(), v); err != nil {
			return err
		}
		e.Set(n)
		return nil
	}
	if v == nil {
		if e.Kind() == reflect.Slice && e.Type().Elem().Kind() == reflect.Uint8 {
			e.SetZero()
			return nil
		}
		return fmt.Errorf("cannot scan into %T: %w", dest, errNull)
	}
	if set(e, v) {
		return nil
	}
	return fmt.Errorf("cannot scan %T %s into %T", v, brief(v), dest)
}

// set stores v in e if it fits.
func set(e reflect.Value, v sqldriver.Value) bool {
	switch e.Kind() {
	case reflect.String:
		switch v := v.(type) {
		case string:
			e.SetString(v)
			return true
		case []byte:
			e.SetString(string(v))
			return true
		}
	case reflect.Slice:
		if e.Type().Elem().Kind() != reflect.Uint8 {
			return false
		}
		switch v := v.(type) {
		case []byte:
			e.SetBytes(notNil(v))
			return true
		case string:
			e.SetBytes([]byte(v))
			return true
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if i, ok := integer(v); ok && !e.OverflowInt(i) {
			e.SetInt(i)
			return true
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if i, ok := integer(v); ok && i >= 0 && !e.OverflowUint(uint64(i)) {
			e.SetUint(uint64(i))
			return true
		}
	case reflect.Bool:
		if i, ok := v.(int64); ok && (i == 0 || i == 1) {
			e.SetBool(i == 1)
			return true
		}
	case reflect.Float32, reflect.Float64:
		switch v := v.(type) {
		case float64:
			e.SetFloat(v)
			return true
		case int64:
			e.SetFloat(float64(v))
			return true
		}
	}
	return false
}

// integer returns v where it is a whole number, as a sum or an average may be.
func integer(v sqldriver.Value) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int64(v), true
		}
	}
	return 0, false
}

// brief describes a number for an error; texts and bytes may be anything of a user's and are not shown.
func brief(v sqldriver.Value) string {
	switch v := v.(type) {
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	return "value"
}
