package observe

import (
	"cmp"
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sabir/mod"
)

// Trace remembers for a while what became of messages: where each came from, which rule refused or changed it, which copies
// were made, and when each was written and acknowledged. It is a ring of a fixed number of bytes, in which the oldest
// makes room; noting something allocates nothing. It knows addresses and ids, and nothing of what a message says.
//
// A message has a mark, a number of this process, that its copies share. 0 is no mark, and nothing is noted for it. The
// methods may be called on nil, which remembers nothing, and from any goroutine.
type Trace struct {
	marks  atomic.Uint64
	shards [traceShards]traceShard
}

// traceShards keeps writers apart. All of one message is in one shard.
const traceShards = 8

// traceShard is a ring of records. A record is length (2 bytes), time (8), mark (8), the code of what (1), and then who, detail
// and, where the code is 0, what: each a length (1) and its bytes. A length of 0 where a record would stand says that the
// rest up to the end of the ring is unused.
type traceShard struct {
	mu         sync.Mutex
	buf        []byte
	head, tail uint64 // positions in an endless ring: where the next record goes, and where the oldest is
	_          [64]byte
}

const traceHead = 2 + 8 + 8 + 1

// traceCodes are the words that records have a code for: that is their index here, from 1.
var traceCodes = [...]string{
	mod.TraceReceived, mod.TraceID, mod.TraceChanged, mod.TraceRefused, mod.TraceDropped, mod.TraceStored,
	mod.TraceCommitted, mod.TraceArchived, mod.TraceQueued, mod.TraceCopied, mod.TraceForwarded, mod.TraceBounced, mod.TraceWritten,
	mod.TraceAcked, mod.TraceReturned, mod.TraceTaken, mod.TraceNotified, mod.TraceFailed,
}

// NewTrace returns a trace that takes so many bytes of memory, once they are used; nil where they are fewer than 64 KiB.
func NewTrace(bytes int) *Trace {
	if bytes < 64<<10 {
		return nil
	}
	t := new(Trace)
	for i := range t.shards {
		t.shards[i].buf = make([]byte, bytes/traceShards)
	}
	return t
}

// Mark returns the mark of a new message.
func (t *Trace) Mark() uint64 {
	if t == nil {
		return 0
	}
	return t.marks.Add(1)
}

// Note remembers something of the message of this mark, that happens now. See mod.TraceEvent for the words. Of who and detail,
// 255 bytes are kept.
func (t *Trace) Note(mark uint64, what, who, detail string) {
	if t == nil || mark == 0 {
		return
	}
	code := byte(0)
	for i := range traceCodes {
		if traceCodes[i] == what {
			code, what = byte(i+1), ""
			break
		}
	}
	who, detail, what = who[:min(len(who), 255)], detail[:min(len(detail), 255)], what[:min(len(what), 255)]
	n := traceHead + 2 + len(who) + len(detail)
	if code == 0 {
		n += 1 + len(what)
	}
	now := time.Now().UnixNano()
	s := &t.shards[mark%traceShards]
	s.mu.Lock()
	b := s.room(n)
	binary.LittleEndian.PutUint16(b, uint16(n))
	binary.LittleEndian.PutUint64(b[2:], uint64(now))
	binary.LittleEndian.PutUint64(b[10:], mark)
	b[18] = code
	b = appendShort(b[:traceHead], who)
	b = appendShort(b, detail)
	if code == 0 {
		appendShort(b, what)
	}
	s.mu.Unlock()
}

func appendShort(b []byte, s string) []byte { return append(append(b, byte(len(s))), s...) }

// room makes room for a record of n bytes and returns where it goes. s.mu is held.
func (s *traceShard) room(n int) []byte {
	size := uint64(len(s.buf))
	if left := size - s.head%size; left < uint64(n) { // a record does not go round the end
		s.free(s.head + left)
		if left >= 2 {
			binary.LittleEndian.PutUint16(s.buf[s.head%size:], 0)
		}
		s.head += left
	}
	s.free(s.head + uint64(n))
	at := s.head % size
	s.head += uint64(n)
	return s.buf[at : at+uint64(n)]
}

// free drops the oldest records until what comes before end fits.
func (s *traceShard) free(end uint64) {
	size := uint64(len(s.buf))
	for end > size && s.tail < end-size && s.tail < s.head {
		s.tail += s.skip(s.tail)
	}
}

// skip returns how far it is from a record to the next.
func (s *traceShard) skip(at uint64) uint64 {
	size := uint64(len(s.buf))
	left := size - at%size
	if left < 2 {
		return left
	}
	if n := binary.LittleEndian.Uint16(s.buf[at%size:]); n > 0 {
		return uint64(n)
	}
	return left
}

// each calls f for the records, oldest first, with the lock held. b is what follows the length.
func (s *traceShard) each(f func(mark uint64, b []byte)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	size := uint64(len(s.buf))
	for at := s.tail; at < s.head; {
		n := s.skip(at)
		if i := at % size; size-i >= traceHead && binary.LittleEndian.Uint16(s.buf[i:]) > 0 {
			b := s.buf[i : i+n]
			f(binary.LittleEndian.Uint64(b[10:]), b[2:])
		}
		at += n
	}
}

// readTrace reads what follows the length of a record. Its strings are copies.
func readTrace(b []byte) mod.TraceEvent {
	e := mod.TraceEvent{At: time.Unix(0, int64(binary.LittleEndian.Uint64(b))).UTC()}
	code := b[16]
	who, rest := short(b[17:])
	detail, rest := short(rest)
	e.Who, e.Detail = string(who), string(detail)
	if code > 0 && int(code) <= len(traceCodes) {
		e.What = traceCodes[code-1]
	} else if code == 0 {
		what, _ := short(rest)
		e.What = string(what)
	}
	return e
}

func short(b []byte) (s, rest []byte) { n := 1 + int(b[0]); return b[1:n], b[n:] }

// Find returns what is remembered of the messages with this id, each in the order of events. An id is what a sender, a server or an
// archive has given. ids are others under which they are known.
func (t *Trace) Find(id string) (stories [][]mod.TraceEvent, ids []string) {
	if t == nil || id == "" {
		return nil, nil
	}
	found := make(map[uint64][]mod.TraceEvent)
	for i := range t.shards {
		s := &t.shards[i]
		s.each(func(mark uint64, b []byte) {
			if names(b) && string(secondShort(b)) == id {
				found[mark] = nil
			}
		})
		s.each(func(mark uint64, b []byte) {
			events, ok := found[mark]
			if !ok {
				return
			}
			e := readTrace(b)
			if names(b) && e.Detail != id && !slices.Contains(ids, e.Detail) {
				ids = append(ids, e.Detail)
			}
			found[mark] = append(events, e)
		})
	}
	for _, events := range found {
		stories = append(stories, events)
	}
	slices.SortFunc(stories, func(a, b []mod.TraceEvent) int { return cmp.Compare(a[0].At.UnixNano(), b[0].At.UnixNano()) })
	return stories, ids
}

// names tells whether the detail of a record is an id.
func names(b []byte) bool {
	switch code := b[16]; {
	case code == 0:
		return false
	default:
		what := traceCodes[code-1]
		return what == mod.TraceID || what == mod.TraceArchived
	}
}

func secondShort(b []byte) []byte {
	_, rest := short(b[17:])
	s, _ := short(rest)
	return s
}
