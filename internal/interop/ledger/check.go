package ledger

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Report is what Check found. Each message counts at most once in each figure.
type Report struct {
	Sent     int // messages
	Accepted int // of which the server took over so many
	Refused  int // came back with an error
	// Lost were accepted and are missing in an archive, or never came where there is none.
	Lost int
	// Duplicates are in an archive more than once, or came twice to a device that cannot tell that they are the same.
	Duplicates int
	// Reordered stand before an earlier one of the same device, in an archive or as they came.
	Reordered int
	// Half are in one archive and not in the other though never accepted, or were delivered without being in the archive.
	Half int
	// Repeats came again to a device with the same stanza-id, as they may after a connection that broke.
	Repeats int
	// Strange came and were never sent, or belong to an earlier round that was settled.
	Strange int
	// Faults describe the five figures above.
	Faults []string
}

// Add adds the figures of another round. It keeps the first faults alone.
func (r *Report) Add(o Report) {
	r.Sent += o.Sent
	r.Accepted += o.Accepted
	r.Refused += o.Refused
	r.Lost += o.Lost
	r.Duplicates += o.Duplicates
	r.Reordered += o.Reordered
	r.Half += o.Half
	r.Repeats += o.Repeats
	r.Strange += o.Strange
	r.Faults = append(r.Faults, o.Faults[:min(len(o.Faults), max(0, 40-len(r.Faults)))]...)
}

// Bad tells whether a promise was broken.
func (r *Report) Bad() bool { return len(r.Faults) > 0 }

func (r *Report) String() string {
	return fmt.Sprintf("%d sent, %d accepted, %d refused; lost %d, duplicate %d, reordered %d, half %d, strange %d (%d came again with the same stanza-id)",
		r.Sent, r.Accepted, r.Refused, r.Lost, r.Duplicates, r.Reordered, r.Half, r.Strange, r.Repeats)
}

// checker compares one round.
type checker struct {
	b       *Book
	archive bool
	r       Report
	// By id of the message: places in the archives, and receipts by device.
	places   map[string]map[string][]string
	receipts map[string]map[string][]Receipt
}

// Check compares what was promised in this round with what is there. archive says whether the server archives: then
// every archive was read.
func (b *Book) Check(archive bool) Report {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := &checker{b: b, archive: archive, places: make(map[string]map[string][]string), receipts: make(map[string]map[string][]Receipt)}
	for _, f := range b.faults {
		c.say(&c.r.Strange, "%s", f)
	}
	c.index()
	for _, m := range b.order {
		c.message(m)
	}
	for _, account := range slices.Sorted(maps.Keys(b.archives)) {
		c.archiveOrder(account)
	}
	c.liveOrder()
	return c.r
}

func (c *checker) say(count *int, format string, args ...any) {
	*count++
	c.r.Faults = append(c.r.Faults, fmt.Sprintf(format, args...))
}

func (c *checker) index() {
	for account, entries := range c.b.archives {
		for _, e := range entries {
			if c.b.messages[e.ID] == nil {
				c.say(&c.r.Strange, "%s: the archive has %q under %s, which was not sent in this round", account, e.ID, e.ArchiveID)
				continue
			}
			p := c.places[e.ID]
			if p == nil {
				p = make(map[string][]string)
				c.places[e.ID] = p
			}
			p[account] = append(p[account], e.ArchiveID)
		}
	}
	for _, r := range c.b.receipts {
		if c.b.messages[r.ID] == nil {
			c.unknown(r)
			continue
		}
		d := c.receipts[r.ID]
		if d == nil {
			d = make(map[string][]Receipt)
			c.receipts[r.ID] = d
		}
		d[r.Device] = append(d[r.Device], r)
	}
}

// unknown judges a copy of a message that was not sent in this round.
func (c *checker) unknown(r Receipt) {
	if n := roundOf(r.ID); n >= 0 && n < c.b.round && r.StanzaID != "" && c.archive {
		c.r.Repeats++ // its archive was read in that round, so the device can tell
		return
	}
	c.say(&c.r.Strange, "%s: %q came (%s), which was not sent in this round", r.Device, r.ID, r.Via)
}

func (c *checker) message(m *Message) {
	c.r.Sent++
	if m.accepted() {
		c.r.Accepted++
	}
	if m.Refused != "" {
		c.r.Refused++
	}
	if c.archive {
		c.inArchives(m)
	} else if came := c.came(m); m.accepted() && m.Offline && came == 0 {
		c.say(&c.r.Lost, "%q to %s was accepted (%s) and never came", m.ID, m.To, m.By)
	}
	c.copies(m)
}

// came counts the copies that the recipient's devices got.
func (c *checker) came(m *Message) int {
	n := 0
	for _, rs := range c.receipts[m.ID] {
		for _, r := range rs {
			if r.Account == m.To && r.Via != Sent {
				n++
			}
		}
	}
	return n
}

