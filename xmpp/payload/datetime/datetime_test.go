package datetime

import (
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]time.Time{
		"1969-07-21T02:56:15Z":                        time.Date(1969, 7, 21, 2, 56, 15, 0, time.UTC),
		"1969-07-20T21:56:15-05:00":                   time.Date(1969, 7, 21, 2, 56, 15, 0, time.UTC),
		"2002-09-10T23:08:25.5Z":                      time.Date(2002, 9, 10, 23, 8, 25, 5e8, time.UTC),
		"2002-09-10T23:08:25.123456789Z":              time.Date(2002, 9, 10, 23, 8, 25, 123456789, time.UTC),
		"2002-09-10T23:08:25.1234567891234567891234Z": time.Date(2002, 9, 10, 23, 8, 25, 123456789, time.UTC),
		"2002-09-10T23:08:25+14:00":                   time.Date(2002, 9, 10, 9, 8, 25, 0, time.UTC),
		"2002-09-10T24:00:00Z":                        time.Date(2002, 9, 11, 0, 0, 0, 0, time.UTC),
		"2000-02-29T00:00:00-00:00":                   time.Date(2000, 2, 29, 0, 0, 0, 0, time.UTC),
	} {
		got, err := Parse(in)
		if err != nil || !got.Equal(want) {
			t.Errorf("Parse(%q) = %v, %v, want %v", in, got, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, in := range []string{
		"", "T", "2002-09-10", "2002-09-10T23:08:25", "20020910T23:08:25Z", "2002-09-10 23:08:25Z", "2002-09-10t23:08:25Z",
		"2002-09-10T23:08:25z", "2002-9-10T23:08:25Z", "2002-13-10T23:08:25Z", "2001-02-29T00:00:00Z", "2002-09-10T25:00:00Z",
		"2002-09-10T24:00:01Z", "2002-09-10T23:60:00Z", "2002-09-10T23:08:60Z", "2002-09-10T23:08:25.Z", "2002-09-10T23:08:25,5Z",
		"2002-09-10T23:08:25+15:00", "2002-09-10T23:08:25+14:01", "2002-09-10T23:08:25+1:00", "2002-09-10T23:08:25+01:60",
		"2002-09-10T23:08:25 Z", " 2002-09-10T23:08:25Z", "2002-09-10T23:08:25Z ", "2002-09-10T23:08Z", "-002-09-10T23:08:25Z",
		"2002-09-10T+1:08:25Z", "2002-09-10T23:08:25+-1:00",
	} {
		if got, err := Parse(in); err == nil {
			t.Errorf("Parse(%q) = %v, want an error", in, got)
		}
	}
}

func TestFormat(t *testing.T) {
	zone := time.FixedZone("", -5*3600)
	at := time.Date(1969, 7, 20, 21, 56, 15, 250_999_999, zone)
	if got := Format(at); got != "1969-07-21T02:56:15.25Z" {
		t.Errorf("Format = %s", got)
	}
	if got := Format(at.Truncate(time.Second)); got != "1969-07-21T02:56:15Z" {
		t.Errorf("Format of a whole second = %s", got)
	}
	if got := FormatDate(at); got != "1969-07-21" {
		t.Errorf("FormatDate = %s", got)
	}
	if got := FormatOffset(at); got != "-05:00" {
		t.Errorf("FormatOffset = %s", got)
	}
	if got := FormatOffset(at.UTC()); got != "Z" {
		t.Errorf("FormatOffset of UTC = %s", got)
	}
}

func TestParseLegacy(t *testing.T) {
	want := time.Date(2002, 9, 10, 23, 8, 25, 0, time.UTC)
	for _, in := range []string{"20020910T23:08:25", "2002-09-10T23:08:25Z"} {
		if got, err := ParseLegacy(in); err != nil || !got.Equal(want) {
			t.Errorf("ParseLegacy(%q) = %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"20020910T23:08:61", "20020910X23:08:25", "2002091T23:08:25"} {
		if got, err := ParseLegacy(in); err == nil {
			t.Errorf("ParseLegacy(%q) = %v, want an error", in, got)
		}
	}
}

func TestParseTime(t *testing.T) {
	d, zone, err := ParseTime("16:00:00.5")
	if err != nil || d != 16*time.Hour+500*time.Millisecond || zone != nil {
		t.Errorf("without zone: %v, %v, %v", d, zone, err)
	}
	if _, zone, err = ParseTime("16:00:00Z"); err != nil || zone != time.UTC {
		t.Errorf("with zone: %v, %v", zone, err)
	}
	if _, _, err = ParseTime("16:00"); err == nil {
		t.Error("16:00 was taken")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("2002-09-10T23:08:25.5+01:00")
	f.Add("0000-01-01T24:00:00-14:00")
	f.Fuzz(func(t *testing.T, s string) {
		at, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(Format(at))
		if y := at.UTC().Year(); y < 0 || y > 9999 {
			return // an offset may carry the first and the last day over the edge of four digits
		}
		if err != nil || !again.Equal(at.Truncate(time.Millisecond)) {
			t.Errorf("%q: %v, and again %v, %v", s, at, again, err)
		}
	})
}
