package route

import (
	"context"
	"sync"

	"sabir/mod"
)

// What a service is sent is durable when the service has written it, in a transaction of its own. So how far its sender has got must
// not be on disk before: after a sudden end of the server the client would not send the message again, and nobody had it. Where
// all messages of a batch are for one address, the service writes the count with the last of them, in one transaction: a sender who resumes
// repeats none of them (one who cannot resume may, as anywhere). Otherwise it is written behind them, and what was sent within that
// moment may be there twice.

// debt is the progress of a batch in which there are messages for services.
type debt struct {
	mu       sync.Mutex
	progress Progress // nil where it is asked for when all is written
	written  bool     // by the service
	kept     bool     // and committed
	over     bool
}

// write writes the progress for the service, within its transaction.
func (d *debt) write(ctx context.Context, tx mod.Tx) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over { // nobody has waited for it
		return nil
	}
	d.written = true
	return d.progress.Write(ctx, tx)
}

// paid notes that the service has committed the message with which it had to write.
func (d *debt) paid() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kept = d.written
}

// owe returns what a batch owes behind its commit, or nil where the commit itself has it: where nothing is for a service, or nobody
// counts.
func (b *Batch) owe(js []journey) *debt {
	services, last := 0, -1
	for i := range js {
		if j := &js[i]; j.service != nil && !j.ended {
			if last >= 0 && js[last].in.Stanza.To.Bare() != j.in.Stanza.To.Bare() {
				services = -len(js)
			}
			services++
			last = i
		}
	}
	if last < 0 || b.count == nil && b.adv == nil {
		return nil
	}
	d := &debt{}
	if services != len(js) {
		return d
	}
	if d.progress = b.progress(); d.progress == nil {
		return nil
	}
	js[last].debt = d
	return d
}

// settleDebt ends a debt when all services have written what they were sent.
func (b *Batch) settleDebt(ctx context.Context, d *debt) {
	if d == nil {
		return
	}
	d.mu.Lock()
	d.over = true
	d.mu.Unlock()
	if d.progress != nil {
		d.progress.Done(d.kept)
		return
	}
	p := b.progress()
	if p == nil {
		return
	}
	err := b.r.o.DB.Write(ctx, func(tx mod.Tx) error { return p.Write(ctx, tx) })
	if p.Done(err == nil); err != nil {
		b.r.o.Log.Error("how far a sender has got was not written: what it sends again comes twice", "error", err)
	}
}
