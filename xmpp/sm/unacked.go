package sm

// Unacked holds what was sent and not yet acknowledged, in order, and counts. The zero value is a stream on which nothing
// was sent. It belongs to one goroutine at a time.
type Unacked[T any] struct {
	base  uint32 // how many were acknowledged, as the wire has it
	total uint64 // the same without wrapping
	held  []T
	head  int // held[:head] is empty
}

// Sent notes that v was sent, behind all others.
func (u *Unacked[T]) Sent(v T) { u.held = append(u.held, v) }

// Len returns how many are not acknowledged.
func (u *Unacked[T]) Len() int { return len(u.held) - u.head }

// Count returns how many were sent, modulo 2^32.
func (u *Unacked[T]) Count() uint32 { return u.base + uint32(u.Len()) }

// Acked returns how many were acknowledged, modulo 2^32.
func (u *Unacked[T]) Acked() uint32 { return u.base }

// Check tells what an acknowledgement of h means without taking it: how many it newly covers. The error is a *TooHigh. An
// h that was passed before is no error and covers nothing; back then is true.
func (u *Unacked[T]) Check(h uint32) (n int, back bool, err error) {
	if d := h - u.base; uint64(d) <= uint64(u.Len()) {
		return int(d), false, nil
	}
	if uint64(u.base-h) <= min(u.total, 1<<31) { // nearer behind than ahead, and there was such a number
		return 0, true, nil
	}
	return 0, false, &TooHigh{H: h, Sent: u.Count()}
}

// Ack takes an acknowledgement of h and calls each, in order, with what it newly covers. The error is a *TooHigh, and
// nothing has changed then.
func (u *Unacked[T]) Ack(h uint32, each func(T)) error {
	n, back, err := u.Check(h)
	if err != nil || back {
		return err
	}
	for i := u.head; i < u.head+n; i++ {
		v := u.held[i]
		var zero T
		u.held[i] = zero
		if each != nil {
			each(v)
		}
	}
	u.head += n
	u.base += uint32(n)
	u.total += uint64(n)
	u.shrink()
	return nil
}

// keep is the longest array that an empty Unacked holds on to.
const keep = 32

// shrink gives back what acknowledgements have emptied.
func (u *Unacked[T]) shrink() {
	switch {
	case u.head == len(u.held) && cap(u.held) > keep:
		u.held, u.head = nil, 0
	case u.head == len(u.held):
		u.held, u.head = u.held[:0], 0
	case u.head > keep && u.head > len(u.held)/2:
		n := copy(u.held, u.held[u.head:])
		clear(u.held[n:])
		u.held, u.head = u.held[:n], 0
	}
}

// Take removes all that is not acknowledged, as if it had never been sent, and returns it: the caller sends it again, or
// does something else with it.
func (u *Unacked[T]) Take() []T {
	all := u.held[u.head:]
	u.held, u.head = nil, 0
	return all
}

// Each calls f with all that is not acknowledged, in order. f may change it.
func (u *Unacked[T]) Each(f func(*T)) {
	for i := u.head; i < len(u.held); i++ {
		f(&u.held[i])
	}
}

// Restore starts from a session of which h were acknowledged before.
func (u *Unacked[T]) Restore(h uint32) {
	*u = Unacked[T]{base: h, total: uint64(h)}
}
