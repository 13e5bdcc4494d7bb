package client

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"sabir/xmpp/jid"
	"sabir/xmpp/payload/datetime"
	"sabir/xmpp/sasl"
	"sabir/xmpp/sm"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// Login says how a client logs in by SASL2 (XEP-0388), and remembers what the server has given it. One client uses it, for one
// login at a time.
type Login struct {
	// ID is the UUID of this installation of a client; without one there are no tokens.
	ID string
	// Software and Device are for the user to recognise the client by.
	Software, Device string
	// Tag begins the resource (XEP-0386#identifiers).
	Tag string
	// Inline is what is asked for in the bind, such as carbons (XEP-0386#bind-request). It is not to be changed.
	Inline []*xmlstream.Element
	// NoToken keeps to the password. Otherwise a token is asked for, and used from then on (XEP-0484).
	NoToken bool
	// Upgrade has the server store verifiers for further mechanisms (XEP-0480).
	Upgrade bool
	// Pipeline sends a login by token together with the opening of the stream, over TCP (XEP-0509).
	Pipeline bool

	// Token is the token to log in with, for Mechanism; "" for none. It is as good as a password.
	Token, Mechanism string
	Expires          time.Time
	// Count is how often the token was used.
	Count int64
	// Version names the features that the server had the last time.
	Version string
	// Bound is the answer to the last bind, or nil.
	Bound *xmlstream.Element
}

// forget drops the token.
func (l *Login) forget() { l.Token, l.Mechanism, l.Expires, l.Count = "", "", time.Time{}, 0 }

// attempt is a login that was sent.
type attempt struct {
	mech  sasl.Client
	token bool
}

// LogIn logs in by SASL2 and, where the server has Bind 2, binds a resource or resumes a session within. By a token that fails
// it tries once more by the password. JID then returns the full JID, or the zero one where a resource is still to be bound. It
// returns the state of stream management, resume itself or a new one, or nil. Where resume is not nil and cannot be resumed, the
// error is an *SMError, and no resource is bound.
func (s *Stream) LogIn(ctx context.Context, resume *Managed) (m *Managed, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.timeout())
	defer cancel()
	err = s.guard(ctx, func() error {
		m, err = s.logIn(resume)
		return err
	})
	return m, err
}

func (s *Stream) logIn(resume *Managed) (*Managed, error) {
	l := s.cfg.Login
	a := s.sent
	s.sent = nil
	var err error
	if a == nil {
		if a, err = s.attempt(resume); err != nil {
			return nil, err
		}
	}
	success, err := s.exchange2(a.mech)
	var refused *AuthError
	if errors.As(err, &refused) && a.token {
		if refused.Condition != sasl.Aborted { // that one is no word about the token (XEP-0509#nego)
			l.forget()
		}
		if a, err = s.attempt(resume); err == nil {
			success, err = s.exchange2(a.mech)
		}
	}
	if err != nil {
		return nil, err
	}
	return s.succeeded(success, resume)
}

// pipelined makes what goes along with the opening, or nil.
func (s *Stream) pipelined() ([]byte, error) {
	l := s.cfg.Login
	if !l.Pipeline || l.Version == "" || l.Token == "" || time.Now().After(l.Expires) {
		return nil, nil
	}
	x, a, err := s.byToken(s.resume)
	if err != nil {
		return nil, nil // such as a connection without the binding: the features will tell what goes
	}
	x.Add(xmlstream.El(stream.NSIAP, "config-version", xmlstream.A("scheme", "opaque"), xmlstream.A("value", l.Version)))
	s.sent = a
	return x.Append(nil, "jabber:client"), nil
}

