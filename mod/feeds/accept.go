package feeds

import (
	"strconv"
	"strings"
)

// choose returns the format that a request prefers (RFC 9110 §12.5.1), or "" where it takes none of ours.
func choose(accept []string) format {
	if len(accept) == 0 {
		return atom
	}
	ranges := strings.Split(strings.Join(accept, ","), ",")
	var best format
	bestQ, bestExact := 0.0, 0
	for _, f := range formats() {
		q, exact := quality(ranges, f)
		if q > bestQ || q == bestQ && q > 0 && exact > bestExact {
			best, bestQ, bestExact = f, q, exact
		}
	}
	return best
}

// quality returns how much a format is wanted, and how exactly the range names it that says so: the most exact one counts.
func quality(ranges []string, f format) (q float64, exact int) {
	for _, r := range ranges {
		t, params, _ := strings.Cut(r, ";")
		e := fits(strings.ToLower(strings.TrimSpace(t)), f)
		if e <= exact {
			continue
		}
		exact, q = e, 1
		for p := range strings.SplitSeq(params, ";") {
			k, v, _ := strings.Cut(strings.TrimSpace(p), "=")
			if strings.EqualFold(k, "q") {
				n, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
				if q = n; err != nil || n < 0 || n > 1 {
					q = 0
				}
			}
		}
	}
	return q, exact
}

// fits returns how exactly a media range names a format: 0 for not at all.
func fits(t string, f format) int {
	switch {
	case t == f.mediaType():
		return 4
	case f == feed && t == "application/json", f != feed && f != page && (t == "application/xml" || t == "text/xml"):
		return 3
	case t == strings.SplitN(f.mediaType(), "/", 2)[0]+"/*":
		return 2
	case t == "*/*":
		return 1
	}
	return 0
}
