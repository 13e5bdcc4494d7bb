package archive

import (
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

// document is what the index holds of a message: the words of its text, those that stand for the archives, and those
// for the peers, which on a message between local accounts stand for the other archives too.
func document(text string, rows []Row) string {
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "")
	}
	var b strings.Builder
	seen := make(map[string]bool, 16)
	add := func(w string) {
		if !seen[w] {
			seen[w] = true
			if b.Len() > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(w)
		}
	}
	for _, r := range rows {
		add(r.Archive.who)
		add(peerWord(r.Peer))
	}
	for _, w := range words(text) {
		add(w)
	}
	return b.String()
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