// attempt sends a login, by the token where there is one.
func (s *Stream) attempt(resume *Managed) (*attempt, error) {
	l := s.cfg.Login
	if s.Features.SASL2 == nil {
		return nil, sasl.ErrNoMechanism
	}
	l.Version = s.Features.ConfigVersion
	if l.Token != "" && time.Now().Before(l.Expires) && slices.Contains(s.Features.SASL2.Tokens, l.Mechanism) {
		x, a, err := s.byToken(resume)
		if err != nil {
			return nil, err
		}
		return a, s.SendElement(x)
	}
	offered := s.Features.SASL2.Mechanisms
	if err := sasl.CheckOffer(offered, s.Features.ChannelBindings); err != nil {
		return nil, err
	}
	m, err := sasl.NewClient(offered, s.sasl(offered))
	if err != nil {
		return nil, fmt.Errorf("%w (offered: %s)", err, strings.Join(offered, " "))
	}
	x, err := s.request(m, resume)
	if err != nil {
		return nil, err
	}
	if own := s.tokenMechanisms(); !l.NoToken && l.ID != "" {
		if i := slices.IndexFunc(own, func(m string) bool { return slices.Contains(s.Features.SASL2.Tokens, m) }); i >= 0 {
			l.Mechanism = own[i]
			x.Add(xmlstream.El(stream.NSFAST, "request-token", xmlstream.A("mechanism", own[i])))
		}
	}
	if l.Upgrade && s.cfg.Password != "" {
		for _, task := range s.Features.SASL2.Upgrades {
			if _, ok := upgradeHash(task); ok {
				x.Add(xmlstream.El(stream.NSUpgrade, "upgrade", task))
			}
		}
	}
	return &attempt{mech: m}, s.SendElement(x)
}

// tokenMechanisms returns the mechanisms for which a token may be asked, the strongest first: those that go on this connection and,
// where the configuration names some of them, are among those.
func (s *Stream) tokenMechanisms() []string {
	own := sasl.HTMechanisms(s.Bindings())
	if only := s.cfg.Mechanisms; slices.ContainsFunc(only, sasl.IsHT) {
		own = slices.DeleteFunc(own, func(m string) bool { return !slices.Contains(only, m) })
	}
	return own
}

// byToken makes a login by the token.
func (s *Stream) byToken(resume *Managed) (*xmlstream.Element, *attempt, error) {
	l := s.cfg.Login
	m, err := sasl.NewTokenClient(l.Mechanism, l.Token, s.sasl(nil))
	if err != nil {
		return nil, nil, err
	}
	x, err := s.request(m, resume)
	if err != nil {
		return nil, nil, err
	}
	l.Count++
	x.Add(xmlstream.El(stream.NSFAST, "fast", xmlstream.A("count", strconv.FormatInt(l.Count, 10))))
	return x, &attempt{m, true}, nil
}

// request makes <authenticate/> with what is to be done besides (XEP-0388#initiation).
func (s *Stream) request(m sasl.Client, resume *Managed) (*xmlstream.Element, error) {
	l := s.cfg.Login
	initial, has, err := m.Start()
	if err != nil {
		return nil, err
	}
	x := xmlstream.El(stream.NSSASL2, "authenticate", xmlstream.A("mechanism", m.Name()))
	if has {
		x.Add(xmlstream.El(stream.NSSASL2, "initial-response", base64.StdEncoding.EncodeToString(initial)))
	}
	agent := xmlstream.El(stream.NSSASL2, "user-agent")
	if l.ID != "" {
		agent.SetAttr(xmlstream.Name{Local: "id"}, l.ID)
	}
	for name, text := range map[string]string{"software": l.Software, "device": l.Device} {
		if text != "" {
			agent.Add(xmlstream.El(stream.NSSASL2, name, text))
		}
	}
	x.Add(agent)
	if resume != nil {
		return x.Add(sm.Resume(resume.ID(), resume.Handled())), nil
	}
	bind := xmlstream.El(stream.NSBind2, "bind")
	if l.Tag != "" {
		bind.Add(xmlstream.El(stream.NSBind2, "tag", l.Tag))
	}
	if s.cfg.Manage {
		bind.Add(sm.Enable(true, 0))
	}
	return x.Add(bind.Add(l.Inline)), nil
}

// exchange2 answers the server until it has decided, and returns <success/>.
func (s *Stream) exchange2(m sasl.Client) (*xmlstream.Element, error) {
	proven := false
	for {
		f, err := s.Next()
		if err != nil {
			return nil, err
		}
		x := f.Element()
		switch {
		case x.Is(stream.NSSASL2, "challenge"):
			err = s.respond(m, x)
		case x.Is(stream.NSSASL2, "continue"):
			if err = s.proof(m, x, &proven); err == nil {
				err = s.upgrade(x)
			}
		case x.Is(stream.NSSASL2, "success"):
			return x, s.proof(m, x, &proven)
		case x.Is(stream.NSSASL2, "failure"):
			return nil, parseFailure(m.Name(), x)
		default:
			err = fmt.Errorf("the server sent <%s/> during authentication", x.Name.Local)
		}
		if err != nil {
			return nil, err
		}
	}
}

