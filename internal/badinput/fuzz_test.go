package badinput

import (
	"slices"
	"strings"
	"testing"
	"time"

	"sabir/xmpp/xmlstream"
)

// FuzzServer sends bytes to a live server on streams in several states, in the manner of the catalogue, which is its
// corpus. Whatever they are: the server answers with well-formed XML and the end of the stream once the client has ended
// its side; a bystander gets nothing from anybody but the sender; a fresh client is served; and the log holds no error.
func FuzzServer(f *testing.F) {
	h := newHarness(f, "auth.failures = 0")
	self := h.account(f, "self")
	victim, err := h.connect("victim", h.account(f, "victim"), "bound")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(victim.close)
	if err := victim.send("<presence/>"); err != nil {
		f.Fatal(err)
	}
	h.settle(f)
	addCorpus(f, self, victim)
	f.Fuzz(func(t *testing.T, state uint8, input []byte) {
		from, _ := victim.mark()
		a, err := h.connect("self", self, fuzzStates[int(state)%len(fuzzStates)])
		if err != nil {
			t.Fatal(err)
		}
		fuzzOne(t, a, input)
		if err := h.well([]*actor{victim}); err != nil {
			t.Error(err)
		}
		events, _ := victim.since(from, 0)
		for _, e := range events {
			if e.frame != nil && !fromSelf(e.frame, self) && !strings.HasPrefix(e.frame.Attr("id"), "barrier-") {
				t.Errorf("the bystander got %s", e.frame.Raw())
			}
		}
		if err := h.quiet(); err != nil {
			t.Error(err)
		}
		if bad, _ := h.log.news(); len(bad) > 0 {
			t.Errorf("in the log: %s", strings.Join(bad, "\n"))
		}
	})
}

// fuzzStates are the states in which a stream gets an input. See testCase.State.
var fuzzStates = []string{"tcp", "stream", "auth", "bound"}

func fromSelf(f *xmlstream.Frame, self account) bool {
	from := f.Attr("from")
	return from == self.bare() || strings.HasPrefix(from, self.bare()+"/")
}

// fuzzOne sends an input and ends the client's side, and waits for the end of the server's.
func fuzzOne(t *testing.T, a *actor, input []byte) {
	defer a.close()
	if _, err := a.Write(input); err == nil {
		if err := a.closeWrite(); err != nil && a.end() == nil {
			t.Fatal(err)
		}
	}
	if !a.waitEnd(10 * time.Second) {
		t.Fatal(a.fail("the server does not close"))
	}
	if err := a.wellFormed(); err != nil {
		t.Error(err)
	}
}

// addCorpus adds the inputs of the catalogue, but for those that are too long for a fuzzer to do something with.
func addCorpus(f *testing.F, self account, victim *actor) {
	x := &exec{self: &actor{full: self.bare() + "/phone"}, actors: map[string]*actor{"victim": victim, "earlier": victim}}
	x.accs = map[string]account{"self": self, "victim": victim.acc, "stranger": victim.acc, "admin": victim.acc}
	x.e.value = x.value
	for _, file := range []string{"catalogue", "more"} {
		for _, c := range readCases(f, "testdata/"+file+".jsonl") {
			state := slices.Index(fuzzStates, strings.Replace(c.State, "sasl2", "stream", 1))
			if skipped(c) != "" || state < 0 {
				continue
			}
			if s, err := x.e.text(strings.Join(c.Send, "")); err == nil && s != "" && len(s) < 4096 { // an error: it has actions
				f.Add(uint8(state), []byte(s))
			}
		}
	}
}
