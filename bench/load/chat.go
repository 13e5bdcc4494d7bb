package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// drainTime is how long messages may still be under way after the last was sent.
const drainTime = 10 * time.Second

// leastPerPair is how many messages of each pair make a measurement of chat.
const leastPerPair = 20

// tagCounter counts a tag in a stream of bytes that is cut anywhere.
type tagCounter struct {
	tag   []byte
	carry []byte // the end of what was seen, shorter than the tag
}

// count returns how many tags are complete with b.
func (t *tagCounter) count(b []byte) int {
	keep := len(t.tag) - 1
	n := bytes.Count(b, t.tag)
	if len(t.carry) > 0 {
		// Neither part can hold a whole tag, so what is found spans the cut.
		n += bytes.Count(append(t.carry, b[:min(keep, len(b))]...), t.tag)
	}
	if len(b) >= keep {
		t.carry = append(t.carry[:0], b[len(b)-keep:]...)
		return n
	}
	t.carry = append(t.carry, b...)
	if over := len(t.carry) - keep; over > 0 {
		t.carry = append(t.carry[:0], t.carry[over:]...)
	}
	return n
}

// message is a chat message with an id of eight digits, to be set, and a body.
type message struct {
	text []byte
	id   int // offset of the id
	body int // offset of the body
}

func newMessage(s *Running, from, to string, o Options) message {
	head := "<message "
	if s.Floor {
		head += "from='" + from + "' " // what a server would add
	}
	head += "to='" + to + "' type='chat' id='"
	middle := "00000000'><body>"
	return message{
		text: []byte(head + middle + strings.Repeat("x", o.Body) + "</body></message>"),
		id:   len(head),
		body: len(head) + len(middle),
	}
}

// append adds the message with number n.
func (m message) append(b []byte, n int64) []byte {
	at := len(b)
	b = append(b, m.text...)
	id := b[at+m.id : at+m.id+8]
	for i := 7; i >= 0; i-- {
		id[i] = '0' + byte(n%10)
		n /= 10
	}
	return b
}

// chatter is one side of a pair.
type chatter struct {
	conn *Conn
	msg  message

	sent, received atomic.Int64
	_              [64]byte // the counters of two chatters do not share a cache line
}

// swarm is all of them.
type swarm struct {
	chatters []*chatter
	failed   chan error
	stopping atomic.Bool
}

// newSwarm logs in 2*Pairs sessions, each with its neighbour as the other side.
func newSwarm(ctx context.Context, s *Running, o Options) (*swarm, error) {
	other := func(i int) int { return i ^ 1 }
	conns, err := loginAll(ctx, s, 2*o.Pairs, o, other)
	if err != nil {
		return nil, err
	}
	w := &swarm{failed: make(chan error, len(conns))}
	for i, c := range conns {
		w.chatters = append(w.chatters, &chatter{conn: c, msg: newMessage(s, s.at(i).JID(i), s.at(other(i)).JID(other(i)), o)})
	}
	if s.NeverArchive {
		if err := each(ctx, len(conns), o.LoginWorkers, func(_ context.Context, i int) error {
			return conns[i].neverArchive()
		}); err != nil {
			closeAll(conns)
			return nil, err
		}
	}
	return w, nil
}

func (w *swarm) close() {
	w.stopping.Store(true)
	conns := make([]*Conn, len(w.chatters))
	for i, c := range w.chatters {
		conns[i] = c.conn
	}
	closeAll(conns)
}

func (w *swarm) received() (n int64) {
	for _, c := range w.chatters {
		n += c.received.Load()
	}
	return n
}

func (w *swarm) sent() (n int64) {
	for _, c := range w.chatters {
		n += c.sent.Load()
	}
	return n
}

