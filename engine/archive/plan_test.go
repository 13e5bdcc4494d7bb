package archive

import (
	"strings"
	"testing"

	"sabir/internal/db/dbtest"
)

// TestPlan: a page with one contact is read from the index of conversations, in its order.
func TestPlan(t *testing.T) {
	f := setup(t, dbtest.SQLite(t))
	rows, err := f.d.Query(ctx, `EXPLAIN QUERY PLAN `+pagePeerDesc, 1, 0, 9, 1, 1, 9, 1, 9, 0, 9, 5, "", "", 50)
	if err != nil {
		t.Fatal(err)
	}
	plan := ""
	for rows.Next() {
		var id, parent, unused int64
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		plan += detail + "\n"
	}
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(plan, "archive_entry_peer (segment=? AND peer=? AND seq>? AND seq<?)") || strings.Contains(plan, "TEMP B-TREE") {
		t.Errorf("the plan is:\n%s", plan)
	}
}
