package register

import (
	"context"
	"fmt"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const (
	ns        = "jabber:iq:register"
	nsFeature = "http://jabber.org/features/iq-register"
)

// Info describes the extension.
var Info = mod.Info{
	Name:  "register",
	Specs: []string{"XEP-0077 2.4"},
	Doc:   "Lets users change their password and remove their account, and, where it is opened, lets anybody make an account.",
	Config: func() any {
		return &Config{PerHour: 5, Instructions: "Choose a name and a password for your account."}
	},
	New: newRegister,
}

// Config is the section [mod.register].
type Config struct {
	Open         bool   `toml:"open" doc:"Lets anybody who can reach the server make accounts. Invitations are the safer way."`
	PerHour      int    `toml:"per_hour" doc:"Attempts to make an account, per hour and IPv4 address or IPv6 /64 network; 0 for no limit."`
	Insecure     bool   `toml:"insecure" doc:"Takes passwords on streams that are not encrypted; for tests on one machine."`
	Instructions string `toml:"instructions" doc:"What is said to those who want to make an account."`
}

// Validate checks that the limit is not negative.
func (c *Config) Validate() error {
	if c.PerHour < 0 {
		return fmt.Errorf("per_hour is not negative")
	}
	return nil
}

type register struct {
	h    mod.Host
	c    *Config
	rate *rate
}

func newRegister(h mod.Host, cfg any) (*mod.Hooks, error) {
	c := cfg.(*Config)
	x := &register{h: h, c: c, rate: newRate(c.PerHour)}
	hooks := &mod.Hooks{
		IQ: []mod.IQHandler{
			{At: mod.AtHost | mod.AtOwn, Space: ns, Local: "query", Type: stanza.TypeGet, Func: x.get},
			{At: mod.AtHost | mod.AtOwn, Space: ns, Local: "query", Type: stanza.TypeSet, Func: x.set},
			{At: mod.AtStream, Space: ns, Local: "query", Type: stanza.TypeGet, Func: x.getNew},
			{At: mod.AtStream, Space: ns, Local: "query", Type: stanza.TypeSet, Func: x.setNew},
		},
	}
	if c.Open { // XEP-0077#streamfeature
		feature := xmlstream.El(nsFeature, "register")
		hooks.StreamFeatures = []mod.StreamFeature{{Func: func() *xmlstream.Element { return feature }}}
	}
	return hooks, nil
}

// getNew tells somebody without an account what it takes to make one (XEP-0077#usecases-register): in the fields of
// jabber:iq:register and, the same, as a form (XEP-0077#extensibility).
func (x *register) getNew(_ context.Context, r *mod.Request) (*xmlstream.Element, error) {
	if err := x.mayCreate(r); err != nil {
		return nil, err
	}
	return xmlstream.El(ns, "query",
		xmlstream.El(ns, "instructions", x.c.Instructions), xmlstream.El(ns, "username"), xmlstream.El(ns, "password"),
		x.form().Element()), nil
}

func (x *register) mayCreate(r *mod.Request) error {
	switch {
	case !x.c.Open:
		return stanza.Err(stanza.ServiceUnavailable, "accounts are not made here; ask for an invitation")
	case !r.Secure && !x.c.Insecure:
		return stanza.Err(stanza.NotAuthorized, "encrypt the stream first").OfType(stanza.Modify)
	}
	return nil
}

func (x *register) form() *dataform.Form {
	f := dataform.New(dataform.TypeForm, ns,
		dataform.Field{Var: "username", Type: dataform.TextSingle, Label: "Name", Required: true},
		dataform.Field{Var: "password", Type: dataform.TextPrivate, Label: "Password", Required: true})
	f.Instructions = []string{x.c.Instructions}
	return f
}

// setNew makes an account.
func (x *register) setNew(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	if r.Payload.Child(ns, "remove") != nil { // XEP-0077#usecases-cancel: whose account would that be?
		return nil, stanza.Err(stanza.UnexpectedRequest, "log in to remove an account")
	}
	if err := x.mayCreate(r); err != nil {
		return nil, err
	}
	username, password, err := x.fields(r.Payload)
	if err != nil {
		return nil, err
	}
	if username == "" || password == "" { // XEP-0077#usecases-register
		return nil, stanza.Err(stanza.NotAcceptable, "give a username and a password")
	}
	if !x.rate.allow(r.Addr, x.h.Clock().Now()) { // XEP-0077#usecases-register-server
		return nil, stanza.Err(stanza.NotAcceptable, "too many attempts from your network; try again later").OfType(stanza.Wait)
	}
	if err := x.h.Accounts().Create(ctx, username, password); err != nil {
		return nil, err
	}
	x.h.Log().Info("account registered", "user", username, "address", r.Addr)
	return nil, nil
}

// fields reads username and password, of the form where there is one (XEP-0077#precedence).
func (x *register) fields(q *xmlstream.Element) (username, password string, err error) {
	form := q.Child(dataform.NS, "x")
	if form == nil {
		return q.ChildText(ns, "username"), q.ChildText(ns, "password"), nil
	}
	f, err := dataform.Parse(form)
	if err != nil {
		return "", "", stanza.Err(stanza.BadRequest, err.Error())
	}
	if f, err = x.form().Submit(f); err != nil {
		return "", "", err
	}
	return f.Field("username").Value(), f.Field("password").Value(), nil
}

// local returns the localpart of the user who asks, and whether that is a user of this host with an account.
func (x *register) local(ctx context.Context, r *mod.Request) (string, bool, error) {
	if r.Session == nil || r.From.DomainJID() != x.h.Domain() {
		return "", false, nil
	}
	ok, err := x.h.Accounts().Exists(ctx, r.From.Local())
	return r.From.Local(), ok, err
}

// get tells users that they are registered (XEP-0077#usecases-register). The password is not told.
func (x *register) get(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	user, ok, err := x.local(ctx, r)
	if err == nil && !ok {
		err = stanza.Err(stanza.ServiceUnavailable, "")
	}
	if err != nil {
		return nil, err
	}
	return xmlstream.El(ns, "query",
		xmlstream.El(ns, "registered"), xmlstream.El(ns, "username", user), xmlstream.El(ns, "password"),
		xmlstream.El(ns, "instructions", "You have an account here. Give a new password to change it.")), nil
}

// set changes the password of a user, or removes the account.
func (x *register) set(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	user, ok, err := x.local(ctx, r)
	remove := r.Payload.Child(ns, "remove") != nil
	switch {
	case err != nil:
		return nil, err
	case remove && !only(r.Payload): // XEP-0077#usecases-cancel
		return nil, stanza.Err(stanza.BadRequest, "<remove/> stands alone")
	case !ok && remove:
		return nil, stanza.Err(stanza.RegistrationRequired, "you have no account here")
	case !ok:
		return nil, stanza.Err(stanza.NotAllowed, "only users of this server have a password here")
	case remove:
		return x.remove(ctx, r, user)
	}
	return nil, x.changePassword(ctx, r, user)
}

// only tells whether an element has one child element.
func only(x *xmlstream.Element) bool {
	n := 0
	for range x.Elements() {
		n++
	}
	return n == 1
}

// changePassword obeys XEP-0077#usecases-changepw.
func (x *register) changePassword(ctx context.Context, r *mod.Request, user string) error {
	if !r.Secure && !x.c.Insecure {
		return stanza.Err(stanza.NotAuthorized, "encrypt the stream first").OfType(stanza.Modify)
	}
	username, password, err := x.fields(r.Payload)
	if err != nil {
		return err
	}
	if username == "" || password == "" {
		return stanza.Err(stanza.BadRequest, "give your username and the new password")
	}
	if !x.names(username, user) {
		return stanza.Err(stanza.BadRequest, "that is not your username")
	}
	if err := x.h.Accounts().SetPassword(ctx, user, password, r.Session); err != nil {
		return err
	}
	x.h.Log().Info("password changed", "user", user)
	return nil
}

// names tells whether username, which may be a bare JID as in the examples of XEP-0077, is the one of user.
func (x *register) names(username, user string) bool {
	if j, err := jid.Parse(username); err == nil && j.Local() != "" {
		return j.IsBare() && j.Local() == user && j.DomainJID() == x.h.Domain()
	}
	j, err := jid.New(username, x.h.Domain().Domain(), "")
	return err == nil && j.Local() == user
}

// remove removes the account: first the answer, then the end of all sessions with not-authorized
// (XEP-0077#usecases-cancel).
func (x *register) remove(ctx context.Context, r *mod.Request, user string) (*xmlstream.Element, error) {
	err := x.h.Accounts().Delete(ctx, user, func() {
		a := r.Result(nil)
		if a.From.IsZero() {
			a.From = r.From.Bare()
		}
		r.Session.Send(a)
	})
	if err != nil {
		return nil, err
	}
	x.h.Log().Info("account removed by its user", "user", user)
	return nil, mod.ErrAnswered
}
