package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// occupants is 1,000 sessions in ten rooms, or whatever Options say.
type occupants struct {
	conns  []*Conn
	copies atomic.Int64 // messages that came to those who do not speak
	closed atomic.Bool
	failed chan error
}

func roomOf(s *Running, i int, o Options) string {
	return fmt.Sprintf("room%d@conference.%s", i%o.Rooms, s.Domain)
}

// occupantsNow logs everybody in, and makes the rooms by having one enter each.
func occupantsNow(ctx context.Context, s *Running, o Options) (*occupants, error) {
	n := o.Rooms * o.Occupants
	conns, err := loginAll(ctx, s, n, o, func(i int) int { return i })
	if err != nil {
		return nil, err
	}
	p := &occupants{conns: conns, failed: make(chan error, n)}
	err = each(ctx, o.Rooms, 1, func(_ context.Context, i int) error {
		if err := conns[i].enter(s, i, o); err != nil {
			return err
		}
		// A room may be locked until its owner has configured it (XEP-0045#createroom-instant).
		form := ""
		if s.NeverArchive { // the peers keep no archive of rooms as they are shipped
			form = "<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>" +
				"<field var='muc#roomconfig_enablearchiving'><value>0</value></field>"
		}
		if _, err := conns[i].request("unlock", "set", roomOf(s, i, o),
			"<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>"+form+"</x></query>"); err != nil {
			return err
		}
		return nil
	})
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// enter joins the room of account i and waits for its subject, which is the last
// that a room sends to a new occupant (XEP-0045#order).
func (c *Conn) enter(s *Running, i int, o Options) error {
	if err := c.c.SetDeadline(time.Now().Add(stepTimeout)); err != nil {
		return err
	}
	if err := c.write("<presence to='" + roomOf(s, i, o) + "/" + s.Account(i) + "'><x xmlns='http://jabber.org/protocol/muc'/></presence>"); err != nil {
		return err
	}
	for {
		el, err := c.element()
		if err != nil {
			return err
		}
		if bytes.HasPrefix(el, []byte("<presence")) && attribute(el, "type") == "error" {
			return fmt.Errorf("%s may not enter: %.300q", c.JID, el)
		}
		if bytes.HasPrefix(el, []byte("<message")) && bytes.Contains(el, []byte("<subject")) {
			return c.c.SetDeadline(time.Time{})
		}
	}
}

func (p *occupants) close() {
	p.closed.Store(true)
	closeAll(p.conns)
}

// fillRooms has all enter that are not in yet. Whoever is in, reads on: silent
// occupants only count.
func (p *occupants) fillRooms(ctx context.Context, s *Running, o Options) error {
	for i := range o.Rooms {
		p.readOn(i, o)
	}
	return each(ctx, len(p.conns)-o.Rooms, o.Rooms, func(_ context.Context, k int) error {
		i := k + o.Rooms
		if err := p.conns[i].enter(s, i, o); err != nil {
			return err
		}
		p.readOn(i, o)
		return nil
	})
}

// speaks says whether account i is one of the last to enter its room, who talk.
func speaks(i int, o Options) bool { return i >= o.Rooms*(o.Occupants-o.Speakers) }

// readOn counts what comes to a silent occupant, in a goroutine.
func (p *occupants) readOn(i int, o Options) {
	if speaks(i, o) {
		return
	}
	c := p.conns[i]
	go func() {
		in := make([]byte, 16<<10)
		tags := tagCounter{tag: []byte("</body>")} // a subject has none
		tags.count(c.buf)
		for {
			n, err := c.c.Read(in)
			p.copies.Add(int64(tags.count(in[:n])))
			if err != nil {
				if !p.closed.Load() {
					p.failed <- fmt.Errorf("%s: %w", c.JID, err)
				}
				return
			}
		}
	}()
}

// join measures the entering, not the logging in.
func join(ctx context.Context, s *Running, o Options) (Result, error) {
	p, err := occupantsNow(ctx, s, o)
	if err != nil {
		return Result{}, err
	}
	defer p.close()
	if err := quiet(ctx, s); err != nil {
		return Result{}, err
	}
	span, err := begin(s, 0)
	if err != nil {
		return Result{}, err
	}
	if err := p.fillRooms(ctx, s, o); err != nil {
		return Result{}, err
	}
	if err := quiet(ctx, s); err != nil {
		return Result{}, err
	}
	return span.end(s, int64(len(p.conns)-o.Rooms), time.Millisecond)
}

// talk has Speakers of each room say something as soon as the room has repeated
// what they said before.
func talk(ctx context.Context, s *Running, o Options) (Result, error) {
	if o.Speakers >= o.Occupants {
		return Result{}, errors.New("somebody must listen")
	}
	p, err := occupantsNow(ctx, s, o)
	if err != nil {
		return Result{}, err
	}
	defer p.close()
	if err := p.fillRooms(ctx, s, o); err != nil {
		return Result{}, err
	}
	if err := quiet(ctx, s); err != nil {
		return Result{}, err
	}
	// A copy that a speaker gets counts like one that comes to a listener.
	var spoken atomic.Int64
	for i := range p.conns {
		if !speaks(i, o) {
			continue
		}
		go func() {
			err := p.speak(s, i, o, &spoken)
			if !p.closed.Load() {
				p.failed <- err
			}
		}()
	}
	wait := func(d time.Duration) error {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			return nil
		case err := <-p.failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := wait(o.Warm); err != nil {
		return Result{}, err
	}
	count := func() int64 { return p.copies.Load() + spoken.Load() }
	span, err := begin(s, count())
	if err != nil {
		return Result{}, err
	}
	if err := wait(o.Time); err != nil {
		return Result{}, err
	}
	return span.end(s, count(), time.Microsecond)
}

// speak says one thing after the other, and adds what it hears to heard,
// until the connection ends.
func (p *occupants) speak(s *Running, i int, o Options, heard *atomic.Int64) error {
	c := p.conns[i]
	body := strings.Repeat("x", o.Body)
	for n := 0; ; n++ {
		id := fmt.Sprintf("%s-%08d", s.Account(i), n)
		if err := c.write("<message to='" + roomOf(s, i, o) + "' type='groupchat' id='" + id + "'><body>" + body + "</body></message>"); err != nil {
			return err
		}
		for {
			el, err := c.element()
			if err != nil {
				return fmt.Errorf("%s: %w", c.JID, err)
			}
			if !bytes.HasPrefix(el, []byte("<message")) || !bytes.Contains(el, []byte("<body>")) {
				continue
			}
			if attribute(el, "type") == "error" {
				return fmt.Errorf("%s may not speak: %.300q", c.JID, el)
			}
			heard.Add(1)
			if attribute(el, "id") == id {
				break
			}
		}
	}
}
