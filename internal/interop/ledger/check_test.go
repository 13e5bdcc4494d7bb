package ledger

import (
	"strings"
	"testing"
)

// play is a small round that went well: each case below spoils it.
type play struct {
	*Book
	first, second, asleep, lost *Message
}

const (
	romeo  = "romeo@example.test"
	juliet = "juliet@example.test"
	nurse  = "nurse@example.test"
)

func goodRound() play {
	b := NewBook()
	b.Next()
	p := play{
		Book: b, first: b.send(romeo, juliet, "", romeo+"/a", 1, false), second: b.send(romeo, juliet, "", romeo+"/a", 2, false),
		asleep: b.send(romeo, nurse, "", romeo+"/a", 3, true), lost: b.send(romeo, juliet, "", romeo+"/a", 4, false),
	}
	for _, m := range []*Message{p.first, p.second, p.asleep} {
		b.accept(m, "ack")
	}
	b.archived(romeo, []Entry{{p.first.ID, "1"}, {p.second.ID, "2"}, {p.asleep.ID, "3"}})
	b.archived(juliet, []Entry{{p.first.ID, "11"}, {p.second.ID, "12"}})
	b.archived(nurse, []Entry{{p.asleep.ID, "21"}})
	for i, m := range []*Message{p.first, p.second} {
		id := []string{"11", "12"}[i]
		b.receive(Receipt{ID: m.ID, Account: juliet, Device: juliet + "/a", Session: 1, Via: Direct, StanzaID: id})
		b.receive(Receipt{ID: m.ID, Account: juliet, Device: juliet + "/b", Session: 1, Via: Received, StanzaID: id})
		b.receive(Receipt{ID: m.ID, Account: romeo, Device: romeo + "/b", Session: 1, Via: Sent, StanzaID: ""})
	}
	b.receive(Receipt{ID: p.asleep.ID, Account: nurse, Device: nurse + "/a", Session: 1, Via: Direct, StanzaID: "21"})
	return p
}

