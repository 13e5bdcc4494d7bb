package federation

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Report is what has become of the messages that were accepted.
type Report struct {
	Accepted, Delivered int
	// Bounced counts those that came back, by type and condition of the error.
	Bounced map[string]int
	// Lost are neither delivered nor back; Both are both; Twice came or came back more than once; Disordered came behind a later one of their sender.
	Lost, Both, Twice, Disordered []string
}

// Bad tells whether a message is lost, came twice, or was delivered and came back.
func (r *Report) Bad() bool { return len(r.Lost)+len(r.Both)+len(r.Twice) > 0 }

// Returned is how many came back.
func (r *Report) Returned() (n int) {
	for _, k := range r.Bounced {
		n += k
	}
	return n
}

func (r *Report) String() string {
	text := fmt.Sprintf("%d accepted, %d delivered, %d back %v; lost %d, both %d, twice %d, disordered %d", r.Accepted, r.Delivered, r.Returned(), r.Bounced, len(r.Lost), len(r.Both), len(r.Twice), len(r.Disordered))
	for what, ids := range map[string][]string{"lost": r.Lost, "both": r.Both, "twice": r.Twice, "disordered": r.Disordered} {
		if len(ids) > 0 {
			text += fmt.Sprintf("; %s: %s", what, strings.Join(ids[:min(len(ids), 5)], ", "))
		}
	}
	return text
}

// Settle waits until all that was accepted has come to somebody, at most so long, and tells what has become of it.
func (p *Pair) Settle(within time.Duration) *Report {
	for deadline := time.Now().Add(within); ; time.Sleep(50 * time.Millisecond) {
		if r := p.report(); len(r.Lost) == 0 || time.Now().After(deadline) {
			return r
		}
	}
}

// SettleArchived is Settle where streams to users may have ended before what came for them was written there: what the archive of a recipient has
// is his, too.
func (p *Pair) SettleArchived(ctx context.Context, within time.Duration) (*Report, error) {
	for deadline := time.Now().Add(within); ; time.Sleep(time.Second) {
		for _, s := range p.Sides {
			for _, u := range s.Users {
				if err := u.readArchive(ctx); err != nil {
					return nil, err
				}
			}
		}
		if r := p.report(); len(r.Lost) == 0 || time.Now().After(deadline) {
			return r, nil
		}
	}
}

func (p *Pair) report() *Report {
	r := &Report{Bounced: make(map[string]int)}
	for i, s := range p.Sides {
		for k, u := range s.Users {
			u.tell(r, p.Sides[1-i].Users[k])
		}
	}
	return r
}

// tell adds what has become of the messages of a user.
func (u *User) tell(r *Report, to *User) {
	u.mu.Lock()
	defer u.mu.Unlock()
	to.mu.Lock()
	defer to.mu.Unlock()
	for _, id := range u.accepted {
		r.Accepted++
		n, back := max(to.delivered[id], to.archived[id]), u.bounced[id]
		switch {
		case n == 0 && len(back) == 0:
			r.Lost = append(r.Lost, id)
		case n > 0 && len(back) > 0:
			r.Both = append(r.Both, id)
		case n+len(back) > 1:
			r.Twice = append(r.Twice, fmt.Sprintf("%s (%d delivered, %d archived)", id, to.delivered[id], to.archived[id]))
		}
		if n > 0 {
			r.Delivered++
		}
		for _, why := range back {
			r.Bounced[why]++
		}
	}
	r.Disordered = append(r.Disordered, to.disordered...)
}
