package transcript

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/sm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// Failure is a script that did not go as written.
type Failure struct {
	File     string
	Line     int
	What     string // in a sentence
	Expected string // XML, or ""
	Got      string // XML, or ""
	Said     []string
}

// maxSaid is how many lines of the conversation a Failure prints.
const maxSaid = 80

// Error tells all: where, what was expected and came, and the conversation until then.
func (f *Failure) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d: %s", f.File, f.Line, f.What)
	if f.Expected != "" {
		fmt.Fprintf(&b, "\n  expected: %s", f.Expected)
	}
	if f.Got != "" {
		fmt.Fprintf(&b, "\n  got:      %s", f.Got)
	}
	said := f.Said
	if len(said) > 0 {
		b.WriteString("\n  the conversation until then:")
	}
	if n := len(said) - maxSaid; n > 0 {
		fmt.Fprintf(&b, "\n    (%d lines before)", n)
		said = said[n:]
	}
	for _, l := range said {
		b.WriteString("\n    " + l)
	}
	return b.String()
}

// Run runs a script. The error is a *Failure where the conversation did not go as written.
func Run(ctx context.Context, s *Script, t *Target) error {
	v, err := s.people(ctx, t)
	if err != nil {
		return err
	}
	r := newRun(ctx, s, t, v)
	defer r.end()
	for i := range s.Steps {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%s:%d: %w", s.File, s.Steps[i].Line, err)
		}
		if f := r.step(&s.Steps[i]); f != nil {
			f.File, f.Said = s.File, r.said
			if f.Line == 0 {
				f.Line = s.Steps[i].Line
			}
			return f
		}
	}
	return nil
}

// run is a script under way.
type run struct {
	ctx     context.Context
	s       *Script
	t       *Target
	v       *scope
	actors  []*actor  // nil while not connected
	managed []managed // by character
	said    []string
}

func newRun(ctx context.Context, s *Script, t *Target, v *scope) *run {
	n := len(s.Characters)
	return &run{ctx: ctx, s: s, t: t, v: v, actors: make([]*actor, n), managed: make([]managed, n)}
}

// managed is what a character needs to resume its session (XEP-0198#resumption).
type managed struct {
	id      string
	handled uint32 // stanzas that it has received since
}

// saw notes an element that a character has received.
func (m *managed) saw(x *xmlstream.Element) {
	switch {
	case x.Is(sm.NS, "enabled"):
		*m = managed{id: x.Attr("id")}
	case x.Name.Space == stanza.NSClient:
		m.handled++
	}
}

// actor is a character with a connection.
type actor struct {
	name string
	s    *client.Stream // of a [Client]
	w    *wire          // of a [Server]
	cfg  *client.Config
	in   chan event // nil until somebody wants to know what comes
	stop chan struct{}
	left []event // came while negotiation was under way
	over bool    // the end was seen
	sm   *managed
}

// event is something that came: a frame, or the end.
type event struct {
	el  *xmlstream.Element
	err error
}

func fail(format string, args ...any) *Failure { return &Failure{What: fmt.Sprintf(format, args...)} }

func (r *run) say(format string, args ...any) { r.said = append(r.said, fmt.Sprintf(format, args...)) }

// end cuts what is still connected.
func (r *run) end() {
	for _, a := range r.actors {
		if a != nil {
			r.cut(a)
		}
	}
}

func (r *run) cut(a *actor) {
	if a.stop != nil {
		close(a.stop)
		a.stop = nil
	}
	var err error
	switch {
	case a.w != nil:
		err = a.w.conn.Close()
	case a.s != nil:
		err = a.s.Conn.Close()
	}
	if err != nil {
		r.t.log().Debug("cutting a connection", "who", a.name, "err", err)
	}
}

