package base

import (
	"strconv"
	"strings"
	"sync"
)

// Rewritten is a query in PostgreSQL's form.
type Rewritten struct {
	Text  string // with $1, $2 ... in place of each ?
	N     int    // how many placeholders there are
	Reads bool   // it is sure to leave nothing to undo: a SELECT, but not SELECT INTO
}

func reads(query string) bool {
	q := strings.TrimLeft(query, " \t\r\n")
	return len(q) > 6 && strings.EqualFold(q[:6], "select") && !strings.Contains(strings.ToLower(q), "into")
}

// Rewrite replaces each ? by $1, $2 ... in order. What is inside of string literals ('..' and, with its backslashes,
// E'..'), quoted identifiers ("..."), dollar quotes ($tag$..$tag$) and comments (-- and nested /* */) stays as it is.
func Rewrite(query string) Rewritten {
	if strings.IndexByte(query, '?') < 0 {
		return Rewritten{Text: query, Reads: reads(query)}
	}
	var b strings.Builder
	b.Grow(len(query) + 16)
	n, from := 0, 0
	for i := 0; i < len(query); {
		if query[i] != '?' {
			i = skip(query, i)
			continue
		}
		n++
		b.WriteString(query[from:i])
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(n))
		i++
		from = i
	}
	b.WriteString(query[from:])
	return Rewritten{Text: b.String(), N: n, Reads: reads(query)}
}

// skip returns the index after the token that starts at i.
func skip(s string, i int) int {
	switch c := s[i]; {
	case c == '\'':
		return skipQuoted(s, i, '\'', false)
	case c == '"':
		return skipQuoted(s, i, '"', false)
	case (c == 'e' || c == 'E') && i+1 < len(s) && s[i+1] == '\'' && (i == 0 || !isWord(s[i-1])):
		return skipQuoted(s, i+1, '\'', true)
	case strings.HasPrefix(s[i:], "--"):
		if j := strings.IndexByte(s[i:], '\n'); j >= 0 {
			return i + j + 1
		}
		return len(s)
	case strings.HasPrefix(s[i:], "/*"):
		return skipComment(s, i)
	case c == '$' && (i == 0 || !isWord(s[i-1])):
		return skipDollar(s, i)
	}
	return i + 1
}

// skipQuoted returns the index after a literal or quoted identifier that starts at i. A doubled quote does not end it,
// which falls out by itself: the second one starts the next token.
func skipQuoted(s string, i int, quote byte, backslash bool) int {
	for i++; i < len(s); i++ {
		switch {
		case s[i] == quote:
			if backslash && i+1 < len(s) && s[i+1] == quote {
				i++ // stays an E'' literal, in which backslashes escape
				continue
			}
			return i + 1
		case backslash && s[i] == '\\':
			i++
		}
	}
	return len(s)
}

func skipComment(s string, i int) int {
	depth := 0
	for i < len(s) {
		switch {
		case strings.HasPrefix(s[i:], "/*"):
			depth++
			i += 2
		case strings.HasPrefix(s[i:], "*/"):
			depth--
			i += 2
			if depth == 0 {
				return i
			}
		default:
			i++
		}
	}
	return len(s)
}

// skipDollar returns the index after a dollar-quoted literal that starts at i, or after the dollar if it is none.
func skipDollar(s string, i int) int {
	j := i + 1
	for j < len(s) && isWord(s[j]) && (j > i+1 || s[j] < '0' || s[j] > '9') {
		j++
	}
	if j >= len(s) || s[j] != '$' {
		return i + 1
	}
	tag := s[i : j+1]
	end := strings.Index(s[j+1:], tag)
	if end < 0 {
		return len(s)
	}
	return j + 1 + end + len(tag)
}

func isWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// RewriteCache remembers rewritten queries. Query texts are constants of the program, so it fills once; the bound is
// there for the odd caller that makes texts (lists of placeholders of many lengths).
type RewriteCache struct {
	mu sync.RWMutex
	m  map[string]Rewritten
}

const rewriteCacheMax = 2048

// Get returns query rewritten.
func (c *RewriteCache) Get(query string) Rewritten {
	c.mu.RLock()
	r, ok := c.m[query]
	c.mu.RUnlock()
	if ok {
		return r
	}
	r = Rewrite(query)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil || len(c.m) >= rewriteCacheMax {
		c.m = make(map[string]Rewritten, 256)
	}
	c.m[query] = r
	return r
}
