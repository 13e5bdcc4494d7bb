package mod

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// Right is what somebody may do with a host. Who has a higher one has the lower ones.
type Right uint8

// The rights.
const (
	Stranger    Right = iota // somebody of another server
	User                     // an account of the host
	HostAdmin                // who administers the host
	ServerAdmin              // who administers the server with all its hosts, its operator at the command line included
)

// Command is something that people have an extension or the server do, and that is no business of the stanzas on their way: one
// description from which the command line, the HTTP interface of the admin listener and ad-hoc commands (XEP-0050) are made.
//
// An extension lists its commands in Info.Commands, made by Define, and names in Hooks.Instance what they are run on.
type Command struct {
	// Name is two words or one, such as "room list"; "" for a command that there is over XMPP alone.
	Name string
	// Node is that of the ad-hoc command; "" for one that follows from Name.
	Node string
	// FormType is the FORM_TYPE of its forms (XEP-0068), or "".
	FormType string
	// Doc is a sentence that says what it does.
	Doc string
	// Right is the least that is needed.
	Right Right
	// Local keeps it from ad-hoc commands: it is for the command line and the admin listener.
	Local bool
	// Args are its arguments, in the order in which they are asked for.
	Args []Arg

	instance any
	run      func(ctx context.Context, in any, c *Call, args []byte) (any, error)
	choices  func(ctx context.Context, in any, c *Call, arg string) ([]Choice, error)
}

// ArgType says what an argument holds.
type ArgType string

// The types of arguments.
const (
	ArgText      ArgType = "text"
	ArgLines     ArgType = "lines" // []string
	ArgAddress   ArgType = "address"
	ArgAddresses ArgType = "addresses" // []jid.JID
	ArgSecret    ArgType = "secret"
	ArgNumber    ArgType = "number"
	ArgFlag      ArgType = "flag"
)

// Arg describes an argument of a command.
type Arg struct {
	Name     string  `json:"name"`
	Type     ArgType `json:"type"`
	Doc      string  `json:"doc"`
	Required bool    `json:"required"`
	// OneOf are the values that it may have, where they do not depend on anything.
	OneOf []string `json:"one_of,omitempty"`
	// Chosen says that Command.Choices has the values.
	Chosen bool `json:"-"`
	// Default is what a form shows at first.
	Default string `json:"default,omitempty"`
}

// Choice is a value of an argument, and what it is called.
type Choice struct{ Value, Label string }

// Secret is an argument or a result that is never logged.
type Secret string

// Note is a result that is one sentence for people.
type Note string

// Call says by whom and where a command is given.
type Call struct {
	// Host is the domain of the host that it is about; zero for the whole server.
	Host jid.JID
	// By is who gives it, with the resource; zero for the operator at the command line.
	By jid.JID
	// At is the address that was asked, a service or a room of one; zero where that is the host.
	At jid.JID
}

// Define makes a command of a function. I is the type of the instance, see Bind. The fields of T are the arguments, by their tags: json
// for the name, doc, and perhaps required:"", oneof:"a b", choose:"" (see Choosing) and default:"v". The result is
// nil, a Note, a struct, or a slice of structs with tags json and doc: see Tabulate.
func Define[I, T any](c Command, run func(ctx context.Context, in I, c *Call, args T) (any, error)) Command {
	t := reflect.TypeFor[T]()
	for i := range t.NumField() {
		f := t.Field(i)
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		_, required := f.Tag.Lookup("required")
		_, chosen := f.Tag.Lookup("choose")
		c.Args = append(c.Args, Arg{
			Name: key, Type: argType(f.Type), Doc: f.Tag.Get("doc"), Required: required, OneOf: strings.Fields(f.Tag.Get("oneof")),
			Chosen: chosen, Default: f.Tag.Get("default"),
		})
	}
	what, list := c.title(), c.Args
	c.run = func(ctx context.Context, in any, call *Call, text []byte) (any, error) {
		var args T
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&args); err != nil {
			return nil, stanza.Errf(stanza.BadRequest, "arguments of %s: %v", what, argumentError(err))
		}
		for i, a := range list {
			v := reflect.ValueOf(args).Field(i)
			switch {
			case a.Required && v.IsZero():
				return nil, stanza.Errf(stanza.BadRequest, "%s needs %s: %s", what, a.Name, a.Doc)
			case len(a.OneOf) > 0 && !v.IsZero() && !slices.Contains(a.OneOf, fmt.Sprint(v.Interface())):
				return nil, stanza.Errf(stanza.BadRequest, "%s is one of %s", a.Name, strings.Join(a.OneOf, ", "))
			}
		}
		return run(ctx, in.(I), call, args)
	}
	return c
}

// Choosing adds what the arguments with a tag choose may be at a time.
func Choosing[I any](c Command, f func(ctx context.Context, in I, c *Call, arg string) ([]Choice, error)) Command {
	c.choices = func(ctx context.Context, in any, call *Call, arg string) ([]Choice, error) {
		return f(ctx, in.(I), call, arg)
	}
	return c
}

// Bind returns the command as it runs on an instance.
func (c Command) Bind(instance any) Command {
	c.instance = instance
	return c
}

// Run runs a command that is bound. args is a JSON object. An error that is a *stanza.Error is the caller's, others are the server's own.
// Whether the caller may is not checked here.
func (c *Command) Run(ctx context.Context, call *Call, args []byte) (any, error) {
	if c.instance == nil {
		return nil, fmt.Errorf("the command %s is not bound", c.title())
	}
	if len(args) == 0 {
		args = []byte("{}")
	}
	return c.run(ctx, c.instance, call, args)
}

// Choices returns the values that an argument may have, or nil where it may have any.
func (c *Command) Choices(ctx context.Context, call *Call, a *Arg) ([]Choice, error) {
	if a.Chosen && c.choices != nil {
		return c.choices(ctx, c.instance, call, a.Name)
	}
	var all []Choice
	for _, v := range a.OneOf {
		all = append(all, Choice{v, v})
	}
	return all, nil
}

// NodeOf is the node of the ad-hoc command.
func (c *Command) NodeOf() string {
	if c.Node != "" {
		return c.Node
	}
	return "sabir/" + strings.ReplaceAll(c.Name, " ", "/")
}

func (c *Command) title() string {
	if c.Name != "" {
		return c.Name
	}
	return c.Node
}

func argType(t reflect.Type) ArgType {
	switch {
	case t == reflect.TypeFor[jid.JID]():
		return ArgAddress
	case t == reflect.TypeFor[[]jid.JID]():
		return ArgAddresses
	case t == reflect.TypeFor[[]string]():
		return ArgLines
	case t == reflect.TypeFor[Secret]():
		return ArgSecret
	case t.Kind() == reflect.Bool:
		return ArgFlag
	case t.Kind() == reflect.Int:
		return ArgNumber
	}
	return ArgText
}

// argumentError keeps values, which may be secrets, out of the message of a JSON error.
func argumentError(err error) error {
	var t *json.UnmarshalTypeError
	if errors.As(err, &t) {
		return fmt.Errorf("%s is a %s, not a %s", t.Field, t.Value, t.Type.Kind())
	}
	return err
}