func (r *run) step(st *Step) *Failure {
	switch st.Verb {
	case Together:
		return r.together(st)
	case Capture:
		delete(r.v.captured, st.Text)
		return nil
	case NodeStops, NodeStarts:
		if r.t.Node == nil {
			return fail("there is one node")
		}
		r.say("node %d: %v", st.Node, st.Verb == NodeStarts)
		if err := r.t.Node(r.ctx, st.Node, st.Verb == NodeStarts); err != nil {
			return fail("node %d: %v", st.Node, err)
		}
		return nil
	}
	name := r.s.Characters[st.Actor].Name
	switch kind := r.s.Characters[st.Actor].Kind; kind {
	case ClientKind:
	case ServerKind:
		if done, f := r.peerStep(st, name); done {
			return f
		}
	default:
		return fail("%s is a [%s], which cannot act yet", name, kind)
	}
	a := r.actors[st.Actor]
	switch st.Verb {
	case Connects, Opens:
		if a != nil {
			return fail("%s is connected already", name)
		}
		return r.connect(st, name)
	case Authenticates:
		return r.authenticate(st, name)
	case Resumes:
		return r.resume(st, name)
	}
	if a == nil {
		return fail("%s is not connected", name)
	}
	switch st.Verb {
	case IsOffered:
		return r.offered(st, a)
	case Sends:
		return r.send(st, a)
	case SendsRaw:
		text, err := r.v.expand(st.Text, st.Actor)
		if err == nil {
			r.say("→ %s: %s", a.name, text)
			err = a.sendRaw(text)
		}
		if err != nil {
			return fail("%s cannot send: %v", a.name, err)
		}
		return nil
	case Receives:
		for _, want := range st.Elements {
			if f := r.receive(st, a, want); f != nil {
				return f
			}
		}
		return nil
	case ReceivesNothing:
		return r.silence(st, a)
	case Disconnects:
		return r.disconnect(st, a)
	case Drops:
		r.say("- %s cuts the connection", a.name)
		r.cut(a)
		r.actors[st.Actor] = nil
		return nil
	case IsDisconnected:
		return r.cutOff(st, a)
	}
	return fail("%s cannot do this yet", name)
}

// config makes the configuration of a character's client.
func (r *run) config(st *Step) (*client.Config, error) {
	c := &r.s.Characters[st.Actor]
	account := r.v.accounts[r.v.people[st.Actor].account]
	cfg := r.t.Client
	cfg.JID, cfg.Password = account.JID, account.Password
	if _, resource, ok := strings.Cut(c.Get("jid"), "/"); ok {
		full, err := account.JID.WithResource(resource)
		if err != nil {
			return nil, err
		}
		cfg.JID = full
	}
	if cfg.Address == "" && c.Get("connect_host") != "" {
		cfg.Address = c.Get("connect_host")
		if port := c.Get("connect_port"); port != "" {
			cfg.Address += ":" + port
		}
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = max(r.t.timeout(), 10*time.Second)
	}
	if st.Verb == Opens && st.Text != "" {
		to, err := r.v.expand(st.Text, st.Actor)
		if err != nil {
			return nil, err
		}
		if cfg.Domain, err = jid.Parse(to); err != nil {
			return nil, err
		}
	}
	return &cfg, nil
}

// connect does Connects and Opens.
func (r *run) connect(st *Step, name string) *Failure {
	cfg, err := r.config(st)
	if err != nil {
		return fail("%s cannot connect: %v", name, err)
	}
	a := &actor{name: name, cfg: cfg, stop: make(chan struct{}), sm: &r.managed[st.Actor]}
	s, err := client.Open(r.ctx, cfg)
	if err != nil {
		var bad *stream.Error
		if st.Verb != Opens || !errors.As(err, &bad) {
			return fail("%s cannot connect: %v", name, err)
		}
		r.say("← %s: %s", name, bad.Element())
		a.left = []event{{el: bad.Element()}, {err: io.EOF}}
		r.actors[st.Actor] = a
		return nil
	}
	a.s, r.v.people[st.Actor].stream = s, s
	r.actors[st.Actor] = a
	if st.Verb == Opens {
		r.say("- %s opens a stream to %s", name, s.Target)
		return nil
	}
	if err := s.Authenticate(r.ctx); err != nil {
		return fail("%s cannot log in: %v", name, err)
	}
	full, err := s.Bind(r.ctx, cfg.JID.Resource())
	if err != nil {
		return fail("%s cannot bind a resource: %v", name, err)
	}
	r.v.people[st.Actor].full = full.String()
	r.say("- %s connects as %s", name, full)
	r.listen(a)
	return nil
}

func (r *run) authenticate(st *Step, name string) *Failure {
	a := r.actors[st.Actor]
	if a == nil {
		open := *st
		open.Verb, open.Text = Opens, ""
		if f := r.connect(&open, name); f != nil {
			return f
		}
		a = r.actors[st.Actor]
	}
	if a.s == nil || a.in != nil {
		return fail("%s authenticates before receiving anything, on a stream that is open", name)
	}
	if err := a.s.Authenticate(r.ctx); err != nil {
		return fail("%s cannot log in: %v", name, err)
	}
	r.say("- %s logs in", name)
	return nil
}

