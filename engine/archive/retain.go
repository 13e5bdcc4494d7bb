package archive

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sabir/mod"
)

// width is that of a segment in µs.
const width = int64(1) << (segmentBits - openerBits)

// chunk is how many messages are deleted in one Write, so that others do not wait for long.
const chunk = 500

// Remove ends an archive in tx, the transaction that deletes its account: from its commit on it is empty, and a later
// archive of the same name is another one, with none of its ids. Purge deletes what it had. No such archive is no error.
func (l *Log) Remove(ctx context.Context, tx mod.Tx, name string) error {
	_, err := tx.Exec(ctx, `UPDATE archive_owner SET dead = num, name = '' WHERE space = ? AND name = ? AND dead = 0`, l.o.Space, name)
	if err != nil {
		return fmt.Errorf("archive: remove: %w", err)
	}
	// If the Write fails, the next use looks it up again.
	l.owners.Delete(name)
	return nil
}

// Purge deletes what removed archives of the space have left, in small Writes. It goes on where one that was cut short
// ended. It is called after the commit of a Remove, and at the start.
func (l *Log) Purge(ctx context.Context) error {
	for {
		var num int64
		err := l.db.QueryRow(ctx, `SELECT num FROM archive_owner WHERE space = ? AND dead <> 0 ORDER BY num LIMIT 1`, l.o.Space).Scan(&num)
		if errors.Is(err, mod.ErrNoRows) {
			return l.reclaim(ctx)
		}
		if err != nil {
			return fmt.Errorf("archive: purge: %w", err)
		}
		if err := l.purgeOwner(ctx, num); err != nil {
			return fmt.Errorf("archive: purge: %w", err)
		}
	}
}

func (l *Log) purgeOwner(ctx context.Context, num int64) error {
	for {
		var segment int64
		err := l.db.QueryRow(ctx, `SELECT segment FROM archive_span WHERE owner = ? ORDER BY segment LIMIT 1`, num).Scan(&segment)
		if errors.Is(err, mod.ErrNoRows) {
			break
		}
		if err != nil {
			return err
		}
		if err := l.trim(ctx, num, segment, maxTime); err != nil {
			return err
		}
	}
	return l.db.Write(ctx, func(tx mod.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM archive_owner WHERE num = ?`, num)
		return err
	})
}

// trim deletes what an archive has in one segment up to the first message whose stamp is not before cutoff: archives
// lose only their oldest (XEP-0313#archives). With nothing left, the span goes too.
func (l *Log) trim(ctx context.Context, owner, segment, cutoff int64) error {
	for more := true; more; {
		err := l.db.Write(ctx, func(tx mod.Tx) error {
			list, err := oldest(ctx, tx, owner, segment, cutoff)
			if err != nil {
				return err
			}
			more = len(list) == chunk
			if len(list) == 0 {
				_, err := tx.Exec(ctx, `DELETE FROM archive_span WHERE owner = ? AND segment = ? AND count = 0`, owner, segment)
				return err
			}
			last := list[len(list)-1]
			if _, err := tx.Exec(ctx, `DELETE FROM archive_entry WHERE segment = ? AND owner = ? AND seq <= ?`, segment, owner, last.seq); err != nil {
				return err
			}
			for _, o := range list {
				if err := l.bury(ctx, tx, segment, o.seq); err != nil {
					return err
				}
				if err := l.forget(ctx, tx, owner, o); err != nil {
					return err
				}
			}
			if _, err := tx.Exec(ctx, `UPDATE archive_span SET count = count - ? WHERE owner = ? AND segment = ?`, len(list), owner, segment); err != nil {
				return err
			}
			_, err = tx.Exec(ctx, `DELETE FROM archive_span WHERE owner = ? AND segment = ? AND count <= 0`, owner, segment)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// forget deletes what other tables have of a row of an archive.
func (l *Log) forget(ctx context.Context, tx mod.Tx, owner int64, o old) error {
	segment := o.seq >> segmentBits
	_, err := tx.Exec(ctx, `DELETE FROM archive_share WHERE segment = ? AND seq = ? AND owner = ?`, segment, o.seq, owner)
	if err != nil || l.db.Dialect() == mod.Postgres {
		return err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM archive_fresh WHERE seq = ? AND owner = ?`, o.seq, owner); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `DELETE FROM archive_talk WHERE segment = ? AND peer = ? AND seq = ?`, segment, o.peer, o.seq)
	return err
}

// old is a row of an archive that is to go.
type old struct{ seq, peer int64 }

