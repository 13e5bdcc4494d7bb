package transcript

import (
	"fmt"
	"time"

	"sabir/xmpp/xmlstream"
)

// Script is a parsed file.
type Script struct {
	File        string
	Title       string
	Description string
	Tags        []string // of the lines that start with ##
	Specs       []string // of the "# spec:" lines
	Features    []string // of the "# feature:" lines
	Characters  []Character
	Steps       []Step

	// exact says that the file is an .xt one: see the package comment on presence.
	exact bool
}

// Kind is what a character is.
type Kind string

// The kinds of characters.
const (
	ClientKind    Kind = "Client"
	ServerKind    Kind = "Server"
	ComponentKind Kind = "Component"
)

// Character is who acts.
type Character struct {
	Kind       Kind
	Name       string
	Line       int
	Properties []Property
}

// Property is a line under a character.
type Property struct {
	Key, Value string
	Line       int
}

// Get returns the value of a property, or "".
func (c *Character) Get(key string) string {
	for _, p := range c.Properties {
		if p.Key == key {
			return p.Value
		}
	}
	return ""
}

// Verb is what a step does.
type Verb uint8

// The verbs.
const (
	Connects Verb = iota
	Opens
	Authenticates
	IsOffered
	Sends
	SendsRaw
	Receives
	ReceivesNothing
	Disconnects
	Drops
	IsDisconnected
	Resumes
	Dials // from here to StartsTLS: of a [Server]
	DialsTLS
	Accepts
	AcceptsRaw
	OpensStream
	StartsTLS
	Together
	Capture
	NodeStops
	NodeStarts
)

// Step is one action.
type Step struct {
	Line     int
	Actor    int // index of the character, or -1
	Verb     Verb
	Elements []*xmlstream.Element // of Sends and Receives
	Text     string               // of SendsRaw; the domain of Opens; the name of Capture
	Duration time.Duration        // of ReceivesNothing; 0 where the script says none
	Node     int                  // of NodeStops and NodeStarts
	Steps    []Step               // of Together
}

// SyntaxError is a mistake in a script.
type SyntaxError struct {
	File string
	Line int
	Text string
}

// Error gives file, line and text.
func (e *SyntaxError) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text) }
