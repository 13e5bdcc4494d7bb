package load

import (
	"bytes"
	"context"
	"fmt"
	"time"
)

// groupSize is a person and 20 contacts, each of whom has all others as contacts.
const groupSize = 21

// presence has Groups of people change their presence Rounds times, and divides
// by what arrives at contacts. The copy that a server may send to the sender's
// own session is work too, but not counted.
func presence(ctx context.Context, s *Running, o Options) (Result, error) {
	n := o.Groups * groupSize
	conns, err := loginAll(ctx, s, n, o, func(i int) int { return i })
	if err != nil {
		return Result{}, err
	}
	defer closeAll(conns)
	for _, c := range conns {
		if err := c.c.SetDeadline(time.Now().Add(5 * time.Minute)); err != nil {
			return Result{}, err
		}
	}
	// Everyone asks everyone, then everyone approves everyone (RFC 6121 §3.1).
	for _, kind := range []string{"subscribe", "subscribed"} {
		if err := each(ctx, n, n, func(_ context.Context, i int) error {
			return conns[i].subscriptions(s, i, kind)
		}); err != nil {
			return Result{}, fmt.Errorf("%s: %w", kind, err)
		}
	}
	if err := quiet(ctx, s); err != nil {
		return Result{}, err
	}
	span, err := begin(s, 0)
	if err != nil {
		return Result{}, err
	}
	if err := each(ctx, n, n, func(_ context.Context, i int) error { return conns[i].change(o.Rounds) }); err != nil {
		return Result{}, err
	}
	return span.end(s, int64(n)*int64(o.Rounds)*(groupSize-1), time.Microsecond)
}

// subscriptions sends presence of kind to the others of the group of account i
// and waits until the same has come from each of them.
func (c *Conn) subscriptions(s *Running, i int, kind string) error {
	var out bytes.Buffer
	first := i / groupSize * groupSize
	for j := first; j < first+groupSize; j++ {
		if j != i {
			fmt.Fprintf(&out, "<presence to='%s' type='%s'/>", s.Bare(j), kind)
		}
	}
	if _, err := c.c.Write(out.Bytes()); err != nil {
		return err
	}
	from := make(map[string]bool)
	for len(from) < groupSize-1 {
		el, err := c.element()
		if err != nil {
			return fmt.Errorf("%s has %d of %d: %w", c.JID, len(from), groupSize-1, err)
		}
		if bytes.HasPrefix(el, []byte("<presence")) && attribute(el, "type") == kind {
			from[attribute(el, "from")] = true
		}
	}
	return nil
}

// change sends rounds changes of presence, each once the one before has come
// from all 20 contacts.
func (c *Conn) change(rounds int) error {
	seen := make(map[string]int)
	for r := range rounds {
		status := fmt.Sprintf("<status>round %06d</status>", r)
		if err := c.write("<presence><show>away</show>" + status + "</presence>"); err != nil {
			return err
		}
		for seen[status] < groupSize-1 {
			el, err := c.element()
			if err != nil {
				return fmt.Errorf("%s, round %d, has %d of %d: %w", c.JID, r, seen[status], groupSize-1, err)
			}
			at := bytes.Index(el, []byte("<status>round "))
			if at < 0 || !bytes.HasPrefix(el, []byte("<presence")) || attribute(el, "from") == c.JID || len(el) < at+len(status) {
				continue
			}
			seen[string(el[at:at+len(status)])]++
		}
		delete(seen, status)
	}
	return nil
}
