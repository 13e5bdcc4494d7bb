package crash

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// item is a roster item as far as it is checked. The zero value means that there is none.
type item struct {
	name   string
	groups string // sorted, separated by spaces
}

// account is what is known of an account outside of the server: what it was promised, and what was under way.
type account struct {
	address jid.JID

	// Passwords: the one that was acknowledged last, and one that was sent since, or "".
	password, nextPassword string
	// Contacts elsewhere, by bare JID: what was acknowledged last. A missing one means none.
	roster map[string]item
	// What was sent since, for at most one contact: it holds or what was acknowledged does.
	nextContact string
	next        item

	// Subscriptions among the accounts, which are asked for and granted once: what was acknowledged.
	asked   map[string]bool // these were asked for their presence
	granted map[string]bool // these may see this account's
	// What was done without an acknowledgement so far.
	asking, granting string

	// Messages that this account has sent to those who are offline, by body; false until acknowledged.
	sent map[string]bool
	// Messages that this account has got after a restart. They must not come again.
	got map[string]bool

	seq int
}

func newAccount(address jid.JID, password string) *account {
	return &account{
		address: address, password: password, roster: make(map[string]item),
		asked: make(map[string]bool), granted: make(map[string]bool), sent: make(map[string]bool), got: make(map[string]bool),
	}
}

// number returns a number that the account has not used before.
func (a *account) number() int {
	a.seq++
	return a.seq
}

// version returns the roster item of a number. Name and groups belong together: half of one is half a state.
func version(n int) item {
	return item{fmt.Sprintf("name %d", n), fmt.Sprintf("all group-%d", n)}
}

const nsRoster = "jabber:iq:roster"

// change returns the query that makes this the item of a contact; the zero value removes it.
func (i item) change(contact string) *xmlstream.Element {
	e := xmlstream.El(nsRoster, "item", xmlstream.A("jid", contact))
	if i == (item{}) {
		e.Add(xmlstream.A("subscription", "remove"))
	} else {
		e.Add(xmlstream.A("name", i.name))
	}
	for g := range strings.FieldsSeq(i.groups) {
		e.Add(xmlstream.El(nsRoster, "group", g))
	}
	return xmlstream.El(nsRoster, "query", e)
}

// kept is a roster as the server has it.
type kept struct {
	items         map[string]item
	subscriptions map[string]string // "to", "from", "both" or "none", and " ask" where a request is under way
}

func readRoster(query *xmlstream.Element) (kept, error) {
	k := kept{make(map[string]item), make(map[string]string)}
	for e := range query.Elements() {
		address := e.Attr("jid")
		if _, twice := k.items[address]; twice {
			return k, fmt.Errorf("%s is in the roster twice", address)
		}
		var groups []string
		for g := range e.Elements() {
			groups = append(groups, g.Text())
		}
		slices.Sort(groups)
		k.items[address] = item{e.Attr("name"), strings.Join(groups, " ")}
		k.subscriptions[address] = e.Attr("subscription")
		if e.Attr("ask") != "" {
			k.subscriptions[address] += " ask"
		}
	}
	return k, nil
}

// check compares a roster with what was promised, and takes over what has become of the things under way.
func (a *account) check(k kept) []string {
	var bad []string
	say := func(format string, args ...any) {
		bad = append(bad, fmt.Sprintf("%s: ", a.address)+fmt.Sprintf(format, args...))
	}
	contacts := maps.Clone(a.roster)
	if a.nextContact != "" {
		contacts[a.nextContact] = a.roster[a.nextContact]
	}
	for c, want := range contacts {
		got := k.items[c]
		switch {
		case got == want:
		case c == a.nextContact && got == a.next:
		default:
			say("the roster has %+v for %s; acknowledged was %+v, under way %+v", got, c, want, a.underWay(c))
		}
	}
	for c, got := range k.items {
		if _, known := contacts[c]; !known && !strings.HasSuffix(c, "@"+a.address.Domain()) {
			say("the roster has %+v for %s, which was never sent", got, c)
		}
	}
	for c := range a.asked {
		if s := k.subscriptions[c]; s != "to" && s != "both" && !strings.HasSuffix(s, " ask") {
			say("it has asked %s for its presence, and the roster says %q", c, s)
		}
	}
	for c := range a.granted {
		if s := strings.TrimSuffix(k.subscriptions[c], " ask"); s != "from" && s != "both" {
			say("it has let %s see its presence, and the roster says %q", c, s)
		}
	}
	a.settle(k)
	return bad
}

func (a *account) underWay(contact string) any {
	if contact == a.nextContact {
		return a.next
	}
	return "nothing"
}

// settle makes what the server has the state from which the next round starts.
func (a *account) settle(k kept) {
	if a.nextContact != "" {
		if got := k.items[a.nextContact]; got == (item{}) {
			delete(a.roster, a.nextContact)
		} else {
			a.roster[a.nextContact] = got
		}
		a.nextContact, a.next = "", item{}
	}
	if s := k.subscriptions[a.asking]; a.asking != "" && (s == "to" || s == "both" || strings.HasSuffix(s, " ask")) {
		a.asked[a.asking] = true
	}
	if s := strings.TrimSuffix(k.subscriptions[a.granting], " ask"); a.granting != "" && (s == "from" || s == "both") {
		a.granted[a.granting] = true
	}
	a.asking, a.granting = "", ""
}

// mirrored tells of subscriptions of which one side knows and the other does not: a grant is one change of two rosters.
func mirrored(rosters map[string]kept) []string {
	var bad []string
	for a, k := range rosters {
		for b, s := range k.subscriptions {
			other, known := rosters[b]
			if !known {
				continue
			}
			s, back := strings.TrimSuffix(s, " ask"), strings.TrimSuffix(other.subscriptions[a], " ask")
			if to, from := s == "to" || s == "both", back == "from" || back == "both"; to != from {
				bad = append(bad, fmt.Sprintf("half a state: %s has %s as %q, which has it as %q", a, b, s, back))
			}
		}
	}
	slices.Sort(bad)
	return bad
}

// chatMessage returns a message of type chat.
func chatMessage(to jid.JID, body string) *stanza.Stanza {
	m := stanza.New(stanza.Message, "chat", xmlstream.El(stanza.NSClient, "body", body))
	m.To = to
	m.ID = stanza.NewID()
	return m
}
