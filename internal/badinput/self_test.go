package badinput

import (
	"slices"
	"strings"
	"testing"
)

// TestMacros checks the harness itself: what its macros stand for.
func TestMacros(t *testing.T) {
	e := expander{value: func(name string) (string, bool) { return "v-" + name, name == "domain" || name == "user" }}
	for in, want := range map[string]string{
		"a{domain}b":                           "av-domainb",
		"{rep:3:ab}":                           "ababab",
		"{seq:3:<{i}>}":                        "<0><1><2>",
		"{seq:2:{user}{i},}":                   "v-user0,v-user1,",
		"{hex:e282ac}":                         "€",
		"{b64:{NUL}{user}{NUL}p}":              "AHYtdXNlcgBw",
		"{b64:n,,r={rep:4:a}}":                 "biwscj1hYWFh",
		"{utf16le:<a>}":                        "<\x00a\x00>\x00",
		"x{CRLF}y{LF}":                         "x\r\ny\n",
		"no { macro } here":                    "no { macro } here",
		"{\"json\":1}":                         "{\"json\":1}",
		"{rep:2:{rep:2:{hex:41}}}{rep:1:{LF}}": "AAAA\n",
	} {
		if got, err := e.text(in); err != nil || got != want {
			t.Errorf("%s is %q (%v), not %q", in, got, err, want)
		}
	}
	for _, in := range []string{"{nonsuch}", "{rep:x:a}", "{rep:3}", "{hex:zz}", "{b64:abc", "{rst}"} {
		if got, err := e.text(in); err == nil {
			t.Errorf("%s is %q, and should be an error", in, got)
		}
	}
}

// TestFrames checks the frames that the harness makes against the examples of RFC 6455 §5.7.
func TestFrames(t *testing.T) {
	for in, want := range map[string]string{
		"text:nomask:Hello":                         "\x81\x05Hello",
		"text:nofin:nomask:Hel":                     "\x01\x03Hel",
		"cont:nomask:lo":                            "\x80\x02lo",
		"ping:nomask:Hello":                         "\x89\x05Hello",
		"text:nomask:len=0x10000:":                  "\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00",
		"binary:nomask:" + strings.Repeat("x", 256): "\x82\x7e\x01\x00" + strings.Repeat("x", 256),
	} {
		if got, err := wsMacro(in); err != nil || string(got) != want {
			t.Errorf("%.40s is %.20q (%v)", in, got, err)
		}
	}
	if b := wsFrame(wsText, []byte("Hello")); len(b) != 11 || b[1] != 0x85 || b[6]^b[2] != 'H' {
		t.Errorf("a masked frame is %q", b)
	}
}

// TestLater checks that what is left out is in the catalogue, so that the list does not outlive its reasons.
func TestLater(t *testing.T) {
	var groups, ids []string
	for _, c := range readCases(t, "testdata/catalogue.jsonl") {
		groups, ids = append(groups, c.group()), append(ids, c.ID)
	}
	for _, l := range later {
		for g := range strings.FieldsSeq(l.groups) {
			if !slices.Contains(groups, g) {
				t.Errorf("there is no group %s", g)
			}
		}
	}
	for id := range laterCases {
		if !slices.Contains(ids, id) {
			t.Errorf("there is no case %s", id)
		}
	}
}
