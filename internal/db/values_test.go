package db_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"math"
	"testing"
	"testing/fstest"
	"time"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
)

var values = fstest.MapFS{
	"0001_value.sql": {Data: []byte("CREATE TABLE value (i BIGINT, s TEXT, b BYTEA, f DOUBLE PRECISION, t BOOLEAN);\n")},
}

type (
	name  string
	level int
)

// What goes in comes out, the same on both engines.
func TestValues(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		ctx := t.Context()
		dbtest.Migrate(t, d, "value", values)
		now := time.Date(2026, 11, 23, 4, 5, 6, 789000, time.FixedZone("", 3600))
		roundTrip := func(column string, in, out any) {
			t.Helper()
			query := map[string][2]string{
				"i": {"INSERT INTO value (i) VALUES (?)", "SELECT i FROM value"},
				"s": {"INSERT INTO value (s) VALUES (?)", "SELECT s FROM value"},
				"b": {"INSERT INTO value (b) VALUES (?)", "SELECT b FROM value"},
				"f": {"INSERT INTO value (f) VALUES (?)", "SELECT f FROM value"},
				"t": {"INSERT INTO value (t) VALUES (?)", "SELECT t FROM value"},
			}[column]
			err := d.Write(ctx, func(tx mod.Tx) error {
				if _, err := tx.Exec(ctx, "DELETE FROM value"); err != nil {
					return err
				}
				_, err := tx.Exec(ctx, query[0], in)
				return err
			})
			if err == nil {
				err = d.QueryRow(ctx, query[1]).Scan(out)
			}
			if err != nil {
				t.Errorf("%s: %T %v into %T: %v", column, in, in, out, err)
			}
		}
		check := func(ok bool, what string, got any) {
			t.Helper()
			if !ok {
				t.Errorf("%s: got %v", what, got)
			}
		}

		var i64 int64
		roundTrip("i", int64(math.MinInt64), &i64)
		check(i64 == math.MinInt64, "int64", i64)
		var i int
		roundTrip("i", 42, &i)
		check(i == 42, "int", i)
		var u8 uint8
		roundTrip("i", uint16(200), &u8)
		check(u8 == 200, "uint8", u8)
		var l level
		roundTrip("i", level(3), &l)
		check(l == 3, "a named integer", l)
		var at time.Time
		roundTrip("i", now, &at)
		check(at.Equal(now) && at.Location() == time.UTC, "time", at)
		var pt *time.Time
		roundTrip("i", now, &pt)
		check(pt != nil && pt.Equal(now), "pointer to time", pt)
		roundTrip("i", (*time.Time)(nil), &pt)
		check(pt == nil, "no time", pt)
		zero := now
		roundTrip("i", time.Time{}, &zero)
		check(zero.IsZero(), "the zero time", zero)
		var pi *int64
		roundTrip("i", 5, &pi)
		check(pi != nil && *pi == 5, "pointer", pi)
		roundTrip("i", nil, &pi)
		check(pi == nil, "NULL", pi)
		var ni sql.NullInt64
		roundTrip("i", 6, &ni)
		check(ni.Valid && ni.Int64 == 6, "sql.NullInt64", ni)

		var s string
		roundTrip("s", "ünï 'quoted' ? $1", &s)
		check(s == "ünï 'quoted' ? $1", "string", s)
		roundTrip("s", "", &s)
		check(s == "", "empty string", s)
		var n name
		roundTrip("s", name("juliet"), &n)
		check(n == "juliet", "a named string", n)
		var ps *string
		roundTrip("s", "x", &ps)
		check(ps != nil && *ps == "x", "pointer to string", ps)
		var raw []byte
		roundTrip("s", "text", &raw)
		check(string(raw) == "text", "text as bytes", raw)

		var b []byte
		blob := []byte{0, 1, 0xff, '\'', '?'}
		roundTrip("b", blob, &b)
		check(bytes.Equal(b, blob), "bytes", b)
		roundTrip("b", []byte{}, &b)
		check(b != nil && len(b) == 0, "no bytes are not NULL", fmt.Sprintf("%#v", b))
		roundTrip("b", []byte(nil), &b)
		check(b == nil, "nil bytes are NULL", fmt.Sprintf("%#v", b))

		var f float64
		roundTrip("f", 0.1, &f)
		check(f == 0.1, "float", f)
		roundTrip("f", 3.0, &f)
		check(f == 3, "whole float", f)

		var yes bool
		roundTrip("t", true, &yes)
		check(yes, "bool", yes)
		roundTrip("t", false, &yes)
		check(!yes, "bool", yes)

		refused := func(what string, query string, dest any) {
			t.Helper()
			if err := d.QueryRow(ctx, query).Scan(dest); err == nil {
				t.Errorf("%s was scanned into %T", what, dest)
			}
		}
		refused("NULL", "SELECT i FROM value", &i64)
		refused("NULL", "SELECT s FROM value", &s)
		refused("a large number", "SELECT CAST(300 AS BIGINT)", &u8)
		refused("a negative number", "SELECT CAST(-1 AS BIGINT)", &u8)
		refused("a text", "SELECT CAST('many' AS TEXT)", &i64)
		if err := d.QueryRow(ctx, "SELECT i, s FROM value").Scan(&pi); err == nil {
			t.Error("two columns were scanned into one variable")
		}
	})
}

// Placeholders are found where they are, and only there.
func TestPlaceholders(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		var a, b string
		var n int64
		err := d.QueryRow(t.Context(), `SELECT '?', /* ? */ CAST(? AS TEXT) AS "really?", -- ?
			CAST(? AS BIGINT)`, "it's", 7).Scan(&a, &b, &n)
		if err != nil || a != "?" || b != "it's" || n != 7 {
			t.Errorf("%q %q %d %v", a, b, n, err)
		}
	})
}