// TestCheck spoils a good round in each way that the checker must find.
func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(p play)
		want  Report // without Sent, Accepted and Faults
	}{
		{"nothing", func(play) {}, Report{}},
		{"an accepted one is in no archive", func(p play) { p.accept(p.lost, "ping") }, Report{Lost: 1}},
		{"an accepted one is missing at the recipient", func(p play) { p.archives[juliet] = p.archives[juliet][:1] }, Report{Lost: 1}},
		{"an accepted one is missing at the sender", func(p play) { p.archives[romeo] = p.archives[romeo][1:] }, Report{Lost: 1}},
		{"half an archive", func(p play) { p.archived(juliet, []Entry{{p.lost.ID, "13"}}) }, Report{Half: 1}},
		{"both archives without an acknowledgement", func(p play) {
			p.archived(juliet, []Entry{{p.lost.ID, "13"}})
			p.archived(romeo, []Entry{{p.lost.ID, "4"}})
		}, Report{}},
		{"delivered and in no archive", func(p play) {
			p.receive(Receipt{ID: p.lost.ID, Account: juliet, Device: juliet + "/a", Session: 1, Via: Direct, StanzaID: "13"})
		}, Report{Half: 1}},
		{"refused, and kept", func(p play) {
			p.refuse(p.lost.ID, "wait resource-constraint")
			p.archived(juliet, []Entry{{p.lost.ID, "13"}})
		}, Report{Refused: 1, Half: 1}},
		{"refused for good, and kept by both", func(p play) {
			p.refuse(p.first.ID, "cancel service-unavailable")
		}, Report{Refused: 1, Half: 1}},
		{"refused for now, and kept by both", func(p play) { p.refuse(p.first.ID, "wait internal-server-error") }, Report{Refused: 1}},
		{"refused", func(p play) { p.accept(p.lost, "ack"); p.refuse(p.lost.ID, "wait resource-constraint") }, Report{Refused: 1}},
		{"in an archive twice", func(p play) { p.archived(juliet, []Entry{{p.second.ID, "13"}}) }, Report{Duplicates: 1}},
		{"came twice with the same id", func(p play) {
			p.receive(Receipt{ID: p.second.ID, Account: juliet, Device: juliet + "/a", Session: 1, Via: Direct, StanzaID: "12"})
		}, Report{Repeats: 1}},
		{"came twice with another id", func(p play) {
			p.receive(Receipt{ID: p.second.ID, Account: juliet, Device: juliet + "/a", Session: 1, Via: Direct, StanzaID: "13"})
		}, Report{Duplicates: 1}},
		{"came twice without an id", func(p play) {
			for range 2 {
				p.receive(Receipt{ID: p.second.ID, Account: juliet, Device: juliet + "/c", Session: 1, Via: Direct})
			}
		}, Report{Duplicates: 1}},
		{"an id that the archive does not have", func(p play) {
			p.receive(Receipt{ID: p.second.ID, Account: juliet, Device: juliet + "/c", Session: 1, Via: Direct, StanzaID: "99"})
		}, Report{Duplicates: 1}},
		{"an archive out of order", func(p play) {
			a := p.archives[juliet]
			a[0], a[1] = a[1], a[0]
		}, Report{Reordered: 1}},
		{"delivered out of order", func(p play) {
			p.receive(Receipt{ID: p.second.ID, Account: juliet, Device: juliet + "/c", Session: 1, Via: Direct, StanzaID: "12"})
			p.receive(Receipt{ID: p.first.ID, Account: juliet, Device: juliet + "/c", Session: 1, Via: Direct, StanzaID: "11"})
		}, Report{Reordered: 1}},
		{"from a store, behind a later one", func(p play) {
			p.receive(Receipt{ID: p.second.ID, Account: juliet, Device: juliet + "/c", Session: 1, Via: Direct, StanzaID: "12"})
			p.receive(Receipt{ID: p.first.ID, Account: juliet, Device: juliet + "/c", Session: 1, Via: Direct, StanzaID: "11", Delayed: true})
		}, Report{Reordered: 1}},
		{"what was for another device, behind a later one", func(p play) {
			p.first.Device = juliet + "/a"
			p.receive(Receipt{ID: p.second.ID, Account: juliet, Device: juliet + "/c", Session: 1, Via: Direct, StanzaID: "12"})
			p.receive(Receipt{ID: p.first.ID, Account: juliet, Device: juliet + "/c", Session: 1, Via: Direct, StanzaID: "11", Delayed: true})
		}, Report{}},
		{"what another session held, behind a later one", func(p play) {
			p.receive(Receipt{ID: p.second.ID, Account: juliet, Device: juliet + "/c", Session: 1, Via: Received, StanzaID: "12"})
			p.receive(Receipt{ID: p.first.ID, Account: juliet, Device: juliet + "/c", Session: 1, Via: Direct, StanzaID: "11", Delayed: true, Moved: true})
		}, Report{}},
		{"what another session held, out of order", func(p play) {
			p.receive(Receipt{ID: p.second.ID, Account: juliet, Device: juliet + "/c", Session: 1, Via: Direct, StanzaID: "12", Delayed: true, Moved: true})
			p.receive(Receipt{ID: p.first.ID, Account: juliet, Device: juliet + "/c", Session: 1, Via: Direct, StanzaID: "11", Delayed: true, Moved: true})
		}, Report{Reordered: 1}},
		{"an earlier one again, behind a later one", func(p play) {
			p.receive(Receipt{ID: p.first.ID, Account: juliet, Device: juliet + "/a", Session: 1, Via: Direct, StanzaID: "11"})
		}, Report{Repeats: 1}},
		{"to one whom it does not concern", func(p play) {
			p.receive(Receipt{ID: p.first.ID, Account: nurse, Device: nurse + "/a", Session: 1, Via: Direct, StanzaID: "22"})
		}, Report{Strange: 1, Reordered: 1}},
		{"in a third archive", func(p play) { p.archived(nurse, []Entry{{p.first.ID, "22"}}) }, Report{Strange: 1, Reordered: 1}},
		{"never sent", func(p play) {
			p.receive(Receipt{ID: "hello", Account: nurse, Device: nurse + "/a", Session: 1, Via: Direct, StanzaID: "22"})
		}, Report{Strange: 1}},
		{"of an earlier round, with its id", func(p play) {
			p.receive(Receipt{ID: "r0 x 1", Account: nurse, Device: nurse + "/a", Session: 1, Via: Direct, StanzaID: "2"})
		}, Report{Repeats: 1}},
		{"of an earlier round, without an id", func(p play) {
			p.receive(Receipt{ID: "r0 x 1", Account: nurse, Device: nurse + "/a", Session: 1, Via: Direct})
		}, Report{Strange: 1}},
	} {
		p := goodRound()
		c.spoil(p)
		got := p.Check(true)
		if bad := got.Lost+got.Duplicates+got.Reordered+got.Half+got.Strange > 0; bad != got.Bad() {
			t.Errorf("%s: %d faults are described: %v", c.name, len(got.Faults), &got)
		}
		c.want.Sent, c.want.Accepted = got.Sent, got.Accepted
		if text := strings.Join(got.Faults, "\n"); got.String() != c.want.String() {
			t.Errorf("%s:\n got %v\nwant %v\n%s", c.name, &got, &c.want, text)
		}
	}
}

// TestCheckWithoutArchive asks for what was kept for one who was offline.
func TestCheckWithoutArchive(t *testing.T) {
	p := goodRound()
	if r := p.Check(false); r.Bad() {
		t.Errorf("a good round: %v", &r)
	}
	p.receipts = p.receipts[:len(p.receipts)-1]
	if r := p.Check(false); r.Lost != 1 {
		t.Errorf("what was kept for the nurse did not come: %v", &r)
	}
}
