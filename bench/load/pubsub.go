package load

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

const (
	nsPubsub = "http://jabber.org/protocol/pubsub"
	// benchNode is the node that is published to, at the service and at the account.
	benchNode = "urn:xmpp:bench:0"
	// deliverWithin bounds the time from a publication to its last notification.
	deliverWithin = 2 * time.Minute
)

// audience are sessions that are told of publications.
type audience struct {
	conns  []*Conn        // account 0 publishes
	heard  atomic.Int64   // by all
	each   []atomic.Int64 // by each
	closed atomic.Bool
	failed chan error
}

// listen counts the notifications that come to session k, in a goroutine.
func (a *audience) listen(k int) {
	c := a.conns[k]
	go func() {
		in := make([]byte, 4<<10)
		tags := tagCounter{tag: []byte("</event>")}
		note := func(b []byte) {
			if n := int64(tags.count(b)); n > 0 {
				a.each[k].Add(n)
				a.heard.Add(n)
			}
		}
		note(c.buf)
		for {
			n, err := c.c.Read(in)
			note(in[:n])
			if err != nil {
				if !a.closed.Load() {
					a.failed <- fmt.Errorf("%s: %w", c.JID, err)
				}
				return
			}
		}
	}()
}

func (a *audience) close() {
	a.closed.Store(true)
	closeAll(a.conns)
}

// publish publishes an item of Body bytes at an address, "" for the account itself.
func (a *audience) publish(to string, n, body int) error {
	c := a.conns[0]
	if err := c.c.SetDeadline(time.Now().Add(stepTimeout)); err != nil {
		return err
	}
	id := fmt.Sprint("pub", n)
	_, err := c.answered(id, publication(id, to, body))
	return err
}

// publication is a request to publish an item of body bytes at an address, "" for the account itself.
func publication(id, to string, body int) string {
	return query(id, "set", to, "<pubsub xmlns='"+nsPubsub+"'><publish node='"+benchNode+"'><item id='current'>"+
		"<x xmlns='"+benchNode+"'>"+strings.Repeat("x", body)+"</x></item></publish></pubsub>")
}

// spread publishes items, each as soon as the server has answered the one before, and divides by what is heard of them. It fails
// where somebody does not get something, or gets it twice.
func (a *audience) spread(ctx context.Context, s *Running, to string, items, body int) (Result, error) {
	listeners := int64(len(a.conns) - 1)
	if err := a.publish(to, 0, body); err != nil { // what happens once
		return Result{}, err
	}
	if err := a.hear(ctx, listeners); err != nil {
		return Result{}, err
	}
	if err := quiet(ctx, s); err != nil {
		return Result{}, err
	}
	before, each := a.heard.Load(), make([]int64, len(a.each))
	for k := range each {
		each[k] = a.each[k].Load()
	}
	span, err := begin(s, before)
	if err != nil {
		return Result{}, err
	}
	for n := range items {
		if err := a.publish(to, n+1, body); err != nil {
			return Result{}, err
		}
	}
	want := int64(items) * listeners
	if err := a.hear(ctx, before+want); err != nil {
		return Result{}, err
	}
	r, err := span.end(s, before+want, time.Microsecond)
	if err != nil {
		return Result{}, err
	}
	if err := quiet(ctx, s); err != nil {
		return Result{}, err
	}
	for k := range each[1:] {
		if got := a.each[k+1].Load() - each[k+1]; got != int64(items) {
			return Result{}, fmt.Errorf("%d notifications came to %s, not %d", got, a.conns[k+1].JID, items)
		}
	}
	return r, nil
}

// hear waits until as many notifications have come as are wanted.
func (a *audience) hear(ctx context.Context, want int64) error {
	end := time.Now().Add(deliverWithin)
	for a.heard.Load() < want {
		select {
		case err := <-a.failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d notifications have come, not %d", a.heard.Load(), want)
		}
	}
	return nil
}

