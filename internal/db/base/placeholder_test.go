package base

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestRewrite(t *testing.T) {
	for _, c := range []struct {
		in, want string
		n        int
	}{
		{"SELECT 1", "SELECT 1", 0},
		{"", "", 0},
		{"a = ? AND b = ?", "a = $1 AND b = $2", 2},
		{"VALUES (?,?,?)", "VALUES ($1,$2,$3)", 3},
		{"'?' = ?", "'?' = $1", 1},
		{"'it''s ?' = ?", "'it''s ?' = $1", 1},
		{"'\\' = ?", "'\\' = $1", 1},
		{"E'\\'?' = ?", "E'\\'?' = $1", 1},
		{"e'''?' = ?", "e'''?' = $1", 1},
		{"E'a''\\'?' = ?", "E'a''\\'?' = $1", 1},
		{"nameE'?' = ?", "nameE'?' = $1", 1},
		{`"?" = ?`, `"?" = $1`, 1},
		{`"a""?" = ?`, `"a""?" = $1`, 1},
		{"-- ?\n?", "-- ?\n$1", 1},
		{"? -- ?", "$1 -- ?", 1},
		{"/* ? /* ? */ ? */ ?", "/* ? /* ? */ ? */ $1", 1},
		{"$$ ? $$ ?", "$$ ? $$ $1", 1},
		{"$a_1$ ? $$ ? $a_1$ ?", "$a_1$ ? $$ ? $a_1$ $1", 1},
		{"a$b ? c$b", "a$b $1 c$b", 1},
		{"$1 ?", "$1 $1", 1}, // a number is no tag; the query mixes styles, which the server refuses
		{"5 - ? / ?", "5 - $1 / $2", 2},
		{"'open ?", "'open ?", 0},
		{"\"open ?", "\"open ?", 0},
		{"/* open ?", "/* open ?", 0},
		{"$$ open ?", "$$ open ?", 0},
		{"E'open \\", "E'open \\", 0},
	} {
		if got := Rewrite(c.in); got.Text != c.want || got.N != c.n {
			t.Errorf("Rewrite(%q) = %q, %d; want %q, %d", c.in, got.Text, got.N, c.want, c.n)
		}
	}
}

func TestReads(t *testing.T) {
	for q, want := range map[string]bool{
		"SELECT n FROM x": true, "\n\tselect n\nFROM x FOR UPDATE": true, "SELECT 1": true,
		"SELECT n INTO y FROM x": false, "WITH y AS (DELETE FROM x) SELECT 1": false, "INSERT INTO x VALUES (?) RETURNING n": false,
		"UPDATE x SET n = ?": false, "": false, "select": false,
	} {
		if got := Rewrite(q).Reads; got != want {
			t.Errorf("%q only reads: %v, want %v", q, got, want)
		}
	}
}

// Whatever the pieces are, the placeholders between them are found and the pieces stay.
func TestRewritePieces(t *testing.T) {
	pieces := []string{"a", " = ", "'?'", "''", "'?''?'", `"?"`, "-- ?\n", "/* ? */", "$$?$$", "$t$?$$?$t$", "E'\\'?'", "(", ",", "\n"}
	rapid.Check(t, func(t *rapid.T) {
		var in, want strings.Builder
		n := 0
		for range rapid.IntRange(0, 20).Draw(t, "length") {
			p := rapid.SampledFrom(pieces).Draw(t, "piece") + " "
			in.WriteString(p)
			want.WriteString(p)
			if rapid.Bool().Draw(t, "placeholder") {
				n++
				in.WriteString("? ")
				fmt.Fprintf(&want, "$%d ", n)
			}
		}
		if got := Rewrite(in.String()); got.Text != want.String() || got.N != n {
			t.Fatalf("Rewrite(%q) = %q, %d; want %q, %d", in.String(), got.Text, got.N, want.String(), n)
		}
	})
}

func TestRewriteCache(t *testing.T) {
	var c RewriteCache
	for i := range 3 * rewriteCacheMax {
		q := fmt.Sprintf("SELECT %d, ?", i)
		for range 2 {
			if got := c.Get(q); got.N != 1 || got.Text != fmt.Sprintf("SELECT %d, $1", i) {
				t.Fatalf("Get(%q) = %+v", q, got)
			}
		}
	}
	if len(c.m) > rewriteCacheMax {
		t.Errorf("%d queries are remembered, more than %d", len(c.m), rewriteCacheMax)
	}
}
