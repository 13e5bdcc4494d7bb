package ledger

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"sabir/xmpp/stanza"
)

// Message is a message as its sender knows it.
type Message struct {
	ID       string // of the stanza, its origin-id and its body
	Round    int
	From, To string // bare JIDs
	Device   string // of the recipient, to whose resource it was sent; "" where it was sent to the account
	Stream   string // the device that sent it
	Seq      int    // its number among the messages of that device
	Offline  bool   // its recipient is offline while it is sent
	Sent     time.Time
	// Accepted is when the server took it over, zero where it never said so; By tells how: "ack", "ping" or "resumed".
	Accepted time.Time
	By       string
	// Refused is the error that came back, as type and condition.
	Refused string
}

// accepted tells whether the server has promised to keep m.
func (m *Message) accepted() bool { return !m.Accepted.IsZero() && m.Refused == "" }

// Ways by which a message comes.
const (
	Direct   = "direct"
	Received = "carbon of one received"
	Sent     = "carbon of one sent"
)

// Receipt is a copy of a message that a device got.
type Receipt struct {
	ID       string
	Account  string // bare JID of the device
	Device   string
	Session  int // which of the device's sessions; a resumed one is the same
	Via      string
	StanzaID string // that of the account's own server, or ""
	Delayed  bool   // it comes from a store, with a notation of delay (XEP-0203)
	Moved    bool   // it is delayed and the offline store does not say so: a session held it
	At       time.Time
}

// Entry is a message in an archive.
type Entry struct {
	ID        string // of the message
	ArchiveID string
}

// Book is what was sent, acknowledged and received in one round. Its methods may be called from any goroutine.
type Book struct {
	mu       sync.Mutex
	tag      string // tells its messages from those of other Books
	round    int
	order    []*Message
	messages map[string]*Message
	receipts []Receipt
	archives map[string][]Entry // by bare JID, oldest first
	faults   []string           // what is wrong by itself
	refused  map[string]int     // errors by type and condition
}

// NewBook returns a Book at its round 0.
func NewBook() *Book {
	b := &Book{tag: stanza.NewID()[:6]}
	b.clear()
	return b
}

func (b *Book) clear() {
	b.order, b.receipts, b.faults = nil, nil, nil
	b.messages = make(map[string]*Message)
	b.archives = make(map[string][]Entry)
	b.refused = make(map[string]int)
}

// Next begins the next round. What comes of earlier ones from now on is told apart from what nobody has sent.
func (b *Book) Next() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.round++
	b.clear()
}

// send notes a message that is about to be sent, to an account or, where device is not "", to that one alone.
func (b *Book) send(from, to, device, stream string, seq int, offline bool) *Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := &Message{
		ID: fmt.Sprintf("r%d-%s %s %d", b.round, b.tag, stream, seq), Round: b.round, From: from, To: to, Device: device, Stream: stream, Seq: seq,
		Offline: offline, Sent: time.Now(),
	}
	b.messages[m.ID] = m
	b.order = append(b.order, m)
	return m
}

func (b *Book) accept(m *Message, by string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if m.Accepted.IsZero() {
		m.Accepted, m.By = time.Now(), by
	}
}

func (b *Book) refuse(id, why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refused[why]++
	if m := b.messages[id]; m != nil {
		m.Refused = why
	}
}

func (b *Book) receive(r Receipt) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r.At = time.Now()
	b.receipts = append(b.receipts, r)
}

func (b *Book) archived(account string, e []Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.archives[account] = append(b.archives[account], e...)
}

func (b *Book) fault(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = append(b.faults, fmt.Sprintf(format, args...))
}

// Before returns the Book as it was at a time, without what came and what the archives have: what was sent later is not in
// it, and what was accepted later is not accepted.
func (b *Book) Before(t time.Time) *Book {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := &Book{tag: b.tag, round: b.round}
	c.clear()
	for _, m := range b.order {
		if m.Sent.After(t) {
			continue
		}
		was := *m
		if was.Accepted.After(t) {
			was.Accepted, was.By = time.Time{}, ""
		}
		c.messages[was.ID] = &was
		c.order = append(c.order, &was)
	}
	return c
}

// Archived notes what the archive of an account has, oldest first, where it was read by other means than a device.
func (b *Book) Archived(account string, e []Entry) { b.archived(account, e) }

// Sent returns how many messages were sent in this round.
func (b *Book) Sent() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.order)
}

// Accepted returns how many messages of this round the server has taken over.
func (b *Book) Accepted() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, m := range b.order {
		if m.accepted() {
			n++
		}
	}
	return n
}

// AcceptedAfter returns the messages that were sent after t and taken over: all, or those to accounts that were offline.
func (b *Book) AcceptedAfter(t time.Time, offlineOnly bool) []Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []Message
	for _, m := range b.order {
		if m.accepted() && m.Sent.After(t) && (m.Offline || !offlineOnly) {
			out = append(out, *m)
		}
	}
	return out
}

// Refused returns how many messages of this round came back, by type and condition of the error.
func (b *Book) Refused() map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make(map[string]int, len(b.refused))
	for k, v := range b.refused {
		out[k] = v
	}
	return out
}

// offlineDue returns how many accepted messages wait for an account that was offline, and how many of these have come.
func (b *Book) offlineDue(account string) (due, came int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.order {
		if m.To == account && m.Offline && m.accepted() {
			due++
		}
	}
	for _, r := range b.receipts {
		if r.Account == account {
			came++
		}
	}
	return due, came
}

// roundOf reads the round out of the id of a message; -1 where it is none of this package.
func roundOf(id string) int {
	var n int
	first, _, _ := strings.Cut(id, " ")
	if _, err := fmt.Sscanf(first, "r%d", &n); err != nil {
		return -1
	}
	return n
}
