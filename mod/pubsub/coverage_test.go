package pubsub_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sabir/internal/specref"
)

// notShown are sections that no transcript shows, and why.
var notShown = map[string]string{
	"XEP-0060#subscriber-subscribe-error-payment":   "nothing costs money here",
	"XEP-0060#subscriber-retrieve-returnlast":       "a node that keeps no items keeps no last one either, and says so: XEP-0060#subscriber-retrieve-error-persistent",
	"XEP-0060#subscriber-retrieve-error-payment":    "nothing costs money here",
	"XEP-0060#subscriber-unsubscribe-error-nosubid": "multi-subscribe is not offered: see engine/pubsub",
	"XEP-0060#subscriber-configure-error-subid":     "multi-subscribe is not offered: see engine/pubsub",
	"XEP-0060#subscriber-configure-error-badsubid":  "multi-subscribe is not offered: see engine/pubsub",
	"XEP-0060#subscriber-retrieve-error-subid":      "multi-subscribe is not offered: see engine/pubsub",
	"XEP-0060#publisher-publish-success-subid":      "multi-subscribe is not offered: see engine/pubsub",
	"XEP-0060#publisher-delete-success-subid":       "multi-subscribe is not offered: see engine/pubsub",
}

// chapters are those of the use cases, and what has to be shown of them.
var chapters = []struct {
	xep         string
	first, last int
	atLeast     int
}{
	{"XEP-0060", 5, 9, 150}, // from what any entity does to what comes with presence
	{"XEP-0163", 3, 7, 12},  // from publishing to the notes on implementation
}

// TestSections: each use case of XEP-0060 and XEP-0163, down to the single error, is shown by a transcript, which cites it where it
// shows it, or there is a reason in notShown.
func TestSections(t *testing.T) {
	index, err := specref.ReadIndex("../../internal/specref/testdata")
	if err != nil {
		t.Fatal(err)
	}
	shown := passages(t, "testdata/*.xt", "../pep/testdata/*.xt")
	all := make(map[string]bool)
	for _, c := range chapters {
		sections := index.Smallest(c.xep, c.first, c.last)
		if len(sections) < c.atLeast {
			t.Errorf("%s has %d use cases only", c.xep, len(sections))
		}
		for number, anchor := range sections {
			ref := c.xep + "#" + anchor
			all[ref] = true
			switch why, not := notShown[ref]; {
			case not && why == "":
				t.Errorf("no reason says why nothing shows %s", ref)
			case not && len(shown[ref]) > 0:
				t.Errorf("%s shows %s: that nothing does (%s) is not true any more", shown[ref][0].file, ref, why)
			case slices.ContainsFunc(shown[ref], passage.mute):
				t.Errorf("%s cites %s, and nothing happens there", shown[ref][slices.IndexFunc(shown[ref], passage.mute)].file, ref)
			case !not && len(shown[ref]) == 0:
				t.Errorf("nothing shows %s, §%s", ref, number)
			}
		}
	}
	for ref := range notShown {
		if !all[ref] {
			t.Errorf("%s, which nothing shows, is no use case", ref)
		}
	}
	t.Logf("of %d use cases %d are not shown, for a reason", len(all), len(notShown))
}

// TestErrors: each error of a section is received where a transcript cites the section, and who cites a section that is about an
// error has received one of those.
func TestErrors(t *testing.T) {
	shown := passages(t, "testdata/*.xt", "../pep/testdata/*.xt")
	faulty := make(map[string]map[passage]bool) // by the anchor: whether one of its errors is received
	for _, line := range strings.Split(strings.TrimSpace(conditions), "\n") {
		anchor, condition, _ := strings.Cut(line, " ")
		wanted, received := errorRE(condition), false
		if faulty[anchor] == nil {
			faulty[anchor] = make(map[passage]bool)
		}
		for _, p := range shown["XEP-0060#"+anchor] {
			ok := wanted.MatchString(p.text)
			received = received || ok
			faulty[anchor][p] = faulty[anchor][p] || ok
		}
		if !received && len(shown["XEP-0060#"+anchor]) > 0 {
			t.Errorf("where XEP-0060#%s is cited nobody receives %s", anchor, condition)
		}
	}
	for anchor, list := range faulty {
		for p, received := range list {
			if !received && strings.Contains(anchor, "-error-") {
				t.Errorf("%s:%d cites XEP-0060#%s, and nobody receives its error there", p.file, p.line, anchor)
			}
		}
	}
}

// errorRE matches a stanza error with a condition, and nothing beside it but a text of the condition: "bad-request invalid-jid".
func errorRE(condition string) *regexp.Regexp {
	f := strings.Fields(condition)
	re := `<error [^>]*>\s*<` + f[0] + ` xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'(/>|>[^<]*</` + f[0] + `>)\s*`
	if len(f) > 1 {
		re += `<` + f[1] + ` xmlns='http://jabber.org/protocol/pubsub#errors'`
		if len(f) > 2 {
			re += ` feature='` + f[2] + `'`
		}
		re += `/>\s*`
	}
	return regexp.MustCompile(re + `</error>`)
}

// passage is what a transcript shows of a section: all of it where its head cites that, else what follows the comment that does,
// to the next comment that cites something.
type passage struct {
	file string
	line int
	text string
}

// mute tells whether nobody receives anything, or is seen to receive nothing: then it shows nothing.
func (p passage) mute() bool { return !strings.Contains(p.text, " receives") }

