// Package datetime owns the date and time profiles of XMPP (XEP-0082), a strict subset of ISO 8601.
package datetime

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Format writes t as DateTime in UTC, with milliseconds where it has any (XEP-0082 §3.2). UTC keeps the sender's place to
// itself (§6).
func Format(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.999Z") }

// FormatDate writes the date of t in UTC (XEP-0082 §3.1).
func FormatDate(t time.Time) string { return t.UTC().Format("2006-01-02") }

// FormatOffset writes the time zone definition of t: Z, or the offset as +hh:mm or -hh:mm.
func FormatOffset(t time.Time) string { return t.Format("Z07:00") }

var errForm = errors.New("not CCYY-MM-DDThh:mm:ss[.sss]TZD")

// Parse reads a DateTime: CCYY-MM-DDThh:mm:ss, optional fractions, Z or an offset of up to 14 hours (XEP-0082 §3.2). Digits
// of the fraction beyond nanoseconds are ignored. White space around it is an error.
func Parse(s string) (time.Time, error) {
	date, clock, ok := strings.Cut(s, "T")
	if !ok {
		return time.Time{}, errForm
	}
	day, err := ParseDate(date)
	if err != nil {
		return time.Time{}, err
	}
	d, zone, err := parseClock(clock)
	if err != nil {
		return time.Time{}, err
	}
	if zone == nil {
		return time.Time{}, errors.New("a DateTime has a time zone")
	}
	_, off := day.In(zone).Zone()
	return day.Add(d - time.Duration(off)*time.Second).In(zone), nil
}

// ParseLegacy reads a DateTime, or the form CCYYMMDDThh:mm:ss that protocols older than XEP-0082 use, in UTC (XEP-0082 §4).
func ParseLegacy(s string) (time.Time, error) {
	if len(s) == len("20020910T23:08:25") {
		if t, err := time.Parse("20060102T15:04:05", s); err == nil {
			return t, nil
		}
	}
	return Parse(s)
}

// ParseDate reads a Date, CCYY-MM-DD, as midnight UTC (XEP-0082 §3.1).
func ParseDate(s string) (time.Time, error) {
	if len(s) != len("2006-01-02") {
		return time.Time{}, fmt.Errorf("not CCYY-MM-DD")
	}
	return time.Parse("2006-01-02", s) // fixed width: four, two and two digits, in range
}

// ParseTime reads a Time, hh:mm:ss with optional fractions and time zone, as the duration since midnight and the zone,
// which is nil where there is none (XEP-0082 §3.3).
func ParseTime(s string) (time.Duration, *time.Location, error) { return parseClock(s) }

func parseClock(s string) (d time.Duration, zone *time.Location, err error) {
	if len(s) < 8 || s[2] != ':' || s[5] != ':' {
		return 0, nil, errForm
	}
	h, ok1 := number(s[0:2], 24)
	m, ok2 := number(s[3:5], 59)
	sec, ok3 := number(s[6:8], 59)
	if !ok1 || !ok2 || !ok3 {
		return 0, nil, errForm
	}
	d = time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(sec)*time.Second
	rest := s[8:]
	if strings.HasPrefix(rest, ".") {
		n := 1
		for unit := time.Second / 10; n < len(rest) && '0' <= rest[n] && rest[n] <= '9'; n, unit = n+1, unit/10 {
			d += time.Duration(rest[n]-'0') * unit
		}
		if n == 1 {
			return 0, nil, errForm
		}
		rest = rest[n:]
	}
	if d > 24*time.Hour { // XML Schema has 24:00:00 for the midnight that ends a day
		return 0, nil, errForm
	}
	zone, err = parseZone(rest)
	return d, zone, err
}

// parseZone reads a time zone definition; "" gives nil.
func parseZone(s string) (*time.Location, error) {
	switch {
	case s == "":
		return nil, nil
	case s == "Z":
		return time.UTC, nil
	case len(s) != 6 || s[3] != ':' || s[0] != '+' && s[0] != '-':
		return nil, errForm
	}
	h, ok1 := number(s[1:3], 14)
	m, ok2 := number(s[4:6], 59)
	if !ok1 || !ok2 || h == 14 && m > 0 {
		return nil, errForm
	}
	off := h*3600 + m*60
	if s[0] == '-' {
		off = -off
	}
	if off == 0 {
		return time.UTC, nil
	}
	return time.FixedZone("", off), nil
}

// number reads two digits of at most limit.
func number(s string, limit int) (int, bool) {
	a, b := s[0]-'0', s[1]-'0'
	if a > 9 || b > 9 {
		return 0, false
	}
	n := int(a)*10 + int(b)
	return n, n <= limit
}
