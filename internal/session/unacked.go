package session

import (
	"bytes"
	"slices"
	"time"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/delay"
	"sabir/xmpp/sm"
	"sabir/xmpp/stanza"
)

// Track begins to keep what is sent until it is acknowledged (XEP-0198#acking). limit replaces that of the queue. With
// parks the queue stays open when its stream fails or is too slow, so that the session can be resumed on another.
//
// reply is the answer to the client, which counts from there: stanzas queued before come before it and do not count.
// Where reply is "" the answer is sent by other means before anything that waits, all of which counts (see Hold).
func (q *Queue) Track(reply string, limit int, parks bool) {
	q.mu.Lock()
	if reply == "" {
		for i := range q.items {
			q.items[i].tracked = q.items[i].s != nil
		}
	} else if !q.ended && q.out != nil {
		q.add(item{raw: reply, size: len(reply)})
	}
	q.track, q.limit, q.parks = true, limit, parks
	start := len(q.items) > 0 && q.wake()
	q.mu.Unlock()
	if start {
		go q.Start()
	}
}

// Ack takes an acknowledgement of h stanzas. The error is a *sm.TooHigh.
func (q *Queue) Ack(h uint32) error {
	q.mu.Lock()
	before := q.unacked.Len()
	if err := q.ack(h); err != nil {
		q.mu.Unlock()
		return err
	}
	q.asked = time.Time{}
	start := false
	if left := q.unacked.Len(); left > 0 && left < before && q.out != nil && len(q.items) == 0 && !q.ended {
		// What was sent since the request is asked for anew, as long as the client gets on.
		q.asked = time.Now()
		q.add(item{raw: sm.Request, size: len(sm.Request)})
		start = q.wake()
	}
	q.mu.Unlock()
	if start {
		go q.Start()
	}
	return nil
}

// ack is Ack with q.mu held.
func (q *Queue) ack(h uint32) error {
	return q.unacked.Ack(h, func(it item) {
		q.note(&it, mod.TraceAcked)
		q.lose(it.weight())
		if it.row > 0 {
			q.rows.mark(it.row)
		}
	})
}

// Ask asks the client what it has got, as a sign of life (XEP-0198#scenarios-efficient). It returns false where the queue
// does not track.
func (q *Queue) Ask(now time.Time) bool {
	q.mu.Lock()
	if !q.track || q.out == nil {
		q.mu.Unlock()
		return false
	}
	q.asked = now
	q.add(item{raw: sm.Request, size: len(sm.Request)})
	start := q.wake()
	q.mu.Unlock()
	if start {
		go q.Start()
	}
	return true
}

// Asked returns when the client was asked what it has got and has not answered since, or the zero time.
func (q *Queue) Asked() time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.asked
}

// Covers tells whether a session can be resumed by a client that has got h stanzas. An error is a *sm.TooHigh; ok is false
// where what the client wants again is not there any more.
func (q *Queue) Covers(h uint32) (ok bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.loose {
		return true, nil
	}
	_, back, err := q.unacked.Check(h)
	return !back && err == nil, err
}

// Rewind makes a queue without an outlet ready for the next: the client has got h stanzas, and the others wait again, in
// order (XEP-0198#resumption). Covers was asked before.
func (q *Queue) Rewind(h uint32) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.loose {
		q.unacked.Restore(h)
		q.loose = false
	}
	if err := q.ack(h); err != nil {
		return err
	}
	q.items = append(q.unacked.Take(), q.items...)
	for i := range q.items {
		q.items[i].late = true
	}
	return nil
}

// appendDelay puts into a message at the end of b when it was queued (XEP-0203), unless it says so already. It is not put
// into the stanza: others have that, too.
func appendDelay(b []byte, it *item) []byte {
	const end = "</message>"
	if it.s.Kind != stanza.Message || it.s.Has(delay.NS, "delay") || it.at.IsZero() || !bytes.HasSuffix(b, []byte(end)) {
		return b
	}
	d := delay.Delay{Stamp: it.at}
	if to, err := jid.Parse(it.to); err == nil {
		d.From = to.DomainJID()
	}
	return append(d.Element().Append(b[:len(b)-len(end)], stanza.NSClient), end...)
}

// Restore fills a queue that was not used yet with what a session held before the server was restarted, in the order of the
// journal, of which the client had acknowledged acked; where loose is true, that is not known any more and the client
// tells. last is the highest number that the journal has. The queue tracks, and has no outlet.
//
// With loose what was taken in first goes first: messages that a store was handing over have later numbers than those that came meanwhile,
// and were to go before them (CatchUp).
//
// With loose the journal has also what was acknowledged shortly before and is not deleted yet: of a busy session more than its limit. So what is
// restored comes on top of that, or the session would end before its client could come back.
func (q *Queue) Restore(list []Kept, last int64, acked uint32, loose bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.unacked.Restore(acked)
	q.loose, q.track, q.parks = loose, true, true
	for _, k := range list {
		if q.rows.next == 0 {
			q.rows.low = k.Row - 1
		}
		q.rows.skip(k.Row - 1)
		q.rows.next = k.Row
		it := item{s: k.Stanza, to: k.To, size: k.Stanza.Wire().Size() + len(k.To) + overhead, at: k.At, row: k.Row, tracked: true, late: true}
		q.gain(it.weight())
		if k.Sent && !loose {
			q.unacked.Sent(it)
		} else {
			q.items = append(q.items, it)
		}
	}
	q.rows.skip(last)
	if loose {
		slices.SortStableFunc(q.items, func(a, b item) int { return a.at.Compare(b.at) })
		q.limit += q.load.bytes
	}
}

// Freeze ends the queue and returns what it holds, as Unsent does, and how many stanzas the client has acknowledged.
func (q *Queue) Freeze() (list []Kept, acked uint32) {
	list = q.Unsent()
	q.mu.Lock()
	defer q.mu.Unlock()
	return list, q.unacked.Acked()
}

// Kept is a stanza that a queue holds.
type Kept struct {
	Stanza *stanza.Stanza
	To     string
	// At is when the server took it in, or it was queued: of messages, and of all where the queue tracks.
	At time.Time
	// Row is its number in the journal, or 0.
	Row int64
	// Sent says that it was written to a stream.
	Sent bool
}

func (it *item) kept(sent bool) Kept {
	return Kept{Stanza: it.s, To: it.to, At: it.at, Row: it.row, Sent: sent}
}
