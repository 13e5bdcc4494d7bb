package archive

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sabir/mod"
	"sabir/xmpp/jid"
)

// Message is what is kept of a message, once for all archives that get it.
type Message struct {
	// Wire is the stanza as XML, complete by itself. It has no stanza-id of one of the archives, so that they can share it.
	Wire string
	// Text is what a search finds it by: its body. Empty for none; of a long text the first 64 KiB count.
	Text string
	// Ref is what Refer finds it by within a conversation: who sent it, and the id that they gave it. Empty for none.
	Ref string
}

// Row is one archive that gets a message, and what only that one knows about it.
type Row struct {
	Archive Archive
	// Peer is the other side, by which Query.With finds it: to whom it went or from whom it came; in the archive of a
	// room, who sent it.
	Peer jid.JID
	// Groupchat marks messages that Query.NoGroupchat leaves out.
	Groupchat bool
}

// Place is where a message is found in one archive.
type Place struct {
	ID    string
	Stamp time.Time // by the clock, in UTC and whole microseconds
}

// Bits of archive_entry.kind.
const kindGroupchat = 1

// Append keeps a message in each of the archives, at least one and none twice, and returns its place in each, in their
// order. It takes part in tx: the places are true only after its Write has returned nil, and if the function of the
// Write runs again it appends again and gets others. A Write may append any number of messages; an archive has them in
// the order of the calls. They are written at the end of the transaction, together with those of other Writes: until then tx does not see them.
//
// The body is stored once for all rows of a call, and for those of calls that follow each other in one Write with an
// equal Message, such as those for the two sides of a message between local accounts: archives named by their bare JID,
// each of which is the peer of the other. (One with a Text is not shared so with further archives; name those in one call.)
func (l *Log) Append(ctx context.Context, tx mod.Tx, m Message, rows ...Row) ([]Place, error) {
	if len(rows) == 0 {
		return nil, fmt.Errorf("archive: append: no archive")
	}
	t, err := l.take(tx, m, rows)
	if err != nil {
		return nil, fmt.Errorf("archive: append: %w", err)
	}
	if t.mark > 0 {
		if _, err := tx.Exec(ctx, `UPDATE archive_state SET reserved = ? WHERE id = 1 AND reserved < ?`, t.mark, t.mark); err != nil {
			return nil, fmt.Errorf("archive: append: %w", err)
		}
	}
	places := make([]Place, len(rows))
	for i, r := range rows {
		t.k.entries = append(t.k.entries, entry{
			owner: r.Archive.num, peer: peerKey(r.Archive, r.Peer), resource: r.Peer.Resource(), groupchat: r.Groupchat,
		})
		places[i] = Place{ID: l.id(r.Archive, t.k.seq), Stamp: time.UnixMicro(t.k.stamp).UTC()}
	}
	if !t.shared {
		if !l.o.NoSearch && m.Text != "" {
			t.k.words = document(m.Text, t.who)
		}
		tx.Gather(gathered{}, t.k, l.writeAll)
	}
	return places, nil
}

// taken is a seq for one Append.
type taken struct {
	k      *stored
	mark   int64    // to be stored; 0 if there is no need
	shared bool     // k has been gathered already
	who    []string // the words under which it is found
}

// take gives a seq to a message. It is called on the goroutine that runs the transaction.
func (l *Log) take(tx mod.Tx, m Message, rows []Row) (taken, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var who []string
	if m.Text != "" {
		who = make([]string, 0, 2*len(rows))
		for _, r := range rows {
			who = append(who, r.Archive.who, peerWord(r.Peer))
		}
	}
	if l.shares(tx, m, rows, who) {
		return taken{k: l.prev.k, shared: true}, nil
	}
	now := l.o.Now().UnixMicro()
	at := max(now, l.last+1)
	if now < 0 || at >= maxTime-int64(ahead/time.Microsecond) {
		return taken{}, ErrClock
	}
	l.last = at
	t := taken{k: &stored{seq: at<<openerBits | l.opener, stamp: now, wire: m.Wire, ref: refKey(m.Ref)}, who: who}
	if at > l.reserved {
		t.mark = at + int64(ahead/time.Microsecond)
		l.stale = true
	}
	l.prev = appended{tx: tx, m: m, k: t.k, who: who}
	return t, nil
}

// shares tells whether the message is the one before, of the same Write, for other archives. Every seq resets prev, so
// those archives have nothing that is later. The index of words must have it under the words that stand for them, who, already.
func (l *Log) shares(tx mod.Tx, m Message, rows []Row, who []string) bool {
	if l.prev.tx != tx || l.prev.m != m {
		return false
	}
	return !slices.ContainsFunc(who, func(w string) bool { return !slices.Contains(l.prev.who, w) }) &&
		!slices.ContainsFunc(rows, func(r Row) bool {
			return slices.ContainsFunc(l.prev.k.entries, func(e entry) bool { return e.owner == r.Archive.num })
		})
}

// bury is the condition under which a body is no longer held by any archive.
const bury = ` AND NOT EXISTS (SELECT 1 FROM archive_entry e WHERE e.segment = archive_body.segment
		AND e.owner = archive_body.owner AND e.seq = archive_body.seq AND e.tombstone IS NULL)
	AND NOT EXISTS (SELECT 1 FROM archive_entry e WHERE e.segment = archive_body.segment
		AND e.owner = archive_body.other AND e.seq = archive_body.seq AND e.tombstone IS NULL)
	AND NOT EXISTS (SELECT 1 FROM archive_share s JOIN archive_entry e ON e.segment = s.segment AND e.owner = s.owner
		AND e.seq = s.seq WHERE s.segment = archive_body.segment AND s.seq = archive_body.seq AND e.tombstone IS NULL)`

// Replace puts a tombstone, a stanza as XML, in the place of a message in one archive (XEP-0424#business-id): id, time and
// order stay, searches find it no more. The message itself is deleted once none of its archives has it. An id that the
// archive does not have is ErrNotFound, in which case tx is unharmed. Replacing a tombstone gives another tombstone.
func (l *Log) Replace(ctx context.Context, tx mod.Tx, a Archive, id, tombstone string) error {
	seq, err := l.seq(a, id)
	if err != nil {
		return err
	}
	segment := seq >> segmentBits
	r, err := tx.Exec(ctx, `UPDATE archive_entry SET tombstone = ? WHERE segment = ? AND owner = ? AND seq = ?`, tombstone, segment, a.num, seq)
	if err != nil {
		return fmt.Errorf("archive: replace: %w", err)
	}
	if n, err := r.RowsAffected(); err != nil {
		return fmt.Errorf("archive: replace: %w", err)
	} else if n == 0 {
		return ErrNotFound
	}
	if err := l.bury(ctx, tx, segment, seq); err != nil {
		return fmt.Errorf("archive: replace: %w", err)
	}
	return nil
}

// bury deletes a body that no archive holds any more.
func (l *Log) bury(ctx context.Context, tx mod.Tx, segment, seq int64) error {
	r, err := tx.Exec(ctx, `DELETE FROM archive_body WHERE segment = ? AND seq = ?`+bury, segment, seq)
	if err != nil || l.db.Dialect() == mod.Postgres {
		return err
	}
	if n, err := r.RowsAffected(); err != nil || n == 0 {
		return err
	}
	if r, err = tx.Exec(ctx, `DELETE FROM archive_pending WHERE seq = ?`, seq); err != nil {
		return err
	}
	if n, err := r.RowsAffected(); err != nil || n > 0 {
		return err
	}
	_, err = tx.Exec(ctx, `DELETE FROM archive_text WHERE rowid = ?`, seq)
	return err
}
