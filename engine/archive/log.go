package archive

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"sabir/engine/lru"
	"sabir/mod"
	"sabir/xmpp/jid"
)

// Schema holds the tables. They are migrated once for a database, under the name Module, whoever uses the engine.
//
//go:embed schema
var Schema embed.FS

// Module is the name under which Schema is migrated.
const Module = "archive"

var (
	// ErrNotFound says that an id is not (or no more) in the archive that was asked: item-not-found (XEP-0313#query-limit-id).
	ErrNotFound = errors.New("no such id in the archive")
	// ErrClock says that the clock is outside of what an id can hold, 1970 to 2112.
	ErrClock = errors.New("the clock is not between 1970 and 2112")
	// ErrQuery says that a query has a negative limit, or asks for both ends at once.
	ErrQuery = errors.New("not a query")
)

const (
	openerBits  = 10
	segmentBits = 39 + openerBits // of a seq: 2^39 µs, 6.36 days
	maxTime     = int64(1) << 52
	// ahead is how far the stored mark is put before the seq that passed it.
	ahead = 10 * time.Second
	// owners bounds the archives whose numbers are remembered.
	owners = 50000
)

// Options are the settings of a Log.
type Options struct {
	// Space keeps the names of archives apart: those of one extension and host, such as "mam example.org". Required.
	Space string
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// NoSearch leaves new messages out of the full-text index.
	NoSearch bool
}

// Log is the archives of one space. Its methods may be called from any goroutine.
type Log struct {
	db    mod.DB
	o     Options
	block cipher.Block

	owners *lru.Cache[string, Archive]

	mu       sync.Mutex
	opener   int64
	last     int64 // time of the last seq, in µs
	reserved int64 // known to be stored: no time up to it is given again after a restart
	stale    bool  // reserved may have moved
	prev     appended
}

// appended is the message that was appended last: it is shared by an Append in the same Write that follows it directly.
type appended struct {
	tx  mod.Tx
	m   Message
	k   *stored
	who []string // the words under which it is found
}

// Archive is a handle on one archive. It stays valid until the archive is removed; an Append to it then fails.
type Archive struct {
	num  int64
	who  string // the word that stands for it in the full-text index
	name string
}

// Name returns the name that the archive was opened by.
func (a Archive) Name() string { return a.name }

// Open returns the Log of a space. Schema has been migrated. Several Logs may be open on a space, in one process or many.
func Open(ctx context.Context, db mod.DB, o Options) (*Log, error) {
	if o.Space == "" {
		return nil, errors.New("archive: a Log needs a space")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	fresh := make([]byte, 16)
	if _, err := rand.Read(fresh); err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	l := &Log{db: db, o: o, owners: lru.New[string, Archive](owners)}
	var opens int64
	var secret []byte
	err := db.Write(ctx, func(tx mod.Tx) error {
		return tx.QueryRow(ctx, `INSERT INTO archive_state (id, opens, reserved, secret) VALUES (1, 1, 0, ?)
			ON CONFLICT (id) DO UPDATE SET opens = archive_state.opens + 1 RETURNING opens, reserved, secret`, fresh).
			Scan(&opens, &l.reserved, &secret)
	})
	if err != nil {
		return nil, fmt.Errorf("archive: open: %w", err)
	}
	if l.block, err = aes.NewCipher(secret); err != nil {
		return nil, fmt.Errorf("archive: open: %w", err)
	}
	l.opener, l.last = opens%(1<<openerBits), l.reserved
	return l, nil
}

// Lead returns how far the ids are ahead of the clock: some seconds after a restart, and more where the clock went back.
// It does no harm but to the speed of queries with an end; an operator may want to know of an hour.
func (l *Log) Lead() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(0, time.Duration(l.last-l.o.Now().UnixMicro())*time.Microsecond)
}

