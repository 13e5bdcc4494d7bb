package badinput

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"sabir/xmpp/sm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// manage enables stream management for a bound actor.
func (a *actor) manage() error {
	from, _ := a.mark()
	if err := a.send(string(sm.Enable(true, 0).Append(nil, stanza.NSClient))); err != nil {
		return err
	}
	f := a.waitFrame(5*time.Second, from, named(sm.NS, "enabled"))
	if f == nil {
		return a.fail("stream management was not enabled")
	}
	a.smID, _ = sm.ParseEnabled(f.Element())
	events, _ := a.since(from, 0)
	a.smFrom = from + slices.IndexFunc(events, func(e event) bool { return e.frame == f }) + 1
	return nil
}

// handled counts the stanzas that came since.
func (a *actor) handled() int {
	n := 0
	events, _ := a.since(a.smFrom, 0)
	for _, e := range events {
		if e.frame != nil && e.frame.Name().Space == stanza.NSClient {
			n++
		}
	}
	return n
}

// smValue returns what a case calls an SM-ID or the number that goes with it. That of self is of a session that lives, on
// another connection.
func (x *exec) smValue(name string) (string, bool) {
	who := map[string]string{"own_smid": "earlier", "h": "earlier", "victim_smid": "victim"}[name]
	a := x.actors[who]
	switch {
	case a == nil: // such as in the corpus of FuzzServer
		return "", false
	case name == "h":
		return strconv.Itoa(a.handled()), true
	}
	return a.smID, true
}

// prepareSM connects or prepares whom the case wants with stream management.
func (x *exec) prepareSM() error {
	uses := func(s string) bool {
		return slices.ContainsFunc(x.c.Send, func(in string) bool { return strings.Contains(in, s) })
	}
	if v := x.actors["victim"]; v != nil && uses("{victim_smid}") {
		if err := v.manage(); err != nil {
			return err
		}
	}
	if !uses("{own_smid}") {
		return nil
	}
	a, err := x.h.connect("earlier", x.accs["self"], "sm")
	if err == nil {
		x.actors["earlier"] = a
	}
	return err
}

func init() {
	checks["victim's session still alive"] = func(x *exec, _ *outcome) error {
		return x.actors["victim"].ping(domain, "alive", 5*time.Second)
	}
	checks["no message lost: unacked still delivered later"] = func(x *exec, _ *outcome) error {
		return x.h.well([]*actor{x.actors["earlier"]})
	}
	checks["old stream closed with conflict; no stanza lost or doubled"] = func(x *exec, _ *outcome) error {
		old := x.actors["earlier"]
		if !old.waitEnd(5 * time.Second) {
			return errors.New("the old stream goes on")
		}
		events, _ := old.since(0, 0)
		var o outcome
		o.observe(events, "")
		if !slices.Contains(o.streamErrors, "conflict") {
			return fmt.Errorf("the old stream ended with %v", o.streamErrors)
		}
		return x.h.well([]*actor{x.self})
	}
	checks["message sent to {bare} in the gap is delivered after resume"] = delivered
}

// delivered sends a message to an actor whose connection was cut, and resumes its session.
func delivered(x *exec, _ *outcome) error {
	id, full := x.self.smID, x.self.full
	m := "<message xmlns='jabber:client' type='chat' id='gap' to='" + x.accs["self"].bare() + "'><body>in the gap</body></message>"
	other, err := x.h.connect("other", x.h.account(x.t, "other"), "bound")
	if err != nil {
		return err
	}
	x.actors["other"] = other
	if err := other.send(m); err != nil {
		return err
	}
	if err := other.ping(domain, "sent", 5*time.Second); err != nil {
		return err
	}
	again, err := x.h.connect("again", x.accs["self"], "auth")
	if err != nil {
		return err
	}
	x.actors["again"] = again
	from, _ := again.mark()
	if err := again.send(string(sm.Resume(id, uint32(x.self.handled())).Append(nil, stanza.NSClient))); err != nil {
		return err
	}
	again.read()
	if again.waitFrame(5*time.Second, from, named(sm.NS, "resumed")) == nil {
		return again.fail("the session was not resumed")
	}
	again.full = full
	got := again.waitFrame(5*time.Second, from, func(f *xmlstream.Frame) bool { return f.Attr("id") == "gap" })
	if got == nil {
		return again.fail("the message did not come")
	}
	return again.ping(domain, "resumed", 5*time.Second)
}