// everybody logs accounts in, of which the first publishes.
func everybody(ctx context.Context, s *Running, n int, o Options) (*audience, error) {
	conns, err := loginAll(ctx, s, n, o, func(i int) int { return i })
	if err != nil {
		return nil, err
	}
	return &audience{conns: conns, each: make([]atomic.Int64, n), failed: make(chan error, n)}, nil
}

// subscribers is one node of the publish-subscribe service with Subscribers that are online.
func subscribers(ctx context.Context, s *Running, o Options) (Result, error) {
	a, err := everybody(ctx, s, o.Subscribers+1, o)
	if err != nil {
		return Result{}, err
	}
	defer a.close()
	service := "pubsub." + s.Domain
	if !s.Subscribed {
		if err := a.subscribe(ctx, s, o, service); err != nil {
			return Result{}, err
		}
	}
	for k := range o.Subscribers {
		a.listen(k + 1)
	}
	if err := quiet(ctx, s); err != nil {
		return Result{}, err
	}
	return a.spread(ctx, s, service, o.Items, o.Payload)
}

// subscribe makes the node and has all but the first subscribe to it.
func (a *audience) subscribe(ctx context.Context, s *Running, o Options, service string) error {
	if _, err := a.conns[0].request("create", "set", service, "<pubsub xmlns='"+nsPubsub+"'><create node='"+benchNode+"'/></pubsub>"); err != nil {
		return fmt.Errorf("the node: %w", err)
	}
	return each(ctx, o.Subscribers, o.LoginWorkers, func(_ context.Context, k int) error {
		c := a.conns[k+1]
		if err := c.c.SetDeadline(time.Now().Add(stepTimeout)); err != nil {
			return err
		}
		if _, err := c.request("subscribe", "set", service, "<pubsub xmlns='"+nsPubsub+"'><subscribe node='"+benchNode+"' jid='"+s.Bare(k+1)+"'/></pubsub>"); err != nil {
			return fmt.Errorf("%s cannot subscribe: %w", c.JID, err)
		}
		return c.c.SetDeadline(time.Time{})
	})
}

// What the clients of contacts announce (XEP-0115#ver-gen).
const benchClient = "client/pc//Bench"

func announced() (node, ver string) {
	sum := sha1.Sum([]byte(benchClient + "<" + benchNode + "+notify<"))
	return "urn:xmpp:bench:client", base64.StdEncoding.EncodeToString(sum[:])
}

// contacts is one account with Contacts that are online and want to know of a node of it (XEP-0163#notify).
func contacts(ctx context.Context, s *Running, o Options) (Result, error) {
	a, err := everybody(ctx, s, o.Contacts+1, o)
	if err != nil {
		return Result{}, err
	}
	defer a.close()
	for _, c := range a.conns {
		if err := c.c.SetDeadline(time.Now().Add(5 * time.Minute)); err != nil {
			return Result{}, err
		}
	}
	for _, kind := range []string{"subscribe", "subscribed"} {
		if err := a.befriend(ctx, s, kind); err != nil {
			return Result{}, fmt.Errorf("%s: %w", kind, err)
		}
	}
	if err := introduce(ctx, s, o.Contacts+1); err != nil {
		return Result{}, fmt.Errorf("the server does not learn what clients announce: %w", err)
	}
	// Each answers what it is asked about its client until it has a first notification, which a publication now gives it.
	if err := each(ctx, o.Contacts, o.Contacts, func(_ context.Context, k int) error { return a.conns[k+1].announce() }); err != nil {
		return Result{}, err
	}
	told := make(chan error, 1)
	go func() {
		told <- each(ctx, o.Contacts, o.Contacts, func(_ context.Context, k int) error { return a.conns[k+1].until("</event>") })
	}()
	if err := publishUntil(told, func(n int) error { return a.publish("", 1000000+n, o.Payload) }); err != nil {
		return Result{}, err
	}
	for k, c := range a.conns[1:] {
		if err := c.c.SetDeadline(time.Time{}); err != nil {
			return Result{}, err
		}
		a.listen(k + 1)
	}
	if err := quiet(ctx, s); err != nil {
		return Result{}, err
	}
	return a.spread(ctx, s, "", 20*o.Items, o.Payload)
}