// passages returns those of each section that the transcripts cite which match the patterns.
func passages(t *testing.T, patterns ...string) map[string][]passage {
	t.Helper()
	all := make(map[string][]passage)
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %d files", pattern, err, len(files))
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for ref, list := range passagesOf(file, string(text)) {
				all[ref] = append(all[ref], list...)
			}
		}
	}
	return all
}

func passagesOf(file, text string) map[string][]passage {
	cited := make(map[int][]string) // by the first line of a comment, counted from 0
	lines := strings.Split(text, "\n")
	for _, r := range specref.Text(file, text) {
		first := r.Line - 1
		for first > 0 && strings.HasPrefix(lines[first-1], "#") {
			first--
		}
		cited[first] = append(cited[first], r.String())
	}
	all := make(map[string][]passage)
	starts := slices.Sorted(maps.Keys(cited))
	for i, first := range starts {
		end := len(lines)
		if first > 0 && i+1 < len(starts) {
			end = starts[i+1]
		}
		p := passage{file, first + 1, strings.Join(lines[first:end], "\n")}
		for _, ref := range cited[first] {
			all[ref] = append(all[ref], p)
		}
	}
	return all
}

// conditions are the errors of the sections that have one: the anchor, the condition of RFC 6120, and that of XEP-0060#errors with its
// feature where there is one. A section with several has a line for each.
const conditions = `
entity-subscriptions feature-not-implemented unsupported retrieve-subscriptions
entity-affiliations feature-not-implemented unsupported retrieve-affiliations
subscriber-subscribe-error-nomatch bad-request invalid-jid
subscriber-subscribe-error-presence not-authorized presence-subscription-required
subscriber-subscribe-error-rostergroup not-authorized not-in-roster-group
subscriber-subscribe-error-whitelist not-allowed closed-node
subscriber-subscribe-error-pending not-authorized pending-subscription
subscriber-subscribe-error-blocked forbidden
subscriber-subscribe-error-toomany policy-violation too-many-subscriptions
subscriber-subscribe-error-unsupported feature-not-implemented unsupported subscribe
subscriber-subscribe-error-redirect gone
subscriber-subscribe-error-node item-not-found
subscriber-unsubscribe-error-nosub unexpected-request not-subscribed
subscriber-unsubscribe-error-forbidden forbidden
subscriber-unsubscribe-error-node item-not-found
subscriber-configure-error-forbidden forbidden
subscriber-configure-error-nosub unexpected-request not-subscribed
subscriber-configure-error-jid bad-request jid-required
subscriber-configure-error-options feature-not-implemented unsupported subscription-options
subscriber-configure-error-node item-not-found
subscriber-configure-process-failure bad-request invalid-options
subscriber-default-error-noconfig feature-not-implemented unsupported subscription-options
subscriber-default-error-notsupported feature-not-implemented unsupported retrieve-default-sub
subscriber-retrieve-error-badsubid not-acceptable invalid-subid
subscriber-retrieve-error-notsubscribed not-authorized not-subscribed
subscriber-retrieve-error-persistent feature-not-implemented unsupported persistent-items
subscriber-retrieve-error-notsupported feature-not-implemented unsupported retrieve-items
subscriber-retrieve-error-presence not-authorized presence-subscription-required
subscriber-retrieve-error-rostergroup not-authorized not-in-roster-group
subscriber-retrieve-error-whitelist not-allowed closed-node
subscriber-retrieve-error-blocked forbidden
subscriber-retrieve-error-node item-not-found
publisher-publish-error-forbidden forbidden
publisher-publish-error-notsupported feature-not-implemented unsupported publish
publisher-publish-error-node item-not-found
publisher-publish-error-nodefull conflict node-full
publisher-publish-error-bigpayload not-acceptable payload-too-big
publisher-publish-error-badpayload bad-request invalid-payload
publisher-publish-error-badrequest bad-request item-required
publisher-publish-error-badrequest bad-request payload-required
publisher-publish-error-badrequest bad-request item-forbidden
publisher-publish-options conflict precondition-not-met
publisher-delete-error-forbidden forbidden
publisher-delete-error-node item-not-found
publisher-delete-error-nodeid bad-request nodeid-required
publisher-delete-error-itemid bad-request item-required
publisher-delete-error-persistent feature-not-implemented unsupported persistent-items
publisher-delete-error-notsupported feature-not-implemented unsupported delete-items
owner-create-general feature-not-implemented unsupported create-nodes
owner-create-general registration-required
owner-create-general forbidden
owner-create-general conflict
owner-create-general not-acceptable nodeid-required
owner-create-default not-acceptable unsupported-access-model
owner-configure-error-notsupported feature-not-implemented unsupported config-node
owner-configure-error-forbidden forbidden
owner-configure-error-nodeid bad-request nodeid-required
owner-configure-error-options not-allowed
owner-configure-error-node item-not-found
owner-configure-process-failure not-acceptable
owner-default-error-noconfig feature-not-implemented unsupported config-node
owner-default-error-notsupported feature-not-implemented unsupported retrieve-default
owner-delete-error-forbidden forbidden
owner-delete-error-node item-not-found
owner-purge-error-notsupported feature-not-implemented unsupported purge-nodes
owner-purge-error-forbidden forbidden
owner-purge-error-nopersist feature-not-implemented unsupported persistent-items
owner-purge-error-node item-not-found
owner-subreq-error-adhoc service-unavailable
owner-subreq-error-getpending feature-not-implemented unsupported get-pending
owner-subreq-error-forbidden forbidden
owner-subreq-error-node item-not-found
owner-subscriptions-multi not-acceptable
owner-affiliations-multi not-acceptable
`
