package s2s

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"time"

	"sabir/internal/route"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// Schema holds the migrations of the tables of this package, for db.Migrate with the module name "s2s".
//
//go:embed schema/*.sql
var Schema embed.FS

// nextID returns the id of a new row. Ids grow, over restarts too as long as the clock does not go back by much.
func (s *Server) nextID() int64 {
	for {
		last := s.lastID.Load()
		id := max(last+1, s.o.Clock.Now().UnixMicro())
		if s.lastID.CompareAndSwap(last, id) {
			return id
		}
	}
}

// insert keeps a message until it has left.
func (i *item) insert(tx mod.Tx) error {
	_, err := tx.Exec(context.Background(), `INSERT INTO s2s_outgoing (id, local, remote, expires, stanza) VALUES (?, ?, ?, ?, ?)`,
		i.id, i.l.local.Domain(), i.l.remote.Domain(), i.expires.UnixMicro(), string(i.s.Append(nil, stanza.NSClient)))
	return err
}

// Use gives the server its router, which has it as its Remote. It is called once, before anything else but New.
func (s *Server) Use(r *route.Router) { s.router = r }

// Start reads what was left when the server stopped, and sends it: each message has the time of the queue anew. What had been sent on a
// stream that can be resumed waits for that.
func (s *Server) Start(ctx context.Context) error {
	blocked, err := s.readBlocked(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.blocked = blocked
	s.policy.Store(newPolicy(s.set.Load().Federation, s.o.Roots, blocked))
	s.mu.Unlock()
	items, broken, err := s.readOutgoing(ctx)
	if err != nil {
		return err
	}
	streams, sent, err := s.readStreams(ctx, items)
	if err != nil {
		return err
	}
	s.reaper.start()
	s.reaper.done(broken)
	for _, st := range streams {
		s.revive(st)
	}
	for _, i := range items {
		if !sent[i.id] {
			i.Go()
		}
	}
	return nil
}

// readOutgoing reads the messages in the order of their ids, and those of which only the id can be read.
func (s *Server) readOutgoing(ctx context.Context) (items, broken []*item, err error) {
	rows, err := s.o.DB.Query(ctx, `SELECT id, local, remote, stanza FROM s2s_outgoing ORDER BY id`)
	if err != nil {
		return nil, nil, fmt.Errorf("messages for other servers: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		i := new(item)
		var local, remote, text string
		if err := rows.Scan(&i.id, &local, &remote, &text); err != nil {
			return nil, nil, err
		}
		s.lastID.Store(max(s.lastID.Load(), i.id))
		if err := s.restore(i, local, remote, text); err != nil {
			s.o.Log.Error("a kept message cannot be read", "id", i.id, "error", err)
			broken = append(broken, i)
			continue
		}
		items = append(items, i)
	}
	return items, broken, rows.Err()
}

// restore makes an item of its row.
func (s *Server) restore(i *item, local, remote, text string) error {
	p, err := parsePair(local, remote)
	if err != nil {
		return err
	}
	f, err := xmlstream.ParseFrame(text, xmlstream.Limits{Bytes: len(text), Depth: 1 << 10, Attrs: 1 << 10, Children: 1 << 20, Name: 1 << 12})
	if err != nil {
		return err
	}
	st, bad := stanza.FromFrame(f)
	if st == nil || bad != nil {
		return fmt.Errorf("it is no good stanza: %v", bad)
	}
	i.s, i.size = st, st.Wire().Size()+overhead
	i.expires = s.o.Clock.Now().Add(time.Duration(s.settings().QueueTime))
	s.mu.Lock()
	defer s.mu.Unlock()
	i.l = s.linkOf(p)
	return nil
}

func parsePair(local, remote string) (pair, error) {
	l, err1 := jid.New("", local, "")
	r, err2 := jid.New("", remote, "")
	return pair{l, r}, errors.Join(err1, err2)
}

func (s *Server) readBlocked(ctx context.Context) ([]string, error) {
	rows, err := s.o.DB.Query(ctx, `SELECT domain FROM s2s_block ORDER BY domain`)
	if err != nil {
		return nil, fmt.Errorf("blocked domains: %w", err)
	}
	var list []string
	for rows.Next() {
		var d string
		if err := rows.Scan(&d); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		list = append(list, d)
	}
	return list, errors.Join(rows.Err(), rows.Close())
}

// Block closes a domain, or with "*." before it all below one, by command: it outlives a restart, and takes effect at once.
func (s *Server) Block(ctx context.Context, pattern string, on bool) error {
	err := s.o.DB.Write(ctx, func(tx mod.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM s2s_block WHERE domain = ?`, pattern); err != nil || !on {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO s2s_block (domain, since) VALUES (?, ?)`, pattern, s.o.Clock.Now().UnixMicro())
		return err
	})
	if err != nil {
		return err
	}
	blocked, err := s.readBlocked(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.blocked = blocked
	s.policy.Store(newPolicy(s.set.Load().Federation, s.o.Roots, blocked))
	s.mu.Unlock()
	s.enforce()
	return nil
}

// Blocked returns the domains that were closed by command.
func (s *Server) Blocked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.blocked...)
}