// introduce has a server learn what the clients of contacts announce, from an account that is nobody's contact, so that it need not
// ask every one of them. What Prosody learns from somebody's own client it takes for interest of the account's bare address too, beside that of
// the client, and who has taught it hears of everything twice from its contacts here (mod_pep of 0.12).
func introduce(ctx context.Context, s *Running, account int) error {
	c, err := Login(ctx, s, account, 0, true)
	if err != nil {
		return err
	}
	defer closeAll([]*Conn{c})
	if err := c.c.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		return err
	}
	if err := c.announce(); err != nil {
		return err
	}
	told := make(chan error, 1)
	go func() { told <- c.until("</event>") }()
	return publishUntil(told, func(n int) error { return c.write(publication(fmt.Sprint("own", n), "", 0)) })
}

// publishUntil publishes until somebody is told: a server may ask about clients before it tells them, and tell of the next item only.
func publishUntil(told <-chan error, publish func(n int) error) error {
	for n := range 60 {
		if err := publish(n); err != nil {
			return err
		}
		t := time.NewTimer(time.Second)
		select {
		case err := <-told:
			t.Stop()
			return err
		case <-t.C:
		}
	}
	return errors.New("not all are told of what is published")
}

// befriend sends presence of kind both ways between the first account and all others, and waits until it is there.
func (a *audience) befriend(ctx context.Context, s *Running, kind string) error {
	var out bytes.Buffer
	for k := 1; k < len(a.conns); k++ {
		fmt.Fprintf(&out, "<presence to='%s' type='%s'/>", s.Bare(k), kind)
	}
	done := make(chan error, 1)
	go func() {
		_, err := a.conns[0].c.Write(out.Bytes())
		if err == nil {
			err = a.conns[0].presences(kind, len(a.conns)-1)
		}
		done <- err
	}()
	err := each(ctx, len(a.conns)-1, len(a.conns), func(_ context.Context, k int) error {
		c := a.conns[k+1]
		if err := c.write("<presence to='" + s.Bare(0) + "' type='" + kind + "'/>"); err != nil {
			return err
		}
		return c.presences(kind, 1)
	})
	if err != nil {
		return err
	}
	return <-done
}

// presences reads until presence of a kind has come from as many.
func (c *Conn) presences(kind string, n int) error {
	from := make(map[string]bool)
	for len(from) < n {
		el, err := c.element()
		if err != nil {
			return fmt.Errorf("%s has %d of %d: %w", c.JID, len(from), n, err)
		}
		if bytes.HasPrefix(el, []byte("<presence")) && attribute(el, "type") == kind {
			from[attribute(el, "from")] = true
		}
	}
	return nil
}

// announce sends presence that says what the client wants to know of.
func (c *Conn) announce() error {
	node, ver := announced()
	return c.write("<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='" + node + "' ver='" + ver + "'/></presence>")
}

// until reads until an element has come that contains something, and answers what the client is asked meanwhile.
func (c *Conn) until(mark string) error {
	for {
		el, err := c.element()
		if err != nil {
			return fmt.Errorf("%s: %w", c.JID, err)
		}
		if bytes.Contains(el, []byte(mark)) {
			return nil
		}
		if !bytes.HasPrefix(el, []byte("<iq")) || attribute(el, "type") != "get" {
			continue
		}
		node := ""
		if at := bytes.Index(el, []byte("<query")); at >= 0 {
			node = attribute(el[at:], "node")
		}
		if node != "" {
			node = " node='" + node + "'"
		}
		if err := c.write("<iq type='result' id='" + attribute(el, "id") + "' to='" + attribute(el, "from") + "'><query xmlns='http://jabber.org/protocol/disco#info'" + node +
			"><identity category='client' type='pc' name='Bench'/><feature var='" + benchNode + "+notify'/></query></iq>"); err != nil {
			return err
		}
	}
}
