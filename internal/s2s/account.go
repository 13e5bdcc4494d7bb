package s2s

import (
	"errors"
	"slices"
	"time"

	"sabir/xmpp/sm"
)

// account is what is known of what was sent on a stream and may not have arrived. The peer counts (XEP-0198), or the answer to a ping says
// that it has handled all before (RFC 6120 §10.1).
type account struct {
	unacked sm.Unacked[*item] // in the order of the stream; nil for what was answered meanwhile
	// uncounted is how many were sent before the peer began to count. It handles them before what it counts.
	uncounted uint32
	asks      []ask     // that wait for their answer, in the order of the stream
	since     time.Time // when the first of them was sent, or the answer before it came
	// unsure says that the server has ended suddenly since something was sent: the peer tells how much of it has come. loose are those messages.
	unsure bool
	loose  []numbered
	notes  []note

	answers bool // the peer has answered a ping on this connection, so it is dead where it does not
	plain   bool // it does not answer: what was written has left
}

// ask is a question how far the peer has got: <r/>, or a ping where it does not count.
type ask struct {
	id string // of the ping; "" for <r/>
	n  uint32 // the number of the last stanza before it
}

// numbered is an item with its number on the stream.
type numbered struct {
	n uint32
	i *item
}

// note is what is on disk of one write: see record.
type note struct {
	id   int64
	last uint32 // the number of its last stanza
}

// owed returns how many items may not have arrived.
func (a *account) owed() int {
	n := len(a.loose)
	a.unacked.Each(func(i **item) {
		if *i != nil {
			n++
		}
	})
	return n
}

// of returns how many of them are of a link.
func (a *account) of(l *link) int {
	n := 0
	for _, k := range a.loose {
		if k.i.l == l {
			n++
		}
	}
	a.unacked.Each(func(i **item) {
		if *i != nil && (*i).l == l {
			n++
		}
	})
	return n
}

// sent notes items as sent, and returns the number of the first.
func (a *account) sent(batch []*item) (first uint32) {
	first = a.unacked.Count() + 1
	for _, i := range batch {
		a.unacked.Sent(i)
	}
	return first
}

// settle takes the word of the peer that it has handled h stanzas. It returns what has arrived, and the notes that nobody needs any
// more. The error is a *sm.TooHigh.
func (a *account) settle(h uint32) (done []*item, over []int64, err error) {
	if a.unsure {
		var rest []*item
		for _, k := range a.loose {
			if int32(h-k.n) >= 0 { // modulo 2^32
				done = append(done, k.i)
			} else {
				rest = append(rest, k.i)
			}
		}
		a.unsure, a.loose = false, nil
		a.unacked.Restore(h)
		a.sent(rest)
	} else {
		err := a.unacked.Ack(h+a.uncounted, func(i *item) {
			if i != nil {
				done = append(done, i)
			}
		})
		if high := (*sm.TooHigh)(nil); errors.As(err, &high) {
			return nil, nil, &sm.TooHigh{H: h, Sent: high.Sent - a.uncounted}
		}
	}
	a.notes = slices.DeleteFunc(a.notes, func(n note) bool {
		if int32(a.unacked.Acked()-n.last) < 0 {
			return false
		}
		over = append(over, n.id)
		return true
	})
	return done, over, nil
}

// ask notes a question behind the stanza of number n.
func (a *account) ask(id string, n uint32) {
	if len(a.asks) == 0 {
		a.since = time.Now()
	}
	a.asks = append(a.asks, ask{id, n})
}

// answered notes an answer to the first question of an id, and with it to all before and to those about what has arrived.
func (a *account) answered(id string) {
	a.since = time.Now()
	n := slices.IndexFunc(a.asks, func(q ask) bool { return q.id == id }) + 1
	for n < len(a.asks) && int32(a.unacked.Acked()-a.asks[n].n) >= 0 { // modulo 2^32
		n++
	}
	a.asks = slices.Delete(a.asks, 0, n)
}

// pong takes an answer to the ping of an id: what was sent before has arrived. ok is false where it is no ping of the stream's.
func (a *account) pong(id string) (done []*item, ok bool) {
	k := slices.IndexFunc(a.asks, func(q ask) bool { return q.id == id && id != "" })
	if k < 0 {
		return nil, false
	}
	done, _, err := a.settle(a.asks[k].n - a.uncounted)
	a.answers = true
	a.answered(id)
	return done, err == nil
}

// take removes all that may not have arrived, and returns it in order.
func (a *account) take() []*item {
	var all []*item
	for _, k := range a.loose {
		all = append(all, k.i)
	}
	a.loose = nil
	for _, i := range a.unacked.Take() {
		if i != nil {
			all = append(all, i)
		}
	}
	a.asks = nil
	return all
}

// withdraw takes out what is meant. The numbers of the others stay as they are.
func (a *account) withdraw(meant func(*item) bool) []*item {
	var out []*item
	a.loose = slices.DeleteFunc(a.loose, func(k numbered) bool {
		if !meant(k.i) {
			return false
		}
		out = append(out, k.i)
		return true
	})
	a.unacked.Each(func(i **item) {
		if *i != nil && meant(*i) {
			out = append(out, *i)
			*i = nil
		}
	})
	return out
}

// oldest returns when the first of what may not have arrived expires; ok is false where there is none.
func (a *account) oldest() (expires time.Time, ok bool) {
	see := func(i *item) {
		if i != nil && (!ok || i.expires.Before(expires)) {
			expires, ok = i.expires, true
		}
	}
	for _, k := range a.loose {
		see(k.i)
	}
	a.unacked.Each(func(i **item) { see(*i) })
	return expires, ok
}
