package archive

import (
	"context"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"sabir/mod"
)

const (
	maxText  = 64 << 10 // bytes of a text that are indexed
	maxWord  = 40       // runes of a word that count
	maxTerms = 16       // words of a search that count
)

// Statements that search.
const (
	// SQLite: the index of words is the outer loop, in its own order.
	textSQLite = `SELECT e.seq, e.stamp, e.kind, FALSE, b.wire
	FROM archive_text t CROSS JOIN archive_entry e CROSS JOIN archive_body b
	WHERE b.seq = t.rowid AND e.segment = (t.rowid >> 49) AND e.owner = ? AND e.seq = t.rowid AND t.rowid > ? AND t.rowid < ?
	AND e.stamp >= ? AND e.stamp <= ? AND (e.kind & ?) = 0 AND e.tombstone IS NULL AND (? = 0 OR e.peer = ?)
	AND (? = '' OR e.resource = ?) AND archive_text MATCH ?
	AND EXISTS (SELECT 1 FROM archive_span s WHERE s.owner = e.owner AND s.segment = e.segment)`
	textSQLiteAsc  = textSQLite + ` ORDER BY t.rowid LIMIT ?`
	textSQLiteDesc = textSQLite + ` ORDER BY t.rowid DESC LIMIT ?`

	// PostgreSQL knows nothing of how few messages have all the words, so it is left no choice. First it looks through
	// the nearest messages of the archive themselves: common words are found there. Then it takes all that the index has
	// (which holds the word for the archive, so that it is nothing of others), and looks them up by their keys until
	// there are enough: + 0 keeps the engine from reading another index instead, and OFFSET 0 from joining in another way.
	nearPostgres = `SELECT x.seq, x.stamp, x.kind, FALSE, b.wire FROM (
	SELECT e.seq, e.stamp, e.kind, e.tombstone FROM archive_entry e JOIN archive_span s ON s.owner = e.owner AND s.segment = e.segment
	WHERE e.segment = ? AND e.owner = ? AND e.seq > ? AND e.seq < ?`
	lookPostgres = `) x CROSS JOIN LATERAL (SELECT b.wire FROM archive_body b
	WHERE b.segment = ? AND b.seq = x.seq AND b.words @@ CAST(CAST(? AS text) AS tsquery) OFFSET 0) b WHERE x.tombstone IS NULL`
	nearPostgresAsc  = nearPostgres + filters + ` ORDER BY e.seq LIMIT ?` + lookPostgres + ` ORDER BY x.seq LIMIT ?`
	nearPostgresDesc = nearPostgres + filters + ` ORDER BY e.seq DESC LIMIT ?` + lookPostgres + ` ORDER BY x.seq DESC LIMIT ?`

	textPostgres = `WITH hits AS MATERIALIZED (SELECT b.segment, b.seq FROM archive_body b
	WHERE b.words @@ CAST(CAST(? AS text) AS tsquery) AND b.segment + 0 >= ? AND b.segment + 0 <= ? AND b.seq + 0 > ? AND b.seq + 0 < ?)
	SELECT y.seq, y.stamp, y.kind, FALSE, (SELECT b.wire FROM archive_body b WHERE b.segment = y.segment AND b.seq = y.seq)
	FROM (SELECT h.segment, h.seq, x.stamp, x.kind FROM (SELECT segment, seq FROM hits`
	pickPostgres = `) h CROSS JOIN LATERAL (
	SELECT e.stamp, e.kind FROM archive_entry e
	WHERE e.segment = h.segment AND e.owner = ? AND e.seq = h.seq AND e.tombstone IS NULL` + filters + `
	AND EXISTS (SELECT 1 FROM archive_span s WHERE s.owner = e.owner AND s.segment = e.segment) OFFSET 0) x`
	textPostgresAsc  = textPostgres + ` ORDER BY seq` + pickPostgres + ` ORDER BY h.seq LIMIT ?) y ORDER BY y.seq`
	textPostgresDesc = textPostgres + ` ORDER BY seq DESC` + pickPostgres + ` ORDER BY h.seq DESC LIMIT ?) y ORDER BY y.seq DESC`
	filters          = ` AND e.stamp >= ? AND e.stamp <= ? AND (e.kind & ?) = 0
	AND (CAST(? AS bigint) = 0 OR e.peer = ?) AND (? = '' OR e.resource = ?)`
)

