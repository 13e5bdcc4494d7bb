package mam

import (
	"errors"
	"fmt"

	"sabir/xmpp/jid"
	"sabir/xmpp/xmlstream"
)

// Values of the default of preferences (XEP-0441#config-default).
const (
	Always = "always"
	Never  = "never"
	Roster = "roster" // with contacts of the roster
)

// Prefs say whose messages are archived (XEP-0441#config).
type Prefs struct {
	Default       string
	Always, Never []jid.JID
}

// ParsePrefs reads <prefs/>. A default that is missing or unknown, a list that is there twice, and what is no JID are errors.
func ParsePrefs(x *xmlstream.Element) (Prefs, error) {
	p := Prefs{Default: x.Attr("default")}
	if !x.Is(NS, "prefs") {
		return p, fmt.Errorf("mam: not a <prefs/> of %s", NS)
	}
	switch p.Default {
	case Always, Never, Roster:
	default:
		return p, errors.New("mam: the default is always, never or roster")
	}
	var always, never bool
	for e := range x.Elements() {
		list, seen := &p.Always, &always
		switch {
		case e.Is(NS, "always"):
		case e.Is(NS, "never"):
			list, seen = &p.Never, &never
		default:
			continue
		}
		if *seen {
			return p, fmt.Errorf("mam: <%s/> is there twice", e.Name.Local)
		}
		*seen = true
		for j := range e.Elements() {
			if !j.Is(NS, "jid") {
				continue
			}
			a, err := jid.Parse(j.Text())
			if err != nil {
				return p, fmt.Errorf("mam: <jid/>: %w", err)
			}
			*list = append(*list, a)
		}
	}
	return p, nil
}

// Element returns the preferences; both lists are there, also where they are empty (XEP-0441#config).
func (p Prefs) Element() *xmlstream.Element {
	list := func(name string, all []jid.JID) *xmlstream.Element {
		x := xmlstream.El(NS, name)
		for _, j := range all {
			x.Add(xmlstream.El(NS, "jid", j.String()))
		}
		return x
	}
	return xmlstream.El(NS, "prefs", xmlstream.A("default", p.Default), list("always", p.Always), list("never", p.Never))
}

// Match tells what the lists say about an address: true and false for always and never; known is false where neither has it.
// A listed bare JID is for all its resources, a listed full JID wins over it, and never wins over always (XEP-0441#match-rules).
func (p Prefs) Match(j jid.JID) (archive, known bool) {
	for _, a := range []jid.JID{j, j.Bare()} {
		for _, n := range p.Never {
			if n == a {
				return false, true
			}
		}
		for _, y := range p.Always {
			if y == a {
				return true, true
			}
		}
	}
	return false, false
}
