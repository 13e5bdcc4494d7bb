package archive

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"sabir/mod"
	"sabir/xmpp/xmlstream"
)

// Holding is a message in an archive, for administrators who ask what became of it.
type Holding struct {
	Archive   string // its name
	ID        string
	Stamp     time.Time
	Tombstone bool
}

// traceSegments is how many segments, the newest first, are searched for the id that a sender has given.
const traceSegments = 4

// Holders returns the archives of the Log's space that have a message, known by its id in one of them or by the id that its
// sender has given it. The former costs nothing much; for the latter the messages of some weeks are read through.
func (l *Log) Holders(ctx context.Context, id string) ([]Holding, error) {
	var seqs []int64
	if seq, ok := l.anySeq(id); ok {
		seqs = append(seqs, seq)
	}
	sent, err := l.sentAs(ctx, id)
	if err != nil {
		return nil, err
	}
	var all []Holding
	for _, seq := range append(seqs, sent...) {
		h, err := l.holdersOf(ctx, seq)
		if err != nil {
			return nil, err
		}
		all = append(all, h...)
	}
	return all, nil
}

// Trace returns what the archives of the Log's space have of a message, as Hooks.Trace does.
func (l *Log) Trace(ctx context.Context, id string) ([]mod.TraceEvent, error) {
	list, err := l.Holders(ctx, id)
	if err != nil {
		return nil, err
	}
	var events []mod.TraceEvent
	for _, h := range list {
		e := mod.TraceEvent{At: h.Stamp.UTC(), What: mod.TraceArchived, Who: h.Archive, Detail: h.ID}
		if h.Tombstone {
			e.Detail += " (deleted since)"
		}
		events = append(events, e)
	}
	return events, nil
}

// anySeq undoes id, of whatever archive it is.
func (l *Log) anySeq(id string) (int64, bool) {
	b, err := idEncoding.DecodeString(id)
	if err != nil || len(b) != l.block.BlockSize() {
		return 0, false
	}
	l.block.Decrypt(b, b)
	owner, seq := int64(binary.BigEndian.Uint64(b[:8])), int64(binary.BigEndian.Uint64(b[8:]))
	return seq, owner > 0 && owner < 1<<40 && seq >= 0 && seq>>openerBits < maxTime
}

// holdersOf returns who has the message of a seq.
func (l *Log) holdersOf(ctx context.Context, seq int64) (list []Holding, err error) {
	rows, err := l.db.Query(ctx, `SELECT o.num, o.name, e.stamp, e.tombstone IS NOT NULL
		FROM archive_entry e JOIN archive_owner o ON o.num = e.owner WHERE e.segment = ? AND e.seq = ? AND o.space = ? AND o.dead = 0 AND e.owner IN (
			SELECT owner FROM archive_body WHERE segment = ? AND seq = ? UNION SELECT other FROM archive_body WHERE segment = ? AND seq = ?
			UNION SELECT owner FROM archive_share WHERE segment = ? AND seq = ?)
		ORDER BY o.num`,
		seq>>segmentBits, seq, l.o.Space, seq>>segmentBits, seq, seq>>segmentBits, seq, seq>>segmentBits, seq)
	if err != nil {
		return nil, fmt.Errorf("archive: holders: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var h Holding
		var a Archive
		if err := rows.Scan(&a.num, &h.Archive, &h.Stamp, &h.Tombstone); err != nil {
			return nil, fmt.Errorf("archive: holders: %w", err)
		}
		h.ID = l.id(a, seq)
		list = append(list, h)
	}
	return list, rows.Err()
}

// sentAs returns the seqs of messages to which their sender has given this id, as their own or as origin-id.
func (l *Log) sentAs(ctx context.Context, id string) ([]int64, error) {
	var newest int64
	err := l.db.QueryRow(ctx, `SELECT coalesce(max(segment), -1) FROM archive_span`).Scan(&newest)
	if err != nil {
		return nil, fmt.Errorf("archive: holders: %w", err)
	}
	escaped := string(xmlstream.AppendAttr(nil, id))
	like := "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(escaped) + "%"
	var seqs []int64
	for segment := newest; segment >= 0 && segment > newest-traceSegments; segment-- {
		more, err := l.searchSegment(ctx, segment, like, id)
		if err != nil {
			return nil, err
		}
		seqs = append(seqs, more...)
	}
	return seqs, nil
}

func (l *Log) searchSegment(ctx context.Context, segment int64, like, id string) (seqs []int64, err error) {
	rows, err := l.db.Query(ctx, `SELECT seq, wire FROM archive_body WHERE segment = ? AND seq >= ? AND seq < ? AND wire LIKE ? ESCAPE '\' LIMIT 100`,
		segment, segment<<segmentBits, (segment+1)<<segmentBits, like)
	if err != nil {
		return nil, fmt.Errorf("archive: holders: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var seq int64
		var wire string
		if err := rows.Scan(&seq, &wire); err != nil {
			return nil, fmt.Errorf("archive: holders: %w", err)
		}
		if mod.SentAs(wire, id) {
			seqs = append(seqs, seq)
		}
	}
	return seqs, rows.Err()
}