func (c *checker) inArchives(m *Message) {
	from, to := len(c.places[m.ID][m.From]), len(c.places[m.ID][m.To])
	for account, ids := range c.places[m.ID] {
		if account != m.From && account != m.To {
			c.say(&c.r.Strange, "%q from %s to %s is in the archive of %s", m.ID, m.From, m.To, account)
		}
		if len(ids) > 1 {
			c.say(&c.r.Duplicates, "%q is in the archive of %s %d times: %s", m.ID, account, len(ids), strings.Join(ids, ", "))
			break
		}
	}
	came := c.came(m)
	switch {
	case m.accepted() && (from == 0 || to == 0):
		where := "the archives"
		if from+to > 0 {
			where = "one of the archives"
		}
		c.say(&c.r.Lost, "%q from %s to %s was accepted (%s) and is missing in %s (sender %d, recipient %d); %d copies had come", m.ID, m.From, m.To, m.By, where, from, to, came)
	case (from == 0) != (to == 0):
		c.say(&c.r.Half, "%q was never accepted and is in one archive (sender %d, recipient %d)", m.ID, from, to)
	case m.Refused != "" && !strings.HasPrefix(m.Refused, "wait ") && from+to > 0:
		c.say(&c.r.Half, "%q came back with %s, which is for good, and is in the archives (sender %d, recipient %d)", m.ID, m.Refused, from, to)
	case to == 0 && came > 0:
		c.say(&c.r.Half, "%q was delivered and is in no archive", m.ID)
	}
}

// copies asks that a device can tell the copies of one message that it got.
func (c *checker) copies(m *Message) {
	for _, device := range slices.Sorted(maps.Keys(c.receipts[m.ID])) {
		rs := c.receipts[m.ID][device]
		if rs[0].Account == m.From && m.From != m.To {
			if rs[0].Via != Sent {
				c.say(&c.r.Strange, "%q came to %s, which belongs to its sender", m.ID, device)
			}
			continue
		}
		if rs[0].Account != m.To {
			c.say(&c.r.Strange, "%q came to %s, whom it does not concern", m.ID, device)
			continue
		}
		id := rs[0].StanzaID
		same := true
		for _, r := range rs {
			same = same && r.StanzaID == id
		}
		if len(rs) > 1 {
			if !same || id == "" {
				c.say(&c.r.Duplicates, "%q came to %s %d times, and nothing says that it is the same: %s", m.ID, device, len(rs), ways(rs))
				continue
			}
			c.r.Repeats++
		}
		if place := c.places[m.ID][m.To]; c.archive && len(place) == 1 && id != "" && id != place[0] {
			c.say(&c.r.Duplicates, "%q came to %s with the stanza-id %s and is in the archive as %s", m.ID, device, id, place[0])
		}
	}
}

func ways(rs []Receipt) string {
	var out []string
	for _, r := range rs {
		out = append(out, fmt.Sprintf("%s in session %d with stanza-id %q", r.Via, r.Session, r.StanzaID))
	}
	return strings.Join(out, "; ")
}

// archiveOrder asks that an archive has the messages of each device in order.
func (c *checker) archiveOrder(account string) {
	last := make(map[string]*Message) // by the device that sent
	for _, e := range c.b.archives[account] {
		m := c.b.messages[e.ID]
		if m == nil {
			continue
		}
		if before := last[m.Stream]; before != nil && before.Seq > m.Seq {
			c.say(&c.r.Reordered, "%s: the archive has %q behind %q", account, m.ID, before.ID)
			continue
		}
		last[m.Stream] = m
	}
}

// liveOrder asks that each session got what one device sent in order, from wherever it came, not counting what the device had
// already. What comes late, with a notation of delay, because it was for another device of the account, whose session has ended,
// was not on its way to this one; nor was what went to another session alone, before this one was there, and came here behind newer
// ones when that had ended.
func (c *checker) liveOrder() {
	type way struct {
		device, from string
		session      int
	}
	type latest struct {
		*Message
		live bool
	}
	last := make(map[way]latest)
	had := make(map[string]bool)
	for _, r := range c.b.receipts {
		m := c.b.messages[r.ID]
		if m == nil || had[r.Device+"\x00"+r.ID] || r.Delayed && m.Device != "" && m.Device != r.Device {
			continue
		}
		had[r.Device+"\x00"+r.ID] = true
		w := way{r.Device, m.Stream, r.Session}
		if before := last[w]; before.Message != nil && before.Seq > m.Seq {
			if !r.Moved || !before.live {
				c.say(&c.r.Reordered, "%s: %q came behind %q; of the first: %s; of the second: %s", r.Device, m.ID, before.ID, c.history(m), c.history(before.Message))
			}
			continue
		}
		last[w] = latest{m, !r.Delayed}
	}
}

// history tells for whom a message was, and which devices got it, in order.
func (c *checker) history(m *Message) string {
	text := "for " + cmp.Or(m.Device, m.To)
	for _, r := range c.b.receipts {
		if r.ID == m.ID {
			text += fmt.Sprintf(", %s got it %s in session %d at %s", r.Device, r.Via, r.Session, r.At.Format("15:04:05.000"))
			if r.Delayed {
				text += ", delayed"
			}
		}
	}
	return text
}

// Lines returns the first n of some lines, each on its own, and tells how many are left out.
func Lines(all []string, n int) string {
	s := strings.Join(all[:min(n, len(all))], "\n")
	if len(all) > n {
		s += fmt.Sprintf("\n… and %d more", len(all)-n)
	}
	return s
}
