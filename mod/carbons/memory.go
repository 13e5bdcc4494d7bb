package carbons

import (
	"hash/maphash"
	"sync"

	"sabir/xmpp/jid"
)

// memory remembers the latest messages that were eligible, so that an error can be told to answer one of them. What an
// error brings along of the message cannot tell: it need not (RFC 6120 §8.3.1, XEP-0280#bizrules-errors). It holds a hash of
// 64 bits for each, which nobody can aim at.
type memory struct {
	seed maphash.Seed
	max  int

	mu   sync.Mutex
	set  map[uint64]struct{}
	ring []uint64 // the hashes in set, the oldest at next once there are max
	next int
}

func newMemory(limit int) *memory {
	return &memory{seed: maphash.MakeSeed(), max: limit, set: make(map[uint64]struct{})}
}

// add remembers a message. The addresses are bare; one without id cannot be referred to.
func (m *memory) add(from, to jid.JID, id string) {
	if id == "" || m.max == 0 {
		return
	}
	h := m.hash(from, to, id)
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.set[h]; ok { // the other side of it has been here
		return
	}
	m.set[h] = struct{}{}
	if len(m.ring) < m.max {
		m.ring = append(m.ring, h)
		return
	}
	delete(m.set, m.ring[m.next])
	m.ring[m.next] = h
	m.next = (m.next + 1) % m.max
}

// has tells whether there was a message of this id between these bare addresses.
func (m *memory) has(from, to jid.JID, id string) bool {
	if id == "" {
		return false
	}
	h := m.hash(from, to, id)
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.set[h]
	return ok
}

func (m *memory) hash(from, to jid.JID, id string) uint64 {
	var h maphash.Hash
	h.SetSeed(m.seed)
	for _, s := range [...]string{from.String(), to.String(), id} {
		h.WriteString(s)
		h.WriteByte(0) // no address holds one, and the last of the three may
	}
	return h.Sum64()
}
