package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Crowd says how large a room is to be, and what is done in it.
type Crowd struct {
	Occupants int
	// Everybody has the room tell all of everybody's coming and going, which grows with the square of the occupants. Without
	// it the room tells of its moderators alone (muc#roomconfig_presencebroadcast).
	Everybody bool
	Steps     int // in which they enter; each is measured
	Messages  int // that are said, one after the other
	AtOnce    int // occupants that leave and come back all at once
	Workers   int // that enter at a time otherwise
}

// seat is one occupant.
type seat struct {
	c       *Conn
	entered chan struct{} // a subject has come, which is the last of an entry (XEP-0045#order)
	heard   atomic.Int64  // messages
	at      atomic.Int64  // when the last one came, in nanoseconds since the epoch of the crowd
}

// crowd is all of them.
type crowd struct {
	Crowd
	s      *Running
	room   string
	seats  []*seat
	epoch  time.Time
	heard  atomic.Int64 // by all
	failed chan error
	closed atomic.Bool
}

// FillRoom fills one room of a server and writes what that costs as Markdown.
func FillRoom(ctx context.Context, s *Running, size Crowd, o Options, w io.Writer) error {
	start := time.Now()
	conns, err := loginAll(ctx, s, size.Occupants, o, func(i int) int { return i })
	if err != nil {
		return err
	}
	c := &crowd{Crowd: size, s: s, room: "crowd@conference." + s.Domain, epoch: time.Now(), failed: make(chan error, size.Occupants)}
	for _, conn := range conns {
		c.seats = append(c.seats, &seat{c: conn, entered: make(chan struct{}, 1)})
	}
	defer func() {
		c.closed.Store(true)
		closeAll(conns)
	}()
	fmt.Fprintf(w, "%d sessions after %v.\n\n", size.Occupants, time.Since(start).Round(time.Second))
	if err := c.open(); err != nil {
		return err
	}
	for _, x := range c.seats {
		go c.listen(x)
	}
	for _, part := range []func(context.Context, Options, io.Writer) error{c.fill, c.speak, c.rush} {
		if err := part(ctx, o, w); err != nil {
			return err
		}
	}
	return nil
}

// open has the first one make the room.
func (c *crowd) open() error {
	x := c.seats[0]
	if err := x.c.write(c.entry(0)); err != nil {
		return err
	}
	field := ""
	if !c.Everybody {
		field = "<field var='muc#roomconfig_presencebroadcast'><value>moderator</value></field>"
	}
	_, err := x.c.request("configure", "set", c.room, "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>"+
		"<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>"+field+"</x></query>")
	return err
}

func (c *crowd) entry(i int) string {
	return fmt.Sprintf("<presence to='%s/n%d'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>", c.room, i)
}

// listen counts what comes to an occupant.
func (c *crowd) listen(x *seat) {
	in := make([]byte, 4<<10)
	subjects, bodies := tagCounter{tag: []byte("<subject")}, tagCounter{tag: []byte("</body>")}
	subjects.count(x.c.buf)
	x.c.slim()
	for {
		n, err := x.c.c.Read(in)
		if k := bodies.count(in[:n]); k > 0 {
			x.at.Store(int64(time.Since(c.epoch)))
			x.heard.Add(int64(k))
			c.heard.Add(int64(k))
		}
		if subjects.count(in[:n]) > 0 {
			select {
			case x.entered <- struct{}{}:
			default:
			}
		}
		if err != nil {
			if !c.closed.Load() {
				c.failed <- fmt.Errorf("%s: %w", x.c.JID, err)
			}
			return
		}
	}
}