// wait lets the swarm work for d, or until one of them fails.
func (w *swarm) wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case err := <-w.failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// drain waits until all that was sent has come.
func (w *swarm) drain(ctx context.Context) error {
	for range drainTime / (20 * time.Millisecond) {
		if w.sent() == w.received() {
			return nil
		}
		if err := w.wait(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("%d messages sent, %d received", w.sent(), w.received())
}

// chat keeps Window messages in flight each way between all pairs: whoever
// receives some sends as many back.
func chat(ctx context.Context, s *Running, o Options) (Result, error) {
	w, err := newSwarm(ctx, s, o)
	if err != nil {
		return Result{}, err
	}
	defer w.close()
	if err := quiet(ctx, s); err != nil {
		return Result{}, err
	}
	for _, c := range w.chatters {
		go func() {
			err := c.echo(&w.stopping)
			if !w.stopping.Load() {
				w.failed <- fmt.Errorf("%s: %w", c.conn.JID, err)
			}
		}()
	}
	for _, c := range w.chatters {
		if err := c.send(make([]byte, 0, 1024), int64(o.Window)); err != nil {
			return Result{}, err
		}
	}
	if err := w.wait(ctx, o.Warm); err != nil {
		return Result{}, err
	}
	span, err := begin(s, w.received())
	if err != nil {
		return Result{}, err
	}
	// Longer where a server has hardly begun, such as with the files of 400 new archives.
	for range 5 {
		if err := w.wait(ctx, o.Time); err != nil {
			return Result{}, err
		}
		if w.received()-span.done >= int64(leastPerPair*o.Pairs) {
			break
		}
	}
	r, err := span.end(s, w.received(), time.Microsecond)
	if err != nil {
		return Result{}, err
	}
	w.stopping.Store(true)
	if err := w.drain(ctx); err != nil {
		return Result{}, err
	}
	first := w.chatters[0]
	return r, checkArchive(ctx, s, first.sent.Load()+first.received.Load())
}

// send writes n messages, each in a record of its own as clients do, using buf.
func (c *chatter) send(buf []byte, n int64) error {
	for range n {
		if _, err := c.conn.c.Write(c.msg.append(buf, c.sent.Add(1))); err != nil {
			return err
		}
	}
	return nil
}

// echo answers each message with one, until stopping is set, and counts on
// until the connection ends.
func (c *chatter) echo(stopping *atomic.Bool) error {
	in := make([]byte, 16<<10)
	out := make([]byte, 0, 1024)
	tags := tagCounter{tag: []byte("</message>")}
	n := tags.count(c.conn.buf)
	for {
		got, err := c.conn.c.Read(in)
		if n += tags.count(in[:got]); n > 0 {
			c.received.Add(int64(n))
			if !stopping.Load() {
				if err := c.send(out[:0], int64(n)); err != nil {
					return err
				}
			}
			n = 0
		}
		if err != nil {
			return err
		}
	}
}

// stampSize is the digits of a time stamp at the start of a body.
const stampSize = 18

// fixedRate sends Rate messages a second, from all clients in turn, and takes the
// time that each needs.
func fixedRate(ctx context.Context, s *Running, o Options) (Result, error) {
	if o.Body < stampSize {
		return Result{}, fmt.Errorf("a body of %d bytes has no room for a time stamp", o.Body)
	}
	w, err := newSwarm(ctx, s, o)
	if err != nil {
		return Result{}, err
	}
	defer w.close()
	if err := quiet(ctx, s); err != nil {
		return Result{}, err
	}
	epoch := time.Now()
	total := int(float64(o.Rate) * (o.Warm + o.Time).Seconds())
	latencies := make([]time.Duration, total)
	var at atomic.Int64
	for _, c := range w.chatters {
		go func() {
			err := c.listen(epoch, func(d time.Duration) {
				if i := at.Add(1) - 1; i < int64(total) {
					latencies[i] = d
				}
			})
			if !w.stopping.Load() {
				w.failed <- fmt.Errorf("%s: %w", c.conn.JID, err)
			}
		}()
	}
	warm := int64(float64(o.Rate) * o.Warm.Seconds())
	var span measured
	late := time.Duration(0)
	buf := make([]byte, 0, 1024)
	for i := range total {
		due := time.Duration(i) * time.Second / time.Duration(o.Rate)
		late = max(late, pace(epoch, due)-due)
		if int64(i) == warm {
			if span, err = begin(s, w.received()); err != nil {
				return Result{}, err
			}
		}
		select {
		case err := <-w.failed:
			return Result{}, err
		case <-ctx.Done():
			return Result{}, ctx.Err()
		default:
		}
		if err := w.chatters[i%len(w.chatters)].stamp(buf[:0], epoch); err != nil {
			return Result{}, err
		}
	}
	if err := w.drain(ctx); err != nil {
		return Result{}, err
	}
	r, err := span.end(s, w.received(), time.Microsecond)
	if err != nil {
		return Result{}, err
	}
	if late > max(o.Time, 5*time.Second) {
		return Result{}, fmt.Errorf("this machine is too busy to send %d messages a second: %v behind", o.Rate, late)
	}
	timed := latencies[min(int(warm), total):]
	slices.Sort(timed)
	r.P50, r.P99 = timed[len(timed)/2], timed[len(timed)*99/100]
	return r, nil
}

// pace sleeps until due after epoch, and returns how late it has become. The
// kernel's sleep, because Go's rounds up to a millisecond.
func pace(epoch time.Time, due time.Duration) time.Duration {
	for {
		now := time.Since(epoch)
		if now >= due {
			return now
		}
		ts := syscall.NsecToTimespec(int64(due - now))
		if err := syscall.Nanosleep(&ts, nil); err != nil && !errors.Is(err, syscall.EINTR) {
			time.Sleep(due - now)
		}
	}
}

// stamp sends one message that begins with the time since epoch.
func (c *chatter) stamp(buf []byte, epoch time.Time) error {
	buf = c.msg.append(buf, c.sent.Add(1))
	stamp := fmt.Appendf(nil, "%0*d", stampSize, time.Since(epoch).Nanoseconds())
	copy(buf[c.msg.body:], stamp)
	_, err := c.conn.c.Write(buf)
	return err
}

// listen reports how long each message was under way, until the connection ends.
func (c *chatter) listen(epoch time.Time, took func(time.Duration)) error {
	in := make([]byte, 16<<10)
	rest := c.conn.buf
	for {
		n, err := c.conn.c.Read(in)
		now := time.Since(epoch)
		rest = append(rest, in[:n]...)
		for {
			end := bytes.Index(rest, []byte("</message>"))
			if end < 0 {
				break
			}
			_, body, ok := bytes.Cut(rest[:end], []byte("<body>"))
			if !ok || len(body) < stampSize {
				return fmt.Errorf("a message without time stamp: %.200q", rest[:end])
			}
			sent, err := strconv.ParseInt(string(body[:stampSize]), 10, 64)
			if err != nil {
				return err
			}
			took(now - time.Duration(sent))
			c.received.Add(1) // after the note: who sees the count may read it
			rest = append(rest[:0], rest[end+len("</message>"):]...)
		}
		if err != nil {
			return err
		}
	}
}
