package s2s

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"time"

	"sabir/xmpp/certname"
	"sabir/xmpp/dial"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// Several pairs on one stream of ours (XEP-0220#multiplex): a link that needs a stream asks for a place on one that leads to the same
// server. Each pair is proved by itself, and what is refused finds its own way.

// aloneTime is how long a link that was refused a place asks for none.
const aloneTime = 10 * time.Minute

// join asks for a place for the link of a stream that is yet to be opened. It returns true where another sender carries the link now.
func (s *sender) join() bool {
	links := s.links()
	if s.hasBegun() || len(links) != 1 || !links[0].mayAsk(s.srv.o.Clock.Now()) {
		return false
	}
	l := links[0]
	ctx, cancel := context.WithDeadline(s.srv.ctx, s.deadline(2))
	defer cancel()
	o := s.srv.neighbour(ctx, l.pair)
	if o == nil {
		return false
	}
	if err := o.authorize(ctx, l.pair); err != nil {
		s.srv.o.Log.Info("a pair of domains gets no place on the stream of another", "domain", l.remote.Domain(), "from", l.local.Domain(), "target", o.target.String(), "error", err)
		l.refused(s.srv.o.Clock.Now())
		return false
	}
	if !o.snd.ride(l, s) {
		return false // the stream has ended
	}
	s.drop(l)
	s.srv.o.Log.Info("a pair of domains has a place on the stream of another", "domain", l.remote.Domain(), "from", l.local.Domain(), "target", o.target.String())
	return true
}

// mayAsk tells whether the link may ask for a place on the stream of another.
func (l *link) mayAsk(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !now.Before(l.alone)
}

func (l *link) refused(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.alone = now.Add(aloneTime)
}

// neighbour returns a stream of ours to the server of a pair on which the pair may be proved, or nil.
func (s *Server) neighbour(ctx context.Context, p pair) *outStream {
	var others []*outStream // to other domains
	most := s.settings().DomainsPerStream
	for _, snd := range s.allSenders() {
		o := snd.out()
		switch {
		case o == nil || !o.open() || !o.peer.invites() || len(snd.links()) >= most:
		case snd.remote == p.remote: // XEP-0220#sendermultiplex
			return o
		case o.vouches(p.remote):
			others = append(others, o)
		}
	}
	if len(others) == 0 || s.settings().HostMeta == "first" { // what the domain has published there would have to be asked
		return nil
	}
	targets, err := s.targets(ctx, p.remote)
	if err != nil || slices.ContainsFunc(targets, func(t dial.Target) bool { return t.Secure }) {
		return nil // connecting finds out the same, and which certificate DANE asks for
	}
	for _, o := range others { // XEP-0220#targetmultiplex
		addr, ok := o.peer.conn.RemoteAddr().(*net.TCPAddr)
		if ok && s.o.Dialer.Reaches(ctx, targets, o.target, addr.AddrPort()) {
			return o
		}
	}
	return nil
}

// invites tells whether a server takes further pairs, and says so where it does not take one (XEP-0220#advertisement-errors).
func (o *peerStream) invites() bool {
	return o.features.Element.Child(nsDialbackFeature, "dialback").Child(nsDialbackFeature, "errors") != nil
}

// vouches tells whether what the server has shown does for a further domain: as much as on a connection for that domain alone. Where it
// may send to us on the stream, it must have proved the domain.
func (o *outStream) vouches(remote jid.JID) bool {
	if o.peer.dir != nil || len(o.peer.tlsa) > 0 {
		return false // what has been asked about it, or has been published, is for the one domain
	}
	pol := o.srv.policy.Load()
	auth := pol.rule(remote.Domain()).auth
	switch {
	case o.in == nil && auth == authDialback:
		return true
	case auth != authPin && (len(o.peer.chain) == 0 || !certname.Certifies(o.peer.chain[0], remote.Domain())):
		return false // each new link asks all streams: the names are looked at before the chain
	}
	return pol.verify(o.tcp.TLS(), remote.Domain(), o.srv.o.Clock.Now(), x509.ExtKeyUsageServerAuth) == nil
}

// open tells whether the stream has not ended.
func (o *outStream) open() bool {
	select {
	case <-o.done:
		return false
	case <-o.said:
		return false
	default:
		return true
	}
}

// question is a key that was sent, and waits for its answer.
type question struct {
	pair
	answer chan error
}

// authorize proves a further pair on the stream while it is in use.
func (o *outStream) authorize(ctx context.Context, p pair) error {
	q := &question{p, make(chan error, 1)}
	o.askM.Lock()
	o.asked = append(o.asked, q)
	o.askM.Unlock()
	defer o.forget(q)
	if err := o.sendKey(p); err != nil {
		return err
	}
	select {
	case err := <-q.answer:
		return err
	case <-o.done:
		return errors.New("the stream has ended")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (o *outStream) forget(q *question) {
	o.askM.Lock()
	defer o.askM.Unlock()
	o.asked = slices.DeleteFunc(o.asked, func(r *question) bool { return r == q })
}

// dialbackElement handles an element of dialback on a stream in use.
func (o *outStream) dialbackElement(x *xmlstream.Element) error {
	if x.Attr("type") == "" {
		return o.decline(x)
	}
	o.askM.Lock()
	defer o.askM.Unlock()
	for _, q := range o.asked { // any other is an answer that nobody waits for (XEP-0220#security-unsolicited)
		if ok, err := dialbackAnswer(x, q.pair); ok {
			if err == nil && o.in != nil { // XEP-0288#nego: the inverse of what was proved
				o.in.allow(q.pair)
			}
			select {
			case q.answer <- err:
			default: // it has one
			}
		}
	}
	return nil
}

// decline answers the request of a peer to prove a further pair on a stream that goes both ways (XEP-0288#nego): it has a stream of
// its own for that (XEP-0220#errors).
func (o *outStream) decline(x *xmlstream.Element) error {
	if x.Name.Local != "result" && x.Name.Local != "verify" {
		return unknownElement()
	}
	return o.write(appendDialback(nil, x.Name.Local, x.Attr("to"), x.Attr("from"), x.Attr("id"), "error", dialbackError("wait", string(stanza.ResourceConstraint), "open a stream for that")))
}

// readmit proves the pairs anew that rode on the stream before it lost its connection, and returns the links that were refused. The error is
// that of the connection.
func (o *outStream) readmit() (refused []*link, err error) {
	for _, l := range o.snd.links() {
		if l.pair == o.snd.pair {
			continue
		}
		err := o.readmitOne(l)
		var f *failure
		switch {
		case err == nil && o.in != nil:
			o.in.allow(l.pair)
		case err == nil:
		case errors.As(err, &f):
			o.srv.o.Log.Info("a pair of domains has lost its place on the stream of another", "domain", l.remote.Domain(), "from", l.local.Domain(), "error", err)
			refused = append(refused, l)
		default:
			return nil, err
		}
	}
	return refused, nil
}

func (o *outStream) readmitOne(l *link) error {
	if !o.peer.invites() || l.remote != o.snd.remote && !o.vouches(l.remote) {
		return final("that server takes it no more", nil)
	}
	return o.dialback(l.pair, nil)
}