// enter has occupant i enter.
func (c *crowd) enter(ctx context.Context, i int) error {
	x := c.seats[i]
	if err := x.c.write(c.entry(i)); err != nil {
		return err
	}
	t := time.NewTimer(stepTimeout)
	defer t.Stop()
	select {
	case <-x.entered:
		return nil
	case err := <-c.failed:
		return err
	case <-t.C:
		return fmt.Errorf("%s does not get into the room", x.c.JID)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fill has all enter, and tells what an entry costs as the room grows.
func (c *crowd) fill(ctx context.Context, o Options, w io.Writer) error {
	if err := errors.Join(quiet(ctx, c.s), sleep(ctx, o.Settle)); err != nil {
		return err
	}
	before, err := usage(c.s.PIDs)
	if err != nil {
		return err
	}
	fmt.Fprint(w, "| occupants | CPU of an entry | entries a second |\n|---|---|---|\n")
	for step, in := 1, 1; step <= c.Steps; step++ {
		to := c.Occupants * step / c.Steps
		span, err := begin(c.s, 0)
		if err != nil {
			return err
		}
		start := time.Now()
		if err := each(ctx, to-in, c.Workers, func(ctx context.Context, i int) error { return c.enter(ctx, in+i) }); err != nil {
			return err
		}
		took := time.Since(start)
		if err := quiet(ctx, c.s); err != nil {
			return err
		}
		r, err := span.end(c.s, int64(to-in), time.Millisecond)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "| %d to %d | %s | %.0f |\n", in, to, Millis.Format(r.Value), float64(to-in)/took.Seconds())
		in = to
	}
	if err := sleep(ctx, o.Settle); err != nil {
		return err
	}
	after, err := usage(c.s.PIDs)
	if err != nil {
		return err
	}
	// What the rush of logins has left goes back to the system meanwhile, so the difference can be below nothing.
	_, err = fmt.Fprintf(w, "\nMemory: %d MiB with all logged in, %d MiB with all in the room: %.1f KiB each, session and place in the room.\n",
		before.RSS>>20, after.RSS>>20, float64(after.RSS)/1024/float64(c.Occupants))
	return err
}

// speak has the owner say things, and tells how long it takes until all have heard each.
func (c *crowd) speak(ctx context.Context, o Options, w io.Writer) error {
	body := strings.Repeat("x", o.Body)
	var copies, last []time.Duration
	span, err := begin(c.s, 0)
	if err != nil {
		return err
	}
	for n := range c.Messages {
		start := time.Since(c.epoch)
		if err := c.seats[0].c.write(fmt.Sprintf("<message to='%s' type='groupchat' id='m%d'><body>%s</body></message>", c.room, n, body)); err != nil {
			return err
		}
		for deadline := time.Now().Add(stepTimeout); c.heard.Load() < int64((n+1)*c.Occupants); {
			if time.Now().After(deadline) {
				return fmt.Errorf("message %d has come %d times of %d", n, c.heard.Load()-int64(n*c.Occupants), c.Occupants)
			}
			if err := sleep(ctx, time.Millisecond); err != nil {
				return err
			}
		}
		slowest := time.Duration(0)
		for _, x := range c.seats {
			if k := x.heard.Load(); k != int64(n+1) {
				return fmt.Errorf("%s has heard %d messages of %d", x.c.JID, k, n+1)
			}
			d := time.Duration(x.at.Load()) - start
			copies, slowest = append(copies, d), max(slowest, d)
		}
		last = append(last, slowest)
	}
	r, err := span.end(c.s, int64(c.Messages*c.Occupants), time.Microsecond)
	if err != nil {
		return err
	}
	slices.Sort(copies)
	slices.Sort(last)
	_, err = fmt.Fprintf(w, "A message reaches all within %v (median of %d), half of them within %v; %s of CPU a copy.\n",
		last[len(last)/2].Round(time.Millisecond), c.Messages, copies[len(copies)/2].Round(time.Millisecond), Micros.Format(r.Value))
	return err
}

// rush has some leave and come back at once.
func (c *crowd) rush(ctx context.Context, _ Options, w io.Writer) error {
	for i := range c.AtOnce {
		if err := c.seats[i+1].c.write(fmt.Sprintf("<presence type='unavailable' to='%s/n%d'/>", c.room, i+1)); err != nil {
			return err
		}
	}
	if err := quiet(ctx, c.s); err != nil {
		return err
	}
	span, err := begin(c.s, 0)
	if err != nil {
		return err
	}
	start := time.Now()
	took := make([]time.Duration, c.AtOnce)
	errs := make([]error, c.AtOnce)
	var all sync.WaitGroup
	for i := range c.AtOnce {
		all.Go(func() {
			errs[i] = c.enter(ctx, i+1)
			took[i] = time.Since(start)
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := quiet(ctx, c.s); err != nil {
		return err
	}
	r, err := span.end(c.s, int64(c.AtOnce), time.Millisecond)
	if err != nil {
		return err
	}
	slices.Sort(took)
	_, err = fmt.Fprintf(w, "%d come at once: half are in after %v, the last after %v; %s of CPU each.\n",
		c.AtOnce, took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond), Millis.Format(r.Value))
	return err
}
