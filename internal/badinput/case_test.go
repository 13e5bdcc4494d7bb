package badinput

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// testCase is one line of a catalogue.
type testCase struct {
	ID    string `json:"id"`
	Layer string `json:"layer"`
	// State is how far the connection of the actor self is before Send: tcp, tls (without a header), tls12, direct-tls,
	// stream (encrypted, features seen), auth (logged in, no resource), bound, ws (a WebSocket without <open/>), or - for
	// a bare HTTPS connection.
	State string   `json:"state"`
	Send  []string `json:"send"`
	// PauseMS is waited between the elements of Send.
	PauseMS int           `json:"pause_ms"`
	Expect  expectation   `json:"expect"`
	Accept  []expectation `json:"accept"` // other outcomes that the specification allows
	Observe []observation `json:"observe"`
	// WF tells whether the input is well-formed: true, false, "restricted" or null. It is for tests of parsers.
	WF   json.RawMessage `json:"wf"`
	Open bool            `json:"open"` // the input is an unclosed stream header
	// WithinMS bounds the time to the outcome.
	WithinMS int `json:"within_ms"`
	// MaxRSSDeltaMB bounds by how much the memory in use grows on the way.
	MaxRSSDeltaMB int    `json:"max_rss_delta_mb"`
	Then          string `json:"then"`
	Spec          string `json:"spec"`
	Why           string `json:"why"`
}

// expectation is an outcome. Type is stream-error, stanza-error, sasl-failure, tls-failure, tls-alert, compress-failure, http,
// close,
// ignored (no reply at all) or ok (handled normally; a condition names the reply).
type expectation struct {
	Type      string     `json:"type"`
	Condition conditions `json:"condition"`
	Alive     bool       `json:"alive_after"`
}

func (e expectation) String() string {
	s := e.Type
	if len(e.Condition) > 0 {
		s += " " + strings.Join(e.Condition, "|")
	}
	if e.Alive {
		return s + ", alive"
	}
	return s + ", closed"
}

// conditions are the names any of which is right; none stands for any. In JSON a name, a number, a list of them or null.
type conditions []string

func (c *conditions) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	list, ok := v.([]any)
	if !ok && v != nil {
		list = []any{v}
	}
	for _, x := range list {
		switch x := x.(type) {
		case string:
			*c = append(*c, x)
		case float64:
			*c = append(*c, fmt.Sprint(int(x)))
		default:
			return fmt.Errorf("a condition is a name or a number, not %v", x)
		}
	}
	return nil
}

// observation is what an actor must or must not see: a substring of what it was sent, where either kind of quotes stands
// for the other; or prose that checks maps to code.
type observation struct {
	Actor          string `json:"actor"`
	MustReceive    string `json:"must_receive"`
	MustNotReceive string `json:"must_not_receive"`
	Check          string `json:"check"`
}

// group returns what the id begins with: hdr, xml, ns …
func (c *testCase) group() string {
	g, _, _ := strings.Cut(c.ID, "-")
	return g
}

// alternatives returns the expected outcome and the other acceptable ones.
func (c *testCase) alternatives() []expectation {
	return append([]expectation{c.Expect}, c.Accept...)
}

// mayLive tells whether the connection may be alive after the case.
func (c *testCase) mayLive() bool {
	for _, e := range c.alternatives() {
		if e.Alive {
			return true
		}
	}
	return false
}

// timeout bounds the time to the outcome.
func (c *testCase) timeout() time.Duration {
	if c.WithinMS > 0 {
		return patience * time.Duration(c.WithinMS) * time.Millisecond
	}
	return patience * 5 * time.Second
}

// mentions tells whether a part of the case names something of an actor, such as {victim_full}.
func (c *testCase) mentions(actor string) bool {
	for _, s := range c.Send {
		if strings.Contains(s, "{"+actor+"}") || strings.Contains(s, "{"+actor+"_") || strings.Contains(s, "_"+actor+"}") {
			return true
		}
	}
	for _, o := range c.Observe {
		if o.Actor == actor || strings.Contains(o.Check, actor) || strings.Contains(o.MustNotReceive+o.MustReceive, "{"+actor) {
			return true
		}
	}
	return false
}

// readCases reads a catalogue strictly: an unknown field or a second case of the same id fails the test.
func readCases(t testing.TB, path string) []*testCase {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var cases []*testCase
	seen := map[string]bool{}
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for line := 1; sc.Scan(); line++ {
		c := new(testCase)
		d := json.NewDecoder(strings.NewReader(sc.Text()))
		d.DisallowUnknownFields()
		if err := d.Decode(c); err != nil {
			t.Fatalf("%s:%d: %v", path, line, err)
		}
		if err := c.check(); err != nil || seen[c.ID] {
			t.Fatalf("%s:%d: %s: %v (seen before: %v)", path, line, c.ID, err, seen[c.ID])
		}
		seen[c.ID] = true
		cases = append(cases, c)
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	return cases
}

func (c *testCase) check() error {
	switch {
	case c.ID == "" || c.Expect.Type == "" || c.Spec == "":
		return errors.New("a case has an id, an expected outcome and the rule that it tests")
	case c.State == "":
		return errors.New("a case has a state")
	}
	for _, o := range c.Observe {
		if (o.Check == "") == (o.Actor == "") || o.Actor != "" && (o.MustReceive == "") == (o.MustNotReceive == "") {
			return errors.New("an observation is a check, or an actor with must_receive or must_not_receive")
		}
	}
	return nil
}
