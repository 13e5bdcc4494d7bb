package host

import (
	"fmt"
	"slices"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// Service is a domain that an extension owns, with its handlers in a table. See mod.Service.
type Service struct {
	Extension string
	*mod.Service
	iq   map[iqKey]IQ
	asks *asks // those of the host
}

// Answer takes an iq of type result or error that is addressed to the service. It returns false where nothing was asked.
func (v *Service) Answer(s *stanza.Stanza) bool { return v.asks.finish(s.ID, s) }

// Handler returns the handler of a request to an address of the service.
func (v *Service) Handler(at mod.Where, typ string, payload xmlstream.Name) (IQ, bool) {
	q, ok := v.iq[iqKey{at, typ, payload.Space, payload.Local}]
	return q, ok
}

// Place tells which of the addresses of a service one is.
func Place(to jid.JID) mod.Where {
	switch {
	case to.IsFull():
		return mod.AtResource
	case to.Local() == "":
		return mod.AtHost
	}
	return mod.AtAccount
}

// Services returns the services of the host. The slice must not be changed.
func (h *Host) Services() []*Service { return h.t.services }

// addService freezes the handlers of a service.
func (t *tables) addService(name string, s *mod.Service) error {
	if s.Presence == nil || s.Message == nil || s.Domain.IsZero() {
		return fmt.Errorf("extension %s: a service has a domain, and takes messages and presence", name)
	}
	for _, o := range t.services {
		if o.Domain == s.Domain {
			return fmt.Errorf("extensions %s and %s both own %s", o.Extension, name, s.Domain)
		}
	}
	v := &Service{Extension: name, Service: s, iq: make(map[iqKey]IQ)}
	for _, q := range s.IQ {
		if q.At&^(mod.AtHost|mod.AtAccount|mod.AtResource) != 0 {
			return fmt.Errorf("extension %s: {%s}%s is answered where %s has no address", name, q.Space, q.Local, s.Domain)
		}
		for _, at := range []mod.Where{mod.AtHost, mod.AtAccount, mod.AtResource} {
			if q.At&at == 0 {
				continue
			}
			k := iqKey{at, q.Type, q.Space, q.Local}
			if _, dup := v.iq[k]; dup {
				return fmt.Errorf("extension %s answers iq %s {%s}%s twice at %s", name, q.Type, q.Space, q.Local, s.Domain)
			}
			v.iq[k] = IQ{name, q}
		}
	}
	t.services = append(t.services, v)
	return nil
}

// items returns the services of the host, as service discovery lists them, behind those that are given.
func (t *tables) items(given []mod.DiscoItem) []mod.DiscoItem {
	all := slices.Clone(given)
	for _, v := range t.services {
		if !v.Hidden {
			all = append(all, mod.DiscoItem{JID: v.Domain, Name: v.Name})
		}
	}
	return all
}

// Services checks that no two hosts and services of a server have the same domain.
func Services(hosts map[jid.JID]*Host) error {
	owner := make(map[jid.JID]string)
	for d, h := range hosts {
		for _, v := range h.Services() {
			if hosts[v.Domain] != nil {
				return fmt.Errorf("%s is a host, and extension %s on %s wants it as well", v.Domain, v.Extension, d)
			}
			mine := fmt.Sprintf("extension %s on %s", v.Extension, d)
			if other := owner[v.Domain]; other != "" {
				return fmt.Errorf("%s and %s both own %s", other, mine, v.Domain)
			}
			owner[v.Domain] = mine
		}
	}
	return nil
}