// oldest returns the first messages of an archive in a segment, while they are before cutoff, up to a chunk.
func oldest(ctx context.Context, tx mod.Tx, owner, segment, cutoff int64) (list []old, err error) {
	rows, err := tx.Query(ctx, `SELECT seq, peer, stamp FROM archive_entry WHERE segment = ? AND owner = ? ORDER BY seq LIMIT ?`, segment, owner, chunk)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var o old
		var stamp int64
		if err := rows.Scan(&o.seq, &o.peer, &stamp); err != nil {
			return nil, err
		}
		if stamp >= cutoff {
			break
		}
		list = append(list, o)
	}
	return list, rows.Err()
}

// holder is an archive that is to lose something of a segment.
type holder struct {
	owner  int64
	cutoff int64 // 0 keeps all
}

// Retain deletes what is too old. keep returns for the name of an archive of this space the time before which its
// messages go; the zero time keeps all. It does not call the Log. Messages go with their segment, so that they stay up to
// a week longer; to hide those, set Query.Start.
//
// A segment in which nobody keeps anything is dropped as a whole, and its room goes back to the file system. Where
// others, of whatever space, keep something, the rows are deleted one by one. It is called for each space, daily; it
// works in small Writes and may take long.
func (l *Log) Retain(ctx context.Context, keep func(archive string) time.Time) error {
	if l.db.Dialect() == mod.SQLite {
		if err := errors.Join(l.merge(ctx, 0), l.indexWords(ctx)); err != nil {
			return fmt.Errorf("archive: retain: %w", err)
		}
	}
	var from int64
	for {
		segment, err := l.segment(ctx, from)
		if errors.Is(err, mod.ErrNoRows) {
			break
		}
		if err != nil {
			return fmt.Errorf("archive: retain: %w", err)
		}
		if err := l.retain(ctx, segment, keep); err != nil {
			return fmt.Errorf("archive: retain: %w", err)
		}
		from = segment + 1
	}
	return l.reclaim(ctx)
}

// segment returns the first from this one on in which somebody has something, or whose drop was cut short.
func (l *Log) segment(ctx context.Context, from int64) (int64, error) {
	first, found := int64(0), false
	// One after the other: a row that is not scanned keeps its connection.
	asks := []func() mod.Row{
		func() mod.Row {
			return l.db.QueryRow(ctx, `SELECT segment FROM archive_span WHERE segment >= ? ORDER BY segment LIMIT 1`, from)
		},
		func() mod.Row {
			return l.db.QueryRow(ctx, `SELECT segment FROM archive_entry WHERE segment >= ? ORDER BY segment LIMIT 1`, from)
		},
		func() mod.Row {
			return l.db.QueryRow(ctx, `SELECT seq >> 49 FROM archive_body WHERE seq >= ? ORDER BY seq LIMIT 1`, from<<segmentBits)
		},
	}
	if l.db.Dialect() == mod.SQLite {
		asks = append(asks, func() mod.Row {
			return l.db.QueryRow(ctx, `SELECT segment FROM archive_talk WHERE segment >= ? ORDER BY segment LIMIT 1`, from)
		})
	}
	for _, ask := range asks {
		var s int64
		err := ask().Scan(&s)
		if errors.Is(err, mod.ErrNoRows) {
			continue
		}
		if err != nil {
			return 0, err
		}
		if !found || s < first {
			first, found = s, true
		}
	}
	if !found {
		return 0, mod.ErrNoRows
	}
	return first, nil
}

func (l *Log) retain(ctx context.Context, segment int64, keep func(string) time.Time) error {
	list, all, err := l.holders(ctx, segment, keep)
	if err != nil {
		return err
	}
	if all && segment < l.now()>>segmentBits {
		return l.drop(ctx, segment)
	}
	for _, s := range list {
		if err := l.trim(ctx, s.owner, segment, s.cutoff); err != nil {
			return err
		}
	}
	return nil
}

// now is the time of the next seq, about.
func (l *Log) now() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.o.Now().UnixMicro(), l.last) << openerBits
}

