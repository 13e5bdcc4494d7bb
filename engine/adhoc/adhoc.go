// Package adhoc owns the responding side of ad-hoc commands (XEP-0050): the list of the commands of an address, their forms made
// of the arguments, the sessions between form and submission, and results as forms. What the commands are and who may give them is the
// business of the extension that uses it.
package adhoc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// NS is the namespace of commands, and the node of the list (XEP-0050#retrieve).
const NS = "http://jabber.org/protocol/commands"

// Options say what a Responder offers.
type Options struct {
	Host mod.Host
	// Name is that of the list, for people.
	Name string
	// Commands returns the commands of an address, whoever asks, bound.
	Commands func(at jid.JID) []mod.Command
	// May tells whether somebody may give a command at an address. An error is what the asker is owed: the address may not exist.
	May func(ctx context.Context, at, who jid.JID, c *mod.Command) (bool, error)
}

const (
	// lifetime is how long a form may be filled in.
	lifetime = 15 * time.Minute
	// perUser and inAll bound the sessions that are open.
	perUser = 20
	inAll   = 10_000
)

// session is a command whose form was handed out (XEP-0050#impl-session).
type session struct {
	who, at jid.JID // who asked, with the resource, and whom
	node    string
	until   time.Time
	ended   bool // kept for a while, so that a late submission learns what is the matter
}

// Responder answers for the commands of a host or a service. Its methods may be called from any goroutine.
type Responder struct {
	o Options

	mu       sync.Mutex
	sessions map[string]*session
}

// New returns a Responder.
func New(o Options) *Responder { return &Responder{o: o, sessions: make(map[string]*session)} }

// IQ returns the handler of commands at a place.
func (r *Responder) IQ(at mod.Where) mod.IQHandler {
	return mod.IQHandler{At: at, Space: NS, Local: "command", Type: stanza.TypeSet, Slow: true, Func: r.command}
}

// Info tells about the list of commands or a command (XEP-0050#retrieve); nil for another node.
func (r *Responder) Info(ctx context.Context, at, who jid.JID, node string) (*mod.Disco, error) {
	if node == NS {
		return &mod.Disco{Identities: []mod.Identity{{Category: "automation", Type: "command-list", Name: r.o.Name}}, Features: []string{NS}}, nil
	}
	c, err := r.find(ctx, at, who, node)
	if c == nil || err != nil {
		return nil, err
	}
	return &mod.Disco{
		Identities: []mod.Identity{{Category: "automation", Type: "command-node", Name: c.Doc}}, Features: []string{NS, dataform.NS},
	}, nil
}

// Items lists the commands that somebody may give; ok is false for a node that is neither the list nor a command.
func (r *Responder) Items(ctx context.Context, at, who jid.JID, node string) (items []mod.DiscoItem, ok bool, err error) {
	if node != NS {
		c, err := r.find(ctx, at, who, node)
		return nil, c != nil, err
	}
	all := r.o.Commands(at)
	for i := range all {
		may, err := r.o.May(ctx, at, who, &all[i])
		if err != nil {
			return nil, true, err
		}
		if may && !all[i].Local {
			items = append(items, mod.DiscoItem{JID: at, Node: all[i].NodeOf(), Name: all[i].Doc})
		}
	}
	return items, true, nil
}

// find returns the command of a node, or nil. The error says that who asks may not give it.
func (r *Responder) find(ctx context.Context, at, who jid.JID, node string) (*mod.Command, error) {
	all := r.o.Commands(at)
	for i := range all {
		c := &all[i]
		if c.Local || c.NodeOf() != node {
			continue
		}
		may, err := r.o.May(ctx, at, who, c)
		if err == nil && !may {
			err = stanza.Err(stanza.Forbidden, "you may not give this command").OfType(stanza.Cancel) // XEP-0050#desc-errors
		}
		return c, err
	}
	return nil, nil
}

// bad is one of the errors of XEP-0050#desc-errors.
func bad(condition, format string, args ...any) error {
	return stanza.Errf(stanza.BadRequest, format, args...).With(xmlstream.El(NS, condition))
}

