package c2s

import (
	"slices"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/sm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// bind2Feature offers Bind 2 with what may be set up in it (XEP-0386#usecases).
func (c *clientStream) bind2Feature() *xmlstream.Element {
	in := xmlstream.El(stream.NSBind2, "inline")
	for _, v := range append(slices.Clone(c.hostNow().InlineFeatures()), sm.NS) { // XEP-0198#inline-enable
		in.Add(xmlstream.El(stream.NSBind2, "feature", xmlstream.A("var", v)))
	}
	return xmlstream.El(stream.NSBind2, "bind", in)
}

// bind2 binds a resource within a login (XEP-0386#bind-request), and sends its result. It returns false, having done
// nothing, where the account has too many resources: there is no answer for that but a success that tells of no resource.
func (c *clientStream) bind2(bind *xmlstream.Element, r result2) (done bool, err error) {
	me := c.newSession(c.stableJID(bind.ChildText(stream.NSBind2, "tag")))
	me.Queue.Hold() // whoever finds the session may send to it, and <success/> comes first
	c.endEarlier(me.JID())
	replaced, ok := c.enter(me)
	if !ok {
		me.Queue.Unsent() // nothing waits in it
		return false, nil
	}
	bound := xmlstream.El(stream.NSBind2, "bound")
	if e := bind.Child(sm.NS, "enable"); e != nil {
		t := c.lease.Begin()            // nobody can take over what is not managed yet
		bound.Add(c.enable(t, e, true)) // all that waits in the queue comes after it
		t.End()
	}
	bound.Add(c.hostNow().Inline(c.ctx, me, slices.Collect(bind.Elements())))
	var first []string
	features, _ := c.featureList()
	for _, b := range c.encoded(r.element(me.JID(), nil, bound), features) {
		first = append(first, string(b))
	}
	me.Queue.Release(first...)
	return true, c.opened(me, replaced)
}

// stableJID makes the full JID of a client: its tag, and what is the same each time it comes back (XEP-0386#identifiers).
// A tag that cannot stand in a resource is left out.
func (c *clientStream) stableJID(tag string) jid.JID {
	bare := c.principal.JID()
	own := c.authn.Resource(c.principal, tag)
	if own == "" {
		own = stanza.NewID()
	}
	if tag != "" {
		if j, err := bare.WithResource(tag + "/" + own); err == nil {
			return j
		}
	}
	j, err := bare.WithResource(own)
	if err != nil { // it is of the server's own letters
		panic(err)
	}
	return j
}

// endEarlier ends the sessions that the same client has left behind (XEP-0386#bind-request), but that of the resource it
// gets, which is replaced.
func (c *clientStream) endEarlier(full jid.JID) {
	client := c.principal.Client()
	if client == "" {
		return
	}
	for _, s := range c.srv.o.Router.Directory().Sessions(c.principal.JID()) {
		if s.Client().ID == client && s.JID() != full {
			s.Close(string(stream.Conflict), "replaced by a new stream of this client")
		}
	}
}

// client is what is known of the client of the stream.
func (c *clientStream) client() mod.Client {
	return mod.Client{ID: c.principal.Client(), Software: c.agent.Software, Device: c.agent.Device, Mechanism: c.principal.Mechanism()}
}