// resume logs in and resumes the session of before.
func (r *run) resume(st *Step, name string) *Failure {
	m := &r.managed[st.Actor]
	if m.id == "" {
		return fail("%s has no session to resume", name)
	}
	if f := r.authenticate(st, name); f != nil {
		return f
	}
	a := r.actors[st.Actor]
	if err := a.s.SendElement(sm.Resume(m.id, m.handled)); err != nil {
		return fail("%s cannot send: %v", name, err)
	}
	r.say("- %s resumes with h=%d", name, m.handled)
	ev, ok := r.next(a, r.t.timeout(), nil)
	if !ok || ev.err != nil || !ev.el.Is(sm.NS, "resumed") {
		f := fail("%s is not resumed", name)
		if ev.el != nil {
			f.Got = show(ev.el)
		}
		return f
	}
	return nil
}

// listen starts the goroutine that reads. It ends with the connection, which end cuts at the latest.
func (r *run) listen(a *actor) {
	if a.in != nil || a.s == nil {
		return
	}
	a.in = make(chan event, 64)
	go func(s *client.Stream, in chan<- event, stop <-chan struct{}) {
		for {
			var ev event
			f, err := s.NextFrame()
			if err == nil {
				ev.el = f.Element()
			} else {
				ev.err = err
			}
			select {
			case in <- ev:
			case <-stop:
				return
			}
			if err != nil {
				return
			}
		}
	}(a.s, a.in, a.stop)
}

// next waits for something to come. ok is false where nothing did. A request for acknowledgement, which a server makes when
// it likes, counts only where want is one (XEP-0198#acking).
func (r *run) next(a *actor, wait time.Duration, want *xmlstream.Element) (ev event, ok bool) {
	for deadline := time.Now().Add(wait); ; {
		ev, ok = r.take(a, time.Until(deadline))
		if !ok || ev.el == nil {
			return ev, ok
		}
		if !ev.el.Is(sm.NS, "r") || want != nil && want.Is(sm.NS, "r") {
			a.sm.saw(ev.el)
			return ev, true
		}
	}
}

// take waits for the next element, whatever it is.
func (r *run) take(a *actor, wait time.Duration) (ev event, ok bool) {
	if len(a.left) > 0 {
		ev = a.left[0]
		a.left = a.left[1:]
		return ev, true
	}
	if a.over || a.silent() {
		return event{err: io.EOF}, true
	}
	if a.w != nil {
		if ev, ok = a.w.next(wait); ok {
			r.came(a, ev)
		}
		return ev, ok
	}
	r.listen(a)
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case ev = <-a.in:
	case <-t.C:
		return ev, false
	case <-r.ctx.Done():
		return event{err: context.Cause(r.ctx)}, true
	}
	r.came(a, ev)
	return ev, true
}

// came notes what has come.
func (r *run) came(a *actor, ev event) {
	if ev.err != nil {
		a.over = true
		r.say("- %s: %s", a.name, ending(ev.err))
		return
	}
	r.say("← %s: %s", a.name, show(ev.el))
}

// silent tells whether the character has no stream.
func (a *actor) silent() bool { return a.s == nil && a.w == nil }

// send sends an element.
func (a *actor) send(x *xmlstream.Element) error {
	if a.w != nil {
		return a.w.send(x)
	}
	return a.s.SendElement(x)
}

// sendRaw sends text as it is.
func (a *actor) sendRaw(text string) error {
	switch {
	case a.w != nil:
		return a.w.write(text)
	case a.s == nil:
		return errors.New("there is no stream")
	}
	return a.s.Conn.Write([]byte(text))
}

// closeStream sends the end of the stream.
func (a *actor) closeStream() error {
	if a.w != nil {
		return a.w.write(stream.CloseTCP)
	}
	return a.s.Conn.CloseStream()
}

// offers are the latest stream features.
func (a *actor) offers() *xmlstream.Element {
	switch {
	case a.w != nil && a.w.offers != nil:
		return a.w.offers
	case a.s != nil:
		return a.s.Features.Element
	}
	return xmlstream.El(stream.NS, "features")
}

func ending(err error) string {
	switch {
	case errors.Is(err, io.EOF):
		return "the server closes the stream"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "the server ends the connection without closing the stream"
	}
	return err.Error()
}

// show writes an element as it stands in a stream.
func show(x *xmlstream.Element) string {
	if x.Name.Space == stream.NS {
		return string(stream.AppendTCP(nil, x, stanza.NSClient))
	}
	return string(x.Append(nil, stanza.NSClient))
}

