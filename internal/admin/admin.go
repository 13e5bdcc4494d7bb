// Package admin owns the commands by which a server is administered. Each is a function with typed arguments in one registry, from
// which the command line, the HTTP interface of the admin listener and later ad-hoc commands (XEP-0050) are made.
package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"sabir/internal/auth"
	"sabir/internal/config"
	"sabir/internal/observe"
	"sabir/internal/s2s"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// Backend is the server that is administered.
type Backend interface {
	// Config returns the configuration in force.
	Config() *config.Config
	// Accounts returns the accounts of a host, or nil where it is none of the server's.
	Accounts(domain jid.JID) mod.Accounts
	// Credentials returns what the accounts of a host are beyond that; nil as with Accounts.
	Credentials(domain jid.JID) *auth.Host
	// Import reads accounts. See auth.Import.
	Import(ctx context.Context, csv string, o auth.ImportOptions) (auth.ImportResult, error)
	// Sessions returns the bound resources of one account, or of all for the zero JID.
	Sessions(bare jid.JID) []mod.Session
	// Reload reads the configuration again, and returns what it has changed.
	Reload(ctx context.Context) ([]config.Change, error)
	// Stop begins to stop the server, and returns at once.
	Stop()
	// Trace returns what is known of the messages with an id.
	Trace(ctx context.Context, id string) (Trace, error)
	// Federation returns what talks to other servers, or nil where no server runs.
	Federation() *s2s.Server
	// Health returns what is known of the server's state.
	Health(ctx context.Context) observe.Report
}

// Arg describes an argument of a command.
type Arg struct {
	Name     string `json:"name"`
	Type     string `json:"type"` // text, address, secret, number or flag
	Doc      string `json:"doc"`
	Required bool   `json:"required"`
}

// Command is one command. Its name is two words or one, such as "account add".
type Command struct {
	Name string `json:"name"`
	Doc  string `json:"doc"`
	Args []Arg  `json:"args"`

	run func(ctx context.Context, b Backend, args []byte) (any, error)
}

// Secret is an argument or a result that is never logged.
type Secret string

// define makes a command of a function. The fields of T are its arguments: their tags are json, doc and perhaps required:"".
func define[T any](name, doc string, run func(ctx context.Context, b Backend, args T) (any, error)) Command {
	c := Command{Name: name, Doc: doc}
	t := reflect.TypeFor[T]()
	for i := range t.NumField() {
		f := t.Field(i)
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		_, required := f.Tag.Lookup("required")
		c.Args = append(c.Args, Arg{Name: key, Type: typeOf(f.Type), Doc: f.Tag.Get("doc"), Required: required})
	}
	c.run = func(ctx context.Context, b Backend, text []byte) (any, error) {
		var args T
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&args); err != nil {
			return nil, stanza.Errf(stanza.BadRequest, "arguments of %s: %v", name, argumentError(err))
		}
		for i, a := range c.Args {
			if a.Required && reflect.ValueOf(args).Field(i).IsZero() {
				return nil, stanza.Errf(stanza.BadRequest, "%s needs %s: %s", name, a.Name, a.Doc)
			}
		}
		return run(ctx, b, args)
	}
	return c
}

func typeOf(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[jid.JID]():
		return "address"
	case t == reflect.TypeFor[Secret]():
		return "secret"
	case t.Kind() == reflect.Bool:
		return "flag"
	case t.Kind() == reflect.Int:
		return "number"
	}
	return "text"
}

// argumentError keeps values, which may be secrets, out of the message of a JSON error.
func argumentError(err error) error {
	var t *json.UnmarshalTypeError
	if errors.As(err, &t) {
		return fmt.Errorf("%s is a %s, not a %s", t.Field, t.Value, t.Type.Kind())
	}
	return err
}

// Registry is a set of commands.
type Registry struct {
	commands []Command
	by       map[string]*Command
}

// New returns the registry of all commands.
func New() *Registry {
	r := &Registry{commands: commands(), by: make(map[string]*Command)}
	for i := range r.commands {
		r.by[r.commands[i].Name] = &r.commands[i]
	}
	return r
}

// Commands returns the commands in the order in which they are shown.
func (r *Registry) Commands() []Command { return r.commands }

// Run runs a command. args is a JSON object of its arguments. Errors that are a *stanza.Error are those of who gave the command; others are
// the server's own.
func (r *Registry) Run(ctx context.Context, b Backend, name string, args []byte) (any, error) {
	c := r.by[name]
	if c == nil {
		return nil, stanza.Errf(stanza.FeatureNotImplemented, "there is no command %q", name)
	}
	if len(args) == 0 {
		args = []byte("{}")
	}
	return c.run(ctx, b, args)
}

// Call is Run for callers in the same process: args is a struct such as AccountArgs, and result a pointer to what the command returns.
func (r *Registry) Call(ctx context.Context, b Backend, name string, args, result any) error {
	text, err := json.Marshal(args)
	if err != nil {
		return err
	}
	v, err := r.Run(ctx, b, name, text)
	if err != nil {
		return err
	}
	if text, err = json.Marshal(v); err != nil {
		return err
	}
	return json.Unmarshal(text, result)
}
