package host

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// tables are the hooks of all extensions of a host, by the question that they answer. They do not change once frozen.
type tables struct {
	ext       []extension
	iq        map[iqKey]IQ
	presence  map[presenceKey]Presence
	phases    [2][3]Phases // by side (0 Out, 1 In) and kind
	roster    mod.Roster
	rosterBy  string
	caps      mod.Capabilities
	capsBy    string
	nodes     mod.AccountNodes
	nodesBy   string
	offline   mod.Offline
	offlineBy string
	pages     mod.Pages
	pagesBy   string

	notifier   mod.Notifier
	notifierBy string

	nodeChanged    []func(at jid.JID, node string)
	contactChanged []func(account jid.JID, was, is mod.Contact)

	http     map[string]http.Handler
	httpBy   map[string]string
	stream   []mod.StreamFeature
	nonzas   map[xmlstream.Name]nonza
	inline   inline
	services []*Service
}

type extension struct {
	name  string
	hooks *mod.Hooks
}

type nonza struct {
	extension string
	mod.Nonza
}

type iqKey struct {
	at           mod.Where // one bit
	typ          string
	space, local string
}

type presenceKey struct {
	side      mod.Side
	typ       string
	broadcast bool
}

// IQ is a registered handler with the extension that owns it.
type IQ struct {
	Extension string
	mod.IQHandler
}

// Presence is a registered handler with the extension that owns it.
type Presence struct {
	Extension string
	mod.PresenceHandler
}

// Phases are the hooks for one side and kind of stanzas, each list in an order that respects After.
type Phases struct {
	Admit   []Hook[mod.AdmitHook]
	Rewrite []Hook[mod.RewriteHook]
	Record  []Hook[mod.RecordHook]
	Settle  []Hook[mod.SettleHook]
	Fork    []Hook[mod.ForkHook]
	Observe []Hook[mod.ObserveHook]
}

// Hook is a hook with the extension that owns it.
type Hook[H any] struct {
	Extension string
	H         H
}

var bits = []mod.Where{mod.AtHost, mod.AtAccount, mod.AtOwn, mod.AtStream}

func (t *tables) add(name string, h *mod.Hooks) error {
	if h == nil {
		h = &mod.Hooks{}
	}
	t.ext = append(t.ext, extension{name, h})
	if t.iq == nil {
		t.iq, t.presence = make(map[iqKey]IQ), make(map[presenceKey]Presence)
	}
	for _, q := range h.IQ {
		for _, at := range bits {
			if q.At&at == 0 {
				continue
			}
			k := iqKey{at, q.Type, q.Space, q.Local}
			if was, dup := t.iq[k]; dup {
				return fmt.Errorf("extensions %s and %s both answer iq %s {%s}%s", was.Extension, name, q.Type, q.Space, q.Local)
			}
			t.iq[k] = IQ{name, q}
		}
	}
	for _, p := range h.Presence {
		for _, typ := range p.Types {
			for _, side := range []mod.Side{mod.Out, mod.In} {
				if p.Side&side == 0 {
					continue
				}
				k := presenceKey{side, typ, p.Broadcast}
				if was, dup := t.presence[k]; dup {
					return fmt.Errorf("extensions %s and %s both take presence of type %q", was.Extension, name, typ)
				}
				t.presence[k] = Presence{name, p}
			}
		}
	}
	if h.Roster != nil {
		if t.roster != nil {
			return fmt.Errorf("extensions %s and %s both provide the roster", t.rosterBy, name)
		}
		t.roster, t.rosterBy = h.Roster, name
	}
	if h.Capabilities != nil {
		if t.caps != nil {
			return fmt.Errorf("extensions %s and %s both learn what clients understand", t.capsBy, name)
		}
		t.caps, t.capsBy = h.Capabilities, name
	}
	if h.AccountNodes != nil {
		if t.nodes != nil {
			return fmt.Errorf("extensions %s and %s both keep nodes of accounts", t.nodesBy, name)
		}
		t.nodes, t.nodesBy = h.AccountNodes, name
	}
	if h.Offline != nil {
		if t.offline != nil {
			return fmt.Errorf("extensions %s and %s both keep messages for absent users", t.offlineBy, name)
		}
		t.offline, t.offlineBy = h.Offline, name
	}
	if h.Pages != nil {
		if t.pages != nil {
			return fmt.Errorf("extensions %s and %s both show nodes on the web", t.pagesBy, name)
		}
		t.pages, t.pagesBy = h.Pages, name
	}
	if h.Notifier != nil {
		if t.notifier != nil {
			return fmt.Errorf("extensions %s and %s both wake devices", t.notifierBy, name)
		}
		t.notifier, t.notifierBy = h.Notifier, name
	}
	if h.NodeChanged != nil {
		t.nodeChanged = append(t.nodeChanged, h.NodeChanged)
	}
	if h.ContactChanged != nil {
		t.contactChanged = append(t.contactChanged, h.ContactChanged)
	}
	if err := t.addHTTP(name, h.HTTP); err != nil {
		return err
	}
	if err := t.addNonzas(name, h.Nonzas); err != nil {
		return err
	}
	t.stream = append(t.stream, h.StreamFeatures...)
	for _, v := range h.Services {
		if err := t.addService(name, v); err != nil {
			return err
		}
	}
	return t.inline.add(name, h.Inline)
}