// nearBy is how many messages a search on PostgreSQL looks through before it asks the index of words.
const nearBy = 100

// search answers a search on PostgreSQL between two segments, both included, of which near is the first in the direction of
// the query that has something.
func (l *Log) search(ctx context.Context, a Archive, b bounds, near, first, last int64, n int) ([]Item, error) {
	args := append([]any{near, a.num, b.lo, b.hi}, b.filters()...)
	items, err := l.read(ctx, a, pick(b.backward, nearPostgresAsc, nearPostgresDesc), append(args, nearBy, near, b.match, n))
	if err != nil || len(items) == n {
		return items, err
	}
	args = append([]any{b.match, first, last, b.lo, b.hi, a.num}, b.filters()...)
	return l.read(ctx, a, pick(b.backward, textPostgresAsc, textPostgresDesc), append(args, n))
}

// filters are the arguments of the constant of that name.
func (b *bounds) filters() []any {
	return []any{b.start, b.end, b.mask, b.peer, b.peer, b.resource, b.resource}
}

// document is what the index holds of a message: the words of its text, and in who those that stand for the archives, and
// for the peers, which on a message between local accounts stand for the other archives too.
func document(text string, who []string) string {
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "")
	}
	list := append(slices.Clone(who), words(text)...)
	slices.Sort(list)
	return strings.Join(slices.Compact(list), " ")
}

// words splits a text: runs of letters and digits in lower case without diacritics. Scripts that are written without
// spaces give pairs of neighbouring characters. Both engines get words that are split already, and so find the same.
func words(text string) []string {
	if !wide(text) {
		return plain(text)
	}
	var out []string
	var run []rune
	together := false
	flush := func() {
		switch {
		case len(run) == 0:
		case !together || len(run) == 1:
			out = append(out, string(run[:min(len(run), maxWord)]))
		default:
			for i := range len(run) - 1 {
				out = append(out, string(run[i:i+2]))
			}
		}
		run = run[:0]
	}
	for _, r := range norm.NFKD.String(text) {
		switch {
		case unicode.Is(unicode.Mn, r):
			if !together {
				continue
			}
			flush()
		case unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.Is(unicode.Mc, r):
			if d := dense(r); d != together {
				flush()
				together = d
			}
			run = append(run, unicode.ToLower(r))
		default:
			flush()
		}
	}
	flush()
	return out
}

// wide tells whether a text has characters beyond ASCII.
func wide(text string) bool {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return true
		}
	}
	return false
}

// plain is words for a text of ASCII.
func plain(text string) []string {
	var out []string
	start := -1
	for i := 0; i <= len(text); i++ {
		if i < len(text) && alphanumeric(text[i]) {
			if start < 0 {
				start = i
			}
			continue
		}
		if start >= 0 {
			out = append(out, strings.ToLower(text[start:min(i, start+maxWord)]))
			start = -1
		}
	}
	return out
}

func alphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// dense tells whether a letter is of a script that is written without spaces.
func dense(r rune) bool {
	return unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar)
}

// match is the condition in the engine's language of searches: the archive, the peer if one is given, and all words. A
// star at the end makes the last one the beginning of a word, which costs more, for the engines then read all that begins
// so of all archives; a single character of a script without spaces can only be sought so. ok is false where the text has
// no word, so that nothing matches.
func match(d mod.Dialect, who, peer, text string) (expr string, ok bool) {
	list := words(text)
	if len(list) == 0 {
		return "", false
	}
	list = list[:min(len(list), maxTerms)]
	star := strings.HasSuffix(strings.TrimSpace(text), "*")
	if end := []rune(list[len(list)-1]); len(end) == 1 && dense(end[0]) {
		star = true
	}
	if peer != "" {
		list = append([]string{peer}, list...)
	}
	list = append([]string{who}, list...)
	var b strings.Builder
	for i, w := range list {
		last := star && i == len(list)-1
		switch {
		case d == mod.Postgres && i > 0:
			b.WriteString(" & ")
		case i > 0:
			b.WriteString(" AND ")
		}
		quote := `"`
		if d == mod.Postgres {
			quote = "'"
		}
		b.WriteString(quote + w + quote) // a word has letters and digits only
		switch {
		case last && d == mod.Postgres:
			b.WriteString(":*")
		case last:
			b.WriteString(" *")
		}
	}
	return b.String(), true
}