func (s *Stream) respond(m sasl.Client, x *xmlstream.Element) error {
	data, err := base64.StdEncoding.DecodeString(strings.TrimSpace(x.Text()))
	if err != nil {
		return err
	}
	answer, err := m.Next(data)
	if err != nil {
		return errors.Join(err, s.SendElement(xmlstream.El(stream.NSSASL2, "abort")))
	}
	return s.SendElement(xmlstream.El(stream.NSSASL2, "response", base64.StdEncoding.EncodeToString(answer)))
}

// proof checks that the server is the right one, by the first element that tells of the end of the mechanism.
func (s *Stream) proof(m sasl.Client, x *xmlstream.Element, proven *bool) error {
	if *proven {
		return nil
	}
	*proven = true
	d := x.Child(stream.NSSASL2, "additional-data")
	if d == nil {
		return m.Success(nil)
	}
	data, err := base64.StdEncoding.DecodeString(strings.TrimSpace(d.Text()))
	if err != nil {
		return err
	}
	return m.Success(data)
}

// upgradeHash returns the hash of an upgrade task (XEP-0480#scram).
func upgradeHash(task string) (sasl.Hash, bool) {
	for _, h := range []sasl.Hash{sasl.SHA256, sasl.SHA512} {
		if task == "UPGR-"+h.Mechanism() {
			return h, true
		}
	}
	return 0, false
}

// upgrade does a task that was asked for.
func (s *Stream) upgrade(x *xmlstream.Element) error {
	task := x.Child(stream.NSSASL2, "tasks").ChildText(stream.NSSASL2, "task")
	hash, ok := upgradeHash(task)
	if !ok || !s.cfg.Login.Upgrade {
		return fmt.Errorf("the server asks for %q", task)
	}
	if err := s.SendElement(xmlstream.El(stream.NSSASL2, "next", xmlstream.A("task", task))); err != nil {
		return err
	}
	f, err := s.Next()
	if err != nil {
		return err
	}
	salt := f.Element().Child(stream.NSSCRAMUp, "salt")
	if salt == nil {
		return fmt.Errorf("the server sent <%s/> in place of a salt", f.Name().Local)
	}
	n, err := strconv.Atoi(salt.Attr("iterations"))
	if err != nil || n < sasl.MinIterations || n > sasl.MaxIterations {
		return fmt.Errorf("%w: %q", sasl.ErrIterations, salt.Attr("iterations"))
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(salt.Text()))
	if err != nil {
		return err
	}
	salted, err := sasl.SaltedPassword(hash, s.cfg.Password, raw, n)
	if err != nil {
		return err
	}
	return s.SendElement(xmlstream.El(stream.NSSASL2, "task-data", xmlstream.El(stream.NSSCRAMUp, "hash", base64.StdEncoding.EncodeToString(salted))))
}

// succeeded takes what <success/> tells.
func (s *Stream) succeeded(x *xmlstream.Element, resume *Managed) (*Managed, error) {
	l := s.cfg.Login
	who, err := jid.Parse(strings.TrimSpace(x.ChildText(stream.NSSASL2, "authorization-identifier")))
	if err != nil {
		return nil, fmt.Errorf("the server does not say who we are: %w", err)
	}
	if t := x.Child(stream.NSFAST, "token"); t != nil {
		expires, err := datetime.Parse(t.Attr("expiry"))
		if err != nil {
			return nil, err
		}
		l.Token, l.Expires, l.Count = t.Attr("token"), expires, 0
	}
	if resume != nil {
		if r := x.Child(sm.NS, "resumed"); r != nil {
			return resume, s.resumed(resume, r) // no features come (XEP-0198#inline-resume)
		}
		failed := x.Child(sm.NS, "failed")
		if failed == nil {
			return nil, ErrNoSM
		}
		c, h, known := sm.ParseFailed(failed)
		err := error(&SMError{Condition: c, H: h, Known: known})
		if known {
			err = errors.Join(err, resume.acked(h))
		}
		return nil, err
	}
	if err := s.readFeatures(); err != nil {
		return nil, err
	}
	l.Bound = x.Child(stream.NSBind2, "bound")
	if l.Bound == nil || !who.IsFull() {
		return nil, nil
	}
	s.jid = who
	e := l.Bound.Child(sm.NS, "enabled")
	if e == nil {
		return nil, nil
	}
	m := &Managed{cfg: s.cfg, full: who}
	var max uint32
	m.id, max = sm.ParseEnabled(e)
	m.max = time.Duration(max) * time.Second
	return m, nil
}