func (t *tables) addHTTP(name string, list []mod.HTTP) error {
	for _, p := range list {
		if was, dup := t.httpBy[p.Name]; dup {
			return fmt.Errorf("extensions %s and %s both serve /%s/", was, name, p.Name)
		}
		if t.http == nil {
			t.http, t.httpBy = make(map[string]http.Handler), make(map[string]string)
		}
		t.http[p.Name], t.httpBy[p.Name] = p.Handler, name
	}
	return nil
}

func (t *tables) addNonzas(name string, list []mod.Nonza) error {
	for _, n := range list {
		k := xmlstream.Name{Space: n.Space, Local: n.Local}
		if was, dup := t.nonzas[k]; dup {
			return fmt.Errorf("extensions %s and %s both handle the element {%s}%s", was.extension, name, n.Space, n.Local)
		}
		if t.nonzas == nil {
			t.nonzas = make(map[xmlstream.Name]nonza)
		}
		t.nonzas[k] = nonza{name, n}
	}
	return nil
}

func (t *tables) freeze(shuffle func(int, func(i, j int))) error {
	if t.roster == nil {
		t.roster = noRoster{}
	}
	if t.caps == nil {
		t.caps = noCapabilities{}
	}
	if t.offline == nil {
		t.offline = noOffline{}
	}
	if t.pages == nil {
		t.pages = noPages{}
	}
	if t.notifier == nil {
		t.notifier = noNotifier{}
	}
	for si, side := range []mod.Side{mod.Out, mod.In} {
		for kind := range t.phases[si] {
			k := mod.Kinds(1 << kind)
			p := &t.phases[si][kind]
			err := firstOf(
				collect(t.ext, &p.Admit, side, k, shuffle, func(h *mod.Hooks) []mod.AdmitHook { return h.Admit }, func(h mod.AdmitHook) mod.When { return h.When }),
				collect(t.ext, &p.Rewrite, side, k, shuffle, func(h *mod.Hooks) []mod.RewriteHook { return h.Rewrite }, func(h mod.RewriteHook) mod.When { return h.When }),
				collect(t.ext, &p.Record, side, k, shuffle, func(h *mod.Hooks) []mod.RecordHook { return h.Record }, func(h mod.RecordHook) mod.When { return h.When }),
				collect(t.ext, &p.Settle, side, k, shuffle, func(h *mod.Hooks) []mod.SettleHook { return h.Settle }, func(h mod.SettleHook) mod.When { return h.When }),
				collect(t.ext, &p.Fork, side, k, shuffle, func(h *mod.Hooks) []mod.ForkHook { return h.Fork }, func(h mod.ForkHook) mod.When { return h.When }),
				collect(t.ext, &p.Observe, side, k, shuffle, func(h *mod.Hooks) []mod.ObserveHook { return h.Observe }, func(h mod.ObserveHook) mod.When { return h.When }),
			)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// collect puts the hooks of one phase that are meant for side and kind into dst, ordered by After.
func collect[H any](ext []extension, dst *[]Hook[H], side mod.Side, kind mod.Kinds, shuffle func(int, func(i, j int)),
	of func(*mod.Hooks) []H, when func(H) mod.When) error {
	var in []Hook[H]
	for _, e := range ext {
		for _, h := range of(e.hooks) {
			if w := when(h); w.Side&side != 0 && w.Kinds&kind != 0 {
				in = append(in, Hook[H]{e.name, h})
			}
		}
	}
	if shuffle != nil {
		shuffle(len(in), func(i, j int) { in[i], in[j] = in[j], in[i] })
	}
	// Take, again and again, the first hook that waits for none of the others.
	for len(in) > 0 {
		i := slices.IndexFunc(in, func(h Hook[H]) bool {
			return !slices.ContainsFunc(in, func(o Hook[H]) bool {
				return o.Extension != h.Extension && slices.Contains(when(h.H).After, o.Extension)
			})
		})
		if i < 0 {
			var names []string
			for _, h := range in {
				names = append(names, h.Extension)
			}
			return fmt.Errorf("the hooks of %s each come after another of them", strings.Join(names, ", "))
		}
		*dst = append(*dst, in[i])
		in = slices.Delete(in, i, i+1)
	}
	return nil
}

// IQ returns the handler of a request. at is one place.
func (h *Host) IQ(at mod.Where, typ string, payload xmlstream.Name) (IQ, bool) {
	q, ok := h.t.iq[iqKey{at, typ, payload.Space, payload.Local}]
	return q, ok
}

// Presence returns the handler of a presence.
func (h *Host) Presence(side mod.Side, typ string, broadcast bool) (Presence, bool) {
	p, ok := h.t.presence[presenceKey{side, typ, broadcast}]
	return p, ok
}

// Phases returns the hooks for a side and a kind. They must not be changed.
func (h *Host) Phases(side mod.Side, kind stanza.Kind) *Phases {
	return &h.t.phases[side>>1][kind]
}

// StreamFeatures returns what extensions offer on a stream, after authentication or before.
func (h *Host) StreamFeatures(auth bool) []*xmlstream.Element {
	var out []*xmlstream.Element
	for _, f := range h.t.stream {
		if f.Auth == auth {
			if e := f.Func(); e != nil {
				out = append(out, e)
			}
		}
	}
	return out
}

func (t *tables) disco(at mod.Where) mod.Disco {
	if at&mod.AtAccount != 0 {
		at |= mod.AtOwn
	}
	var d mod.Disco
	for _, e := range t.ext {
		for _, q := range e.hooks.IQ {
			if q.At&at != 0 && !q.Quiet {
				d.Features = append(d.Features, q.Space)
			}
		}
		for _, f := range e.hooks.Features {
			if f.At&at != 0 {
				d.Features = append(d.Features, f.Var)
			}
		}
		for _, i := range e.hooks.Identities {
			if i.At&at != 0 {
				d.Identities = append(d.Identities, i.Identity)
			}
		}
		if e.hooks.Forms != nil {
			for _, f := range e.hooks.Forms(at) {
				d.Forms = withForm(d.Forms, f)
			}
		}
	}
	slices.Sort(d.Features)
	d.Features = slices.Compact(d.Features)
	return d
}

// withForm adds a form of extended service discovery. Of a FORM_TYPE there is one form, in which all fields are (XEP-0128#recommendations).
func withForm(list []*xmlstream.Element, x *xmlstream.Element) []*xmlstream.Element {
	add, err := dataform.Parse(x)
	if err != nil {
		return append(list, x)
	}
	for i, o := range list {
		f, err := dataform.Parse(o)
		if err != nil || f.FormType() != add.FormType() {
			continue
		}
		f.Fields = append(f.Fields, slices.DeleteFunc(slices.Clone(add.Fields), func(k dataform.Field) bool { return k.Var == dataform.FormType })...)
		list[i] = f.Element()
		return list
	}
	return append(list, x)
}

// noRoster is the roster of a host without the roster extension.
type noRoster struct{}

func (noRoster) Contact(context.Context, jid.JID, jid.JID) (mod.Contact, bool, error) {
	return mod.Contact{}, false, nil
}
func (noRoster) Requests(context.Context, jid.JID) (int, error) { return 0, nil }

func (noRoster) Contacts(context.Context, jid.JID) ([]mod.Contact, error) { return nil, nil }

// noCapabilities stands for the extension that learns what clients understand where there is none.
type noCapabilities struct{}

func (noCapabilities) Features(*stanza.Stanza) ([]string, bool)                       { return nil, false }
func (noCapabilities) Learn(context.Context, jid.JID, *stanza.Stanza, func([]string)) {}
func (noCapabilities) Same(_, _ *stanza.Stanza) bool                                  { return true }

// noOffline stands for the extension that keeps messages for absent users where there is none.
type noOffline struct{}

func (noOffline) Mark(context.Context, jid.JID) (int64, error) { return 0, nil }
func (noOffline) Skip(mod.Session, int64)                      {}

// noPages stands for the extension that shows nodes on the web where there is none.
type noPages struct{}

func (noPages) URL(jid.JID, string, string) string { return "" }

// noNotifier stands for the extension that wakes devices where there is none.
type noNotifier struct{}

func (noNotifier) Notify(context.Context, *stanza.Stanza, []mod.Absent) (func(mod.Tx) error, func()) {
	return nil, nil
}
