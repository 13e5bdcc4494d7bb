package federation

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"sabir/internal/interop"
	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const nsStanzaID = "urn:xmpp:sid:0"

// User writes to somebody of the other server, and notes what comes from there.
type User struct {
	account interop.Account
	c       *client.Client
	to      jid.JID
	sent    int

	mu         sync.Mutex
	accepted   []string            // ids behind which a ping was answered
	seen       map[string]bool     // the stanza-ids of what came here
	delivered  map[string]int      // how often what the other has written came here
	archived   map[string]int      // how often the archive had it when it was read last
	bounced    map[string][]string // why, of what was written here
	last       int                 // the highest number that came
	disordered []string
}

func newUser(a interop.Account, to jid.JID) *User {
	return &User{account: a, to: to, seen: make(map[string]bool), delivered: make(map[string]int), archived: make(map[string]int), bounced: make(map[string][]string), last: -1}
}

func (u *User) login(ctx context.Context, cfg *client.Config) (err error) {
	if err := u.abort(); err != nil {
		return err
	}
	if u.c, err = client.Dial(ctx, cfg); err != nil {
		return err
	}
	return u.c.Send(stanza.New(stanza.Presence, ""))
}

func (u *User) abort() error {
	if u.c == nil {
		return nil
	}
	c := u.c
	u.c = nil
	return c.Abort()
}

// write sends messages, and notes those that are accepted, until the connection breaks or ctx ends. What was sent then is asked for
// to its end.
func (u *User) write(ctx context.Context, burst int, pause time.Duration) {
	t := time.NewTimer(pause)
	defer t.Stop()
	for ctx.Err() == nil {
		var ids []string
		for range burst {
			id := u.next()
			if u.c.Send(message(id, u.to, id)) != nil {
				return
			}
			ids = append(ids, id)
		}
		if u.accept(context.WithoutCancel(ctx), ids) != nil {
			return
		}
		t.Reset(pause)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
}

// Flood sends n messages with a text of so many bytes at once. It returns when they were accepted.
func (u *User) Flood(ctx context.Context, n, size int) error {
	var ids []string
	text := strings.Repeat("x", size)
	for range n {
		id := u.next()
		if err := u.c.Send(message(id, u.to, text)); err != nil {
			return err
		}
		ids = append(ids, id)
	}
	return u.accept(ctx, ids)
}

// next returns the id of a message: the sender's address, and how many it has sent before.
func (u *User) next() string {
	id := u.account.JID + "/" + strconv.Itoa(u.sent)
	u.sent++
	return id
}

// accept notes messages as accepted once what was sent behind them is answered.
func (u *User) accept(ctx context.Context, ids []string) error {
	if err := u.Ping(ctx); err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.accepted = append(u.accepted, ids...)
	return nil
}

// Ping asks the user's own server for a sign of life.
func (u *User) Ping(ctx context.Context) error { return u.c.Ping(ctx, u.c.JID().DomainJID()) }

// Accepted is how many messages of the user were accepted.
func (u *User) Accepted() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.accepted)
}

// Delivered is how many messages of the other have come.
func (u *User) Delivered() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.delivered)
}

func message(id string, to jid.JID, body string) *stanza.Stanza {
	m := stanza.New(stanza.Message, stanza.TypeChat, xmlstream.El(stanza.NSClient, "body", body))
	m.ID, m.To = id, to
	return m
}

// readArchive counts what the archive of the user has.
func (u *User) readArchive(ctx context.Context) error {
	u.mu.Lock()
	clear(u.archived)
	u.mu.Unlock()
	return interop.ReadArchive(ctx, u.c, jid.JID{})
}

// handle notes what comes for a user.
func (u *User) handle(_ *client.Client, s *stanza.Stanza) bool {
	if s.Kind != stanza.Message {
		return s.Kind != stanza.IQ
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	kept := interop.Archived(s)
	switch {
	case kept != nil:
		if kept.Attr("type") != stanza.TypeError {
			u.archived[kept.Attr("id")]++
		}
	case s.Type == stanza.TypeError:
		why := "unknown"
		if e := s.Err(); e != nil {
			why = fmt.Sprintf("%s %s", e.Type, e.Condition)
		}
		u.bounced[s.ID] = append(u.bounced[s.ID], why)
	case s.Body() != "":
		// What comes again with the same stanza-id the client knows: its session had ended before it was sure that it was written.
		if by := s.Child(nsStanzaID, "stanza-id").Attr("id"); by == "" || !u.seen[by] {
			u.seen[by] = true
			u.take(s.ID)
		}
	}
	return true
}

// take counts a message, and looks at its number where it is new. u.mu is held.
func (u *User) take(id string) {
	if u.delivered[id]++; u.delivered[id] > 1 {
		return
	}
	if n, err := strconv.Atoi(id[strings.LastIndexByte(id, '/')+1:]); err == nil {
		if n < u.last {
			u.disordered = append(u.disordered, id)
		}
		u.last = max(u.last, n)
	}
}