// Archive returns the archive of a name, such as a bare JID, and makes it if there is none. It is called before the
// Write that appends to it, never inside of one.
func (l *Log) Archive(ctx context.Context, name string) (Archive, error) {
	if err := l.refresh(ctx); err != nil {
		return Archive{}, err
	}
	if a, ok := l.owners.Get(name); ok {
		return a, nil
	}
	a, err := l.Lookup(ctx, name)
	if !errors.Is(err, ErrNotFound) {
		return a, err
	}
	err = l.db.Write(ctx, func(tx mod.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO archive_owner (space, name) VALUES (?, ?) ON CONFLICT (space, name, dead) DO NOTHING`,
			l.o.Space, name)
		return err
	})
	if err != nil {
		return Archive{}, fmt.Errorf("archive: %w", err)
	}
	return l.Lookup(ctx, name)
}

// Lookup returns the archive of a name, or ErrNotFound if nothing was ever put into it.
func (l *Log) Lookup(ctx context.Context, name string) (Archive, error) {
	if a, ok := l.owners.Get(name); ok {
		return a, nil
	}
	a := Archive{name: name, who: word(name)}
	err := l.db.QueryRow(ctx, `SELECT num FROM archive_owner WHERE space = ? AND name = ? AND dead = 0`, l.o.Space, name).Scan(&a.num)
	if errors.Is(err, mod.ErrNoRows) {
		return Archive{}, ErrNotFound
	}
	if err != nil {
		return Archive{}, fmt.Errorf("archive: %w", err)
	}
	l.owners.Put(name, a)
	return a, nil
}

// refresh reads the mark after an Append has moved it, for only what was committed counts.
func (l *Log) refresh(ctx context.Context) error {
	l.mu.Lock()
	stale := l.stale
	l.stale = false
	l.mu.Unlock()
	if !stale {
		return nil
	}
	var reserved int64
	if err := l.db.QueryRow(ctx, `SELECT reserved FROM archive_state WHERE id = 1`).Scan(&reserved); err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	l.mu.Lock()
	l.reserved = max(l.reserved, reserved)
	l.mu.Unlock()
	return nil
}

// id is what others see of a seq.
func (l *Log) id(a Archive, seq int64) string {
	var b [aes.BlockSize]byte
	binary.BigEndian.PutUint64(b[:8], uint64(a.num))
	binary.BigEndian.PutUint64(b[8:], uint64(seq))
	l.block.Encrypt(b[:], b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

var idEncoding = base64.RawURLEncoding.Strict()

// seq undoes id. What is no id of this archive is ErrNotFound; whether the message is still there is not looked up.
func (l *Log) seq(a Archive, id string) (int64, error) {
	var b [aes.BlockSize]byte
	if len(id) != idEncoding.EncodedLen(len(b)) {
		return 0, ErrNotFound
	}
	if n, err := idEncoding.Decode(b[:], []byte(id)); err != nil || n != len(b) {
		return 0, ErrNotFound
	}
	l.block.Decrypt(b[:], b[:])
	seq := int64(binary.BigEndian.Uint64(b[8:]))
	if binary.BigEndian.Uint64(b[:8]) != uint64(a.num) || seq < 0 || seq>>openerBits >= maxTime {
		return 0, ErrNotFound
	}
	return seq, nil
}

// peerKey stands for an archive and a bare JID in the index of conversations: 63 bits of SHA-256, never 0.
func peerKey(a Archive, j jid.JID) int64 {
	h := sha256.Sum256(append(binary.BigEndian.AppendUint64(nil, uint64(a.num)), j.Bare().String()...))
	return int64(binary.BigEndian.Uint64(h[:8])>>1 | 1)
}

// word stands for a bare JID in the full-text index.
func word(name string) string {
	h := sha256.Sum256([]byte(name))
	return "0" + base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(h[:10])
}

// refKey stands for a Ref: 63 bits of SHA-256, and 0 for none.
func refKey(ref string) int64 {
	if ref == "" {
		return 0
	}
	h := sha256.Sum256([]byte(ref))
	return int64(binary.BigEndian.Uint64(h[:8])>>1 | 1)
}

func peerWord(j jid.JID) string { return word(j.Bare().String()) }