// shown writes an expected element with the names filled in that are known. Patterns stay as they are.
func (r *run) shown(x *xmlstream.Element, actor int) string {
	m := matcher{v: r.v, actor: actor}
	fill := func(s string) string {
		ts, err := r.v.pattern(s, actor)
		if err != nil {
			return s
		}
		return m.show(ts)
	}
	return show(transform(x, fill))
}

// transform copies an element with every value and text changed.
func transform(x *xmlstream.Element, fill func(string) string) *xmlstream.Element {
	c := &xmlstream.Element{Name: x.Name}
	for _, a := range x.Attrs {
		if a.Name.Space == nsScansion {
			continue // it is for the comparison
		}
		c.Attrs = append(c.Attrs, xmlstream.Attr{Name: a.Name, Value: fill(a.Value)})
	}
	for _, n := range x.Nodes {
		if n.El != nil {
			c.Nodes = append(c.Nodes, xmlstream.Node{El: transform(n.El, fill)})
		} else {
			c.Nodes = append(c.Nodes, xmlstream.Node{Text: fill(n.Text)})
		}
	}
	return c
}

func (r *run) offered(st *Step, a *actor) *Failure {
	if a.silent() {
		return fail("%s has no stream", a.name)
	}
	m := matcher{v: r.v, actor: st.Actor, exact: r.s.exact}
	for _, want := range st.Elements {
		found := false
		for k := range a.offers().Elements() {
			found = found || m.match(want, k) == nil
		}
		if !found {
			return &Failure{What: a.name + " is not offered this", Expected: r.shown(want, st.Actor), Got: show(a.offers())}
		}
	}
	return nil
}

func (r *run) send(st *Step, a *actor) *Failure {
	if a.silent() {
		return fail("%s has no stream", a.name)
	}
	for _, x := range st.Elements {
		var bad error
		out := transform(x, func(s string) string {
			t, err := r.v.expand(s, st.Actor)
			bad = errors.Join(bad, err)
			return t
		})
		if bad != nil {
			return fail("%v: %v", errScript, bad)
		}
		r.say("→ %s: %s", a.name, show(out))
		if err := a.send(out); err != nil {
			return fail("%s cannot send: %v", a.name, err)
		}
	}
	return nil
}

func (r *run) receive(st *Step, a *actor, want *xmlstream.Element) *Failure {
	ev, ok := r.next(a, r.t.timeout(), want)
	switch {
	case !ok:
		return &Failure{What: fmt.Sprintf("nothing came for %s within %v", a.name, r.t.timeout()), Expected: r.shown(want, st.Actor)}
	case ev.err != nil:
		return &Failure{What: a.name + " receives no more: " + ending(ev.err), Expected: r.shown(want, st.Actor)}
	}
	m := matcher{v: r.v, actor: st.Actor, exact: r.s.exact}
	if d := m.match(want, ev.el); d != nil {
		return &Failure{What: a.name + " received something else: " + d.String(), Expected: r.shown(want, st.Actor), Got: show(ev.el)}
	}
	return nil
}

func (r *run) silence(st *Step, a *actor) *Failure {
	wait := st.Duration
	if wait == 0 {
		wait = r.t.quiet()
	}
	ev, ok := r.next(a, wait, nil)
	switch {
	case !ok:
		return nil
	case ev.err != nil:
		return fail("%s was to stay connected: %s", a.name, ending(ev.err))
	}
	return &Failure{What: a.name + " was to receive nothing", Got: show(ev.el)}
}

func (r *run) disconnect(st *Step, a *actor) *Failure {
	defer func() { r.actors[st.Actor] = nil }()
	if a.silent() || a.over {
		r.cut(a)
		return nil
	}
	r.say("- %s closes the stream", a.name)
	if err := a.closeStream(); err != nil {
		return fail("%s cannot close the stream: %v", a.name, err)
	}
	deadline := time.Now().Add(r.t.timeout())
	for {
		ev, ok := r.next(a, time.Until(deadline), nil)
		if !ok {
			return fail("the server does not answer the end of %s's stream", a.name)
		}
		if ev.err != nil {
			r.cut(a)
			return nil
		}
	}
}

func (r *run) cutOff(st *Step, a *actor) *Failure {
	ev, ok := r.next(a, r.t.timeout(), nil)
	switch {
	case !ok:
		return fail("%s was to be disconnected within %v", a.name, r.t.timeout())
	case ev.err == nil:
		return &Failure{What: a.name + " was to be disconnected", Got: show(ev.el)}
	}
	r.cut(a)
	r.actors[st.Actor] = nil
	return nil
}
