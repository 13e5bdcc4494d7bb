package archive

import (
	"fmt"
	"strings"
	"testing"

	"sabir/internal/db/dbtest"
	"sabir/mod"
)

// plan returns the last column of what the engine says of a statement.
func (f *fixture) plan(dest []any, query string, args ...any) string {
	f.t.Helper()
	rows, err := f.d.Query(ctx, query, args...)
	if err != nil {
		f.t.Fatal(err)
	}
	plan, detail := "", ""
	for rows.Next() {
		if err := rows.Scan(append(dest, &detail)...); err != nil {
			f.t.Fatal(err)
		}
		plan += detail + "\n"
	}
	if err := rows.Close(); err != nil {
		f.t.Fatal(err)
	}
	return plan
}

// TestPlan: a page with one contact is read from the index of conversations, in its order, and each message by its key.
func TestPlan(t *testing.T) {
	f := setup(t, dbtest.SQLite(t))
	var id, parent, unused int64
	plan := f.plan([]any{&id, &parent, &unused}, `EXPLAIN QUERY PLAN `+talkDesc, 1, 0, 9, 1, 1, 9, 1, 9, 0, 9, 5, "", "", 50)
	for _, want := range []string{"SEARCH k USING PRIMARY KEY (segment=? AND peer=? AND seq>? AND seq<?)", "SEARCH e USING PRIMARY KEY (segment=? AND owner=? AND seq=?)"} {
		if !strings.Contains(plan, want) || strings.Contains(plan, "TEMP B-TREE") {
			t.Errorf("no %s, or something is sorted:\n%s", want, plan)
		}
	}
	plan = f.plan([]any{&id, &parent, &unused}, `EXPLAIN QUERY PLAN `+freshDesc, 1, 0, 9, 1, 1, 9, 1, 9, 0, 9, 5, "", "", 50)
	if want := "SEARCH e USING PRIMARY KEY (segment=? AND owner=? AND seq>? AND seq<?)"; !strings.Contains(plan, want) || strings.Contains(plan, "TEMP B-TREE") {
		t.Errorf("no %s, or something is sorted:\n%s", want, plan)
	}
}

// TestSearchPlan: a search on PostgreSQL reads the index of words and looks up what that has found by its key, whether the
// engine has statistics or not.
func TestSearchPlan(t *testing.T) {
	f := setup(t, dbtest.Postgres(t))
	a, peer := f.archive("juliet@example.org"), address(t, "romeo@example.org/garden")
	for range 8 {
		err := f.d.Write(ctx, func(tx mod.Tx) error {
			for i := range 500 {
				m := Message{Wire: strings.Repeat("x", 400), Text: fmt.Sprint("light through yonder window number", i)}
				if _, err := f.l.Append(ctx, tx, m, Row{Archive: a, Peer: peer}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	check := func(t *testing.T) {
		b, _, err := f.l.bounds(ctx, a, Query{Text: "number5", Last: true, Limit: 50})
		if err != nil {
			t.Fatal(err)
		}
		args := append([]any{b.match, 0, 9000, b.lo, b.hi, a.num}, b.filters()...)
		plan := f.plan(nil, `EXPLAIN `+textPostgresDesc, append(args, 51)...)
		full := fmt.Sprint("_", f.l.now()>>segmentBits%16)
		for _, want := range []string{"Bitmap Index Scan on archive_body" + full + "_words_idx", "Index Scan using archive_entry" + full + "_pkey"} {
			if !strings.Contains(plan, want) {
				t.Errorf("no %s in:\n%s", want, plan)
			}
		}
		for _, bad := range []string{"Hash", "Merge Join", "Seq Scan on archive_body" + full + " ", "Seq Scan on archive_entry" + full + " "} {
			if strings.Contains(plan, bad) {
				t.Errorf("%s in:\n%s", bad, plan)
			}
		}
	}
	t.Run("without statistics", check)
	if err := f.d.Write(ctx, func(tx mod.Tx) error { _, err := tx.Exec(ctx, `ANALYZE`); return err }); err != nil {
		t.Fatal(err)
	}
	t.Run("with statistics", check)
	f.want(a, Query{Text: "number7", Last: true, Limit: 1}, strings.Repeat("x", 400))
}
