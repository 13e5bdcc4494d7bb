package config

import (
	"errors"
	"math/rand"
	"regexp"
	"strings"
	"testing"
)

var words = []string{
	"", "0", "-1", "1e400", "99999999999999999999", "true", "\"\"", "\"x\"", "[]", "[1]", "{}", "{a=1}", "1979-05-27", "[[host]]", "[host]", "[mod]", "mod = 1",
	"\"5m\"", "\"-5m\"", "nan", "=", "#", "\"", "'''", "[", "]", "\u00a0", "host = 3", "listen = [1]", "[mod.ping.labels]", "a.b.c = 1", "mod.ping = 7",
}

// mutate changes a document at random: a line removed, doubled, moved or cut, a value replaced, a key misspelt, a byte changed.
func mutate(r *rand.Rand, text string) string {
	for range 1 + r.Intn(3) {
		lines := strings.Split(text, "\n")
		i := r.Intn(len(lines))
		switch r.Intn(8) {
		case 0:
			lines = append(lines[:i], lines[i+1:]...)
		case 1:
			lines = append(lines[:i], append([]string{lines[i]}, lines[i:]...)...)
		case 2:
			j := r.Intn(len(lines))
			lines[i], lines[j] = lines[j], lines[i]
		case 3:
			lines[i] = lines[i][:r.Intn(len(lines[i])+1)]
		case 4:
			if k, _, ok := strings.Cut(lines[i], "="); ok {
				lines[i] = k + "= " + words[r.Intn(len(words))]
			}
		case 5:
			if n := len(lines[i]); n > 2 {
				j := r.Intn(n - 1)
				lines[i] = lines[i][:j] + lines[i][j+1:]
			}
		case 6:
			lines[i] = words[r.Intn(len(words))]
		case 7:
			if n := len(lines[i]); n > 0 {
				b := []byte(lines[i])
				b[r.Intn(n)] = byte(r.Intn(256))
				lines[i] = string(b)
			}
		}
		text = strings.Join(lines, "\n")
	}
	return text
}

// TestMutations shows that a file with random mistakes is either taken whole or refused whole, each problem with its place.
func TestMutations(t *testing.T) {
	whole := regexp.MustCompile(`(?m)^#([a-z\[])`).ReplaceAllString(Example(testSections), "$1")
	compact := regexp.MustCompile(`(?m)^# .*\n`).ReplaceAllString(whole, "")
	place := regexp.MustCompile(`^f\.toml:(\d+):(\d+): \S`)
	r := rand.New(rand.NewSource(1))
	accepted, refused := 0, 0
	for range 600 {
		text := mutate(r, compact)
		c, err := Parse("f.toml", []byte(text), testSections)
		if err == nil {
			accepted++
			if len(c.Hosts) == 0 || len(c.Listen) == 0 || c.Mod(c.Hosts[0].JID().Domain(), "ping") == nil {
				t.Fatalf("accepted without a host, a socket or an extension:\n%s", text)
			}
			continue
		}
		refused++
		if c != nil {
			t.Fatalf("a part was taken of\n%s", text)
		}
		var es Errors
		if !errors.As(err, &es) || len(es) == 0 {
			t.Fatalf("%T %v", err, err)
		}
		for _, e := range es {
			if !place.MatchString(e.Error()) || e.Line < 1 || e.Line > strings.Count(text, "\n")+1 || e.Column < 1 {
				t.Fatalf("no place in %q for\n%s", e, text)
			}
		}
	}
	if accepted < 50 || refused < 200 {
		t.Errorf("%d accepted, %d refused: the mutations are too kind or too rough", accepted, refused)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Example(testSections))
	f.Add(minimal)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse("f", []byte(text), testSections)
		if (c == nil) == (err == nil) {
			t.Fatalf("configuration %v with error %v", c, err)
		}
		if c != nil && len(Diff(c, c)) != 0 {
			t.Fatal("a configuration differs from itself")
		}
	})
}