// command does what an <iq/> with a command asks for (XEP-0050#execute).
func (r *Responder) command(ctx context.Context, q *mod.Request) (*xmlstream.Element, error) {
	x := q.Payload
	node, action := x.Attr("node"), x.Attr("action")
	if node == "" {
		return nil, stanza.Err(stanza.BadRequest, "a command has a node")
	}
	at, who := q.To.Bare(), q.From
	c, err := r.find(ctx, at, who, node)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, stanza.Err(stanza.ItemNotFound, "there is no such command")
	}
	switch action {
	case "", "execute", "cancel", "prev", "next", "complete":
	default:
		return nil, bad("malformed-action", "there is no action %.40q", action)
	}
	id, continued := x.LookupAttr(xmlstream.Name{Local: "sessionid"})
	if continued {
		if err := r.resume(id, session{who: who, at: at, node: node}); err != nil {
			return nil, err
		}
	} else {
		id = stanza.NewID()
	}
	switch {
	case action == "cancel" && continued: // XEP-0050#cancel
		r.end(id)
		return answer(node, id, "canceled"), nil
	case action == "cancel", action == "prev", action == "next", action == "complete" && !continued: // each has one stage, which the list of actions tells
		return nil, bad("bad-action", "the action %s is not open now", action)
	}
	call := &mod.Call{Host: r.o.Host.Domain(), By: who, At: at}
	return r.execute(ctx, c, call, x.Child(dataform.NS, "x"), id, continued)
}

// execute hands out the form of a command, or runs it.
func (r *Responder) execute(ctx context.Context, c *mod.Command, call *mod.Call, x *xmlstream.Element, id string, continued bool) (*xmlstream.Element, error) {
	f, err := form(ctx, c, call)
	if err != nil {
		return nil, err
	}
	args := []byte("{}")
	switch {
	case x != nil:
		if args, err = submitted(c, f, x); err != nil {
			return nil, err // the session goes on: the form can be corrected
		}
	case len(c.Args) > 0 && continued:
		return nil, bad("bad-payload", "the form is missing")
	case len(c.Args) > 0:
		if err := r.open(id, session{who: call.By, at: call.At, node: c.NodeOf()}); err != nil {
			return nil, err
		}
		actions := xmlstream.El(NS, "actions", xmlstream.A("execute", "complete"), xmlstream.El(NS, "complete"))
		return answer(c.NodeOf(), id, "executing").Add(actions, f.Element()), nil
	}
	r.end(id)
	r.o.Host.Log().Info("command", "node", c.NodeOf(), "by", call.By.String(), "at", call.At.String())
	result, err := c.Run(ctx, call, args)
	if e, ok := errors.AsType[*stanza.Error](err); ok {
		switch e.Condition {
		case stanza.Conflict, stanza.FeatureNotImplemented, stanza.Forbidden, stanza.NotAllowed, stanza.ServiceUnavailable:
			return nil, e // XEP-0133#errors
		}
		return failed(c, id, e), nil
	}
	if err != nil {
		return nil, fmt.Errorf("command %s: %w", c.NodeOf(), err)
	}
	return completed(c, id, result), nil
}

// failed is the answer of a command that has been given rightly and could not do its work: completed, with a note that says why
// (XEP-0050#impl-commands).
func failed(c *mod.Command, id string, e *stanza.Error) *xmlstream.Element {
	why := e.Text
	if why == "" {
		why = string(e.Condition)
	}
	return answer(c.NodeOf(), id, "completed").Add(xmlstream.El(NS, "note", xmlstream.A("type", "error"), why))
}

func answer(node, id, status string) *xmlstream.Element {
	return xmlstream.El(NS, "command", xmlstream.A("node", node), xmlstream.A("sessionid", id), xmlstream.A("status", status),
		xmlstream.Attr{Name: xmlstream.Name{Space: xmlstream.NSXML, Local: "lang"}, Value: "en"})
}

// open begins a session.
func (r *Responder) open(id string, s session) error {
	now := r.o.Host.Clock().Now()
	s.until = now.Add(lifetime)
	r.mu.Lock()
	defer r.mu.Unlock()
	own, all := 0, 0
	for k, o := range r.sessions {
		switch {
		case now.After(o.until):
			delete(r.sessions, k)
			continue
		case !o.ended && o.who.Bare() == s.who.Bare():
			own++
		}
		all++
	}
	if own >= perUser || all >= inAll {
		return stanza.Err(stanza.ResourceConstraint, "too many commands wait for their forms").OfType(stanza.Wait)
	}
	r.sessions[id] = &s
	return nil
}

// resume tells whether a session is that of a request (XEP-0050#desc-errors).
func (r *Responder) resume(id string, want session) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sessions[id]
	if s == nil || s.who != want.who || s.at != want.at || s.node != want.node {
		return bad("bad-sessionid", "there is no such session")
	}
	if s.ended || r.o.Host.Clock().Now().After(s.until) {
		return stanza.Err(stanza.NotAllowed, "the session has ended").With(xmlstream.El(NS, "session-expired"))
	}
	return nil
}

func (r *Responder) end(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.sessions[id]; s != nil {
		s.ended = true
	}
}