// holders returns the archives for which a segment is too old as a whole. Where the ids were far ahead of the clock, the
// age of a segment says nothing: then those of which some messages may be too old. all says that nobody, of any space,
// has anything in it that is not too old.
func (l *Log) holders(ctx context.Context, segment int64, keep func(string) time.Time) (list []holder, all bool, err error) {
	rows, err := l.db.Query(ctx, `SELECT s.owner, s.last_seq, s.lead, o.space, o.name, o.dead FROM archive_span s
		JOIN archive_owner o ON o.num = s.owner WHERE s.segment = ?`, segment)
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	all = true
	for rows.Next() {
		var owner, last, lead, dead int64
		var space, name string
		if err := rows.Scan(&owner, &last, &lead, &space, &name, &dead); err != nil {
			return nil, false, err
		}
		if dead != 0 {
			continue // Purge has it, or the drop
		}
		var cutoff int64
		if space == l.o.Space {
			if t := keep(name); !t.IsZero() {
				cutoff = ceilMicro(t)
			}
		}
		if last>>openerBits >= cutoff { // no stamp is later than its seq
			all = false
		}
		lead = min(lead, maxTime)
		if begin := segment << segmentBits >> openerBits; cutoff > begin+width || lead > width && cutoff > begin-lead {
			list = append(list, holder{owner, cutoff})
		}
	}
	return list, all, rows.Err()
}

// drop deletes a segment. The spans go first, and with them all that can be seen of it; a drop that was cut short is
// taken up by the next Retain.
func (l *Log) drop(ctx context.Context, segment int64) error {
	postgres := l.db.Dialect() == mod.Postgres
	err := l.db.Write(ctx, func(tx mod.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM archive_span WHERE segment = ?`, segment); err != nil || !postgres {
			return err
		}
		_, err := tx.Exec(ctx, `SELECT archive_drop(?)`, segment)
		return err
	})
	if err != nil || postgres {
		return err
	}
	from, to := segment<<segmentBits, (segment+1)<<segmentBits-1
	for _, p := range []part{
		{`SELECT 1 FROM archive_body WHERE seq BETWEEN ? AND ? LIMIT 1`, []any{from, to}, []string{
			`DELETE FROM archive_text WHERE rowid IN (SELECT seq FROM archive_body WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?)`,
			`DELETE FROM archive_body WHERE seq IN (SELECT seq FROM archive_body WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?)`}, []any{from, to, chunk}},
		{`SELECT 1 FROM archive_entry WHERE segment = ? LIMIT 1`, []any{segment}, []string{`DELETE FROM archive_entry WHERE segment = ? AND (owner, seq) IN
			(SELECT owner, seq FROM archive_entry WHERE segment = ? ORDER BY owner, seq LIMIT ?)`}, []any{segment, segment, chunk}},
		{`SELECT 1 FROM archive_talk WHERE segment = ? LIMIT 1`, []any{segment}, []string{`DELETE FROM archive_talk WHERE segment = ? AND (peer, seq) IN
			(SELECT peer, seq FROM archive_talk WHERE segment = ? ORDER BY peer, seq LIMIT ?)`}, []any{segment, segment, chunk}},
		{`SELECT 1 FROM archive_share WHERE segment = ? LIMIT 1`, []any{segment}, []string{`DELETE FROM archive_share WHERE segment = ? AND (seq, owner) IN
			(SELECT seq, owner FROM archive_share WHERE segment = ? ORDER BY seq, owner LIMIT ?)`}, []any{segment, segment, chunk}},
	} {
		if err := l.dropPart(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// part is what a drop deletes in one go: ask tells whether there is something left of it.
type part struct {
	ask     string
	askArgs []any
	queries []string
	args    []any
}

func (l *Log) dropPart(ctx context.Context, p part) error {
	for {
		var one int64
		ask := p.ask
		err := l.db.QueryRow(ctx, ask, p.askArgs...).Scan(&one)
		if errors.Is(err, mod.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		err = l.db.Write(ctx, func(tx mod.Tx) error {
			for _, query := range p.queries {
				if _, err := tx.Exec(ctx, query, p.args...); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// reclaim gives free pages back to the file system, some in each Write. PostgreSQL does it by truncation.
func (l *Log) reclaim(ctx context.Context) error {
	if l.db.Dialect() == mod.Postgres {
		return nil
	}
	for last := int64(-1); ; {
		var free int64
		if err := l.db.QueryRow(ctx, `PRAGMA freelist_count`).Scan(&free); err != nil {
			return fmt.Errorf("archive: reclaim: %w", err)
		}
		if free == 0 || free == last {
			return nil
		}
		last = free
		err := l.db.Write(ctx, func(tx mod.Tx) error {
			_, err := tx.Exec(ctx, `PRAGMA incremental_vacuum(256)`)
			return err
		})
		if err != nil {
			return fmt.Errorf("archive: reclaim: %w", err)
		}
	}
}
