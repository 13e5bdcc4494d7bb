package s2s

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sabir/mod"
)

// record is what is on disk of a stream that can be resumed, so that it can be after a sudden end of the server: how many stanzas
// of the peer were handled, written in the transaction that handles them; and which message has which number, written before
// it is sent.
type record struct {
	srv *Server
	num int64
}

// stored is a record as it is read.
type stored struct {
	pair
	num            int64
	ours, bothWays bool
	id             string // with which we resume it, or the hash of that with which the peer does
	handled        uint32
	loose          []numbered
}

// hashID returns how we know the id of a stream of a peer: what is on disk resumes nothing.
func hashID(id string) string {
	h := sha256.Sum256([]byte(id))
	return hex.EncodeToString(h[:])
}

// newRecord puts a stream on disk on which nothing has been sent.
func (s *Server) newRecord(ctx context.Context, st stored) (*record, error) {
	st.num = s.nextID()
	err := s.o.DB.Write(ctx, func(tx mod.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO s2s_stream (num, ours, both_ways, sm_id, local, remote, handled) VALUES (?, ?, ?, ?, ?, ?, 0)`,
			st.num, st.ours, st.bothWays, st.id, st.local.Domain(), st.remote.Domain())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("a stream is not kept: %w", err)
	}
	return &record{s, st.num}, nil
}

// progress writes how many stanzas were handled.
func (r *record) progress(ctx context.Context, tx mod.Tx, handled uint32) error {
	_, err := tx.Exec(ctx, `UPDATE s2s_stream SET handled = ? WHERE num = ?`, int64(handled), r.num)
	return err
}

// note writes which messages are about to be sent from number first on.
func (r *record) note(ctx context.Context, id int64, first uint32, batch []*item) error {
	var b []byte
	for _, i := range batch {
		b = append(strconv.AppendInt(b, i.id, 10), ' ')
	}
	return r.srv.o.DB.Write(ctx, func(tx mod.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO s2s_sent (id, stream, first, messages) VALUES (?, ?, ?, ?)`, id, r.num, int64(first), string(b))
		return err
	})
}

// readStreams reads the streams that may be resumed, and which of the items were sent on one of them.
func (s *Server) readStreams(ctx context.Context, items []*item) (streams []*stored, sent map[int64]bool, err error) {
	rows, err := s.o.DB.Query(ctx, `SELECT num, ours, both_ways, sm_id, local, remote, handled FROM s2s_stream ORDER BY num`)
	if err != nil {
		return nil, nil, fmt.Errorf("streams with other servers: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	byNum := make(map[int64]*stored)
	for rows.Next() {
		st := new(stored)
		var local, remote string
		var handled int64
		if err := rows.Scan(&st.num, &st.ours, &st.bothWays, &st.id, &local, &remote, &handled); err != nil {
			return nil, nil, err
		}
		st.handled = uint32(handled)
		if st.pair, err = parsePair(local, remote); err != nil {
			return nil, nil, err
		}
		s.lastID.Store(max(s.lastID.Load(), st.num))
		byNum[st.num] = st
		streams = append(streams, st)
	}
	if err := rows.Err(); err != nil {
		return nil, nil, err
	}
	sent, err = s.readNotes(ctx, byNum, items)
	return streams, sent, err
}

// place is where an item was sent last.
type place struct {
	st *stored
	n  uint32
}

func (s *Server) readNotes(ctx context.Context, streams map[int64]*stored, items []*item) (sent map[int64]bool, err error) {
	rows, err := s.o.DB.Query(ctx, `SELECT id, stream, first, messages FROM s2s_sent ORDER BY id`)
	if err != nil {
		return nil, fmt.Errorf("what was sent to other servers: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	places := make(map[int64]place)
	for rows.Next() {
		var id, stream, first int64
		var messages string
		if err := rows.Scan(&id, &stream, &first, &messages); err != nil {
			return nil, err
		}
		s.lastID.Store(max(s.lastID.Load(), id))
		st := streams[stream]
		if st == nil {
			continue
		}
		for k, f := range strings.Fields(messages) {
			row, err := strconv.ParseInt(f, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("what was sent to %s: %w", st.remote.Domain(), err)
			}
			places[row] = place{st, uint32(first) + uint32(k)}
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	sent = make(map[int64]bool)
	for _, i := range items {
		if p, ok := places[i.id]; ok {
			p.st.loose = append(p.st.loose, numbered{p.n, i})
			sent[i.id] = true
		}
	}
	for _, st := range streams {
		slices.SortFunc(st.loose, func(a, b numbered) int { return int(int32(a.n - b.n)) }) // modulo 2^32
	}
	return sent, nil
}

// revive brings a stream back that was there when the server stopped. One of ours is resumed at once where something may have been lost; one of
// a peer waits for the peer.
func (s *Server) revive(st *stored) {
	if st.ours && len(st.loose) == 0 && !st.bothWays {
		s.reaper.end(st.num)
		return
	}
	rec := &record{s, st.num}
	in := newReceiver(s)
	in.restore(rec, st.handled)
	snd := &sender{srv: s, pair: st.pair, theirs: !st.ours, wake: make(chan struct{}, 1), rec: rec, begun: true, broken: s.o.Clock.Now()}
	snd.unsure, snd.loose = true, st.loose
	for _, k := range st.loose {
		k.i.l.carry(snd, k.i)
	}
	if st.ours {
		snd.smID = st.id
		if st.bothWays {
			snd.in = in
		}
	} else {
		r := &resumable{pair: st.pair, in: in}
		if st.bothWays {
			r.snd = snd
		}
		s.keepResumable(st.id, r)
		s.endResumable(st.id, false)
	}
	if st.ours || len(st.loose) > 0 {
		snd.start()
	}
}

// carry notes, at the start, that an item of the link was sent by a sender.
func (l *link) carry(s *sender, i *item) {
	l.mu.Lock()
	l.bytes += i.size
	rides := l.on == nil
	if rides {
		l.on = s
	}
	l.mu.Unlock()
	if rides {
		s.riders = append(s.riders, l)
	}
}
