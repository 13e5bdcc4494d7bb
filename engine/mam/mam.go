// Package mam answers the queries of XEP-0313 from archives of package archive: what the archives of accounts and of rooms
// have in common beyond the log itself. Who may ask is the business of the extension.
package mam

import (
	"context"
	"errors"
	"slices"

	"sabir/engine/archive"
	"sabir/mod"
	wire "sabir/xmpp/payload/mam"
	"sabir/xmpp/payload/rsm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const (
	// maxIDs bounds the ids of one query.
	maxIDs = 1000
	// maxText bounds a search, in bytes.
	maxText = 1024
)

// Options bound a page.
type Options struct {
	// Default is how many messages a page has where the query does not say, Max how many it has at most.
	Default, Max int
	// Bytes bounds a page, but for its first message: what a client gets at once has to fit between the server and it.
	Bytes int
	// Search says that the archive can be searched.
	Search bool
	// Nodes says that it is one of nodes, of which a query names one (XEP-0442). Otherwise a node is item-not-found.
	Nodes bool
}

// Within returns the options with pages that take no more than half of the room that the session has which asks, if any: whoever asks for one
// page after the other gets them, and is not cut off for what waits.
func (o Options) Within(s mod.Session) Options {
	if s != nil {
		o.Bytes = min(o.Bytes, s.Room()/2)
	}
	return o
}

// Parse reads a query. The error is the *stanza.Error that is owed: feature-not-implemented for a field that is not known
// (XEP-0313#query-form), item-not-found for a node, policy-violation for what is too long, bad-request for the rest.
func Parse(x *xmlstream.Element, o Options) (wire.Query, error) {
	q, err := wire.Parse(x)
	switch {
	case errors.Is(err, wire.ErrField), err == nil && q.Text != "" && !o.Search:
		return q, stanza.Err(stanza.FeatureNotImplemented, "the form has a field that this archive does not know")
	case err != nil:
		return q, stanza.Err(stanza.BadRequest, err.Error())
	case q.Node != "" && !o.Nodes:
		return q, stanza.Err(stanza.ItemNotFound, "this archive has no nodes")
	case q.Node == "" && o.Nodes:
		return q, stanza.Err(stanza.BadRequest, "a query names the node")
	case q.Page.Index >= 0: // XEP-0059#jump allows that
		return q, stanza.Err(stanza.FeatureNotImplemented, "pages are asked for by id, not by index")
	case len(q.IDs) > maxIDs || len(q.Text) > maxText:
		return q, stanza.Errf(stanza.PolicyViolation, "a query has at most %d ids, and %d bytes of text to search for", maxIDs, maxText)
	}
	return q, nil
}

// Answer reads the page that q asks for, hands its messages to each in the order in which they are to be sent, and returns
// the <fin/> that follows them (XEP-0313#query). An id that the archive does not have is item-not-found, a *stanza.Error. end tells that who
// has got the page is up to date with the archive, from where the query begins or from where its user scrolls back.
func Answer(ctx context.Context, l *archive.Log, a archive.Archive, q *wire.Query, o Options, each func(archive.Item) error) (fin *xmlstream.Element, end bool, err error) {
	limit := o.Default
	if q.Page.Max >= 0 {
		limit = min(q.Page.Max, o.Max)
	}
	p, err := l.Page(ctx, a, archive.Query{
		With: q.With, Start: q.Start, End: q.End, AfterID: q.AfterID, BeforeID: q.BeforeID, IDs: q.IDs, Text: q.Text,
		NoGroupchat: q.Groupchat != nil && !*q.Groupchat,
		After:       q.Page.After, Before: q.Page.Before, Last: q.Page.Last, Limit: limit, Count: true,
	})
	if err != nil {
		return nil, false, owed(err)
	}
	backward := q.Page.Last || q.Page.Before != ""
	cut(&p, backward, o.Bytes)
	fin = wire.Fin(answer(p), p.Complete)
	if q.Flip {
		slices.Reverse(p.Items)
	}
	for _, i := range p.Items {
		if err := each(i); err != nil {
			return nil, false, err
		}
	}
	return fin, toEnd(q, p.Complete, limit >= o.Default), nil
}

// toEnd tells whether a query without filters, but for a beginning, has got what is newest. A last page that was asked for with
// less than the usual size is a look at where the archive ends, and no more.
func toEnd(q *wire.Query, complete, usual bool) bool {
	if !q.With.IsZero() || !q.End.IsZero() || q.BeforeID != "" || q.IDs != nil || q.Text != "" || q.Page.Max == 0 {
		return false
	}
	return complete && q.Page.Before == "" || q.Page.Last && usual
}

// envelope is about what a message needs besides its own bytes: those of the result that it comes in, and its place in a queue.
const envelope = 1 << 10

// cut drops what is beyond a number of bytes, at the far end of the page.
func cut(p *archive.Page, backward bool, limit int) {
	size, n := 0, 0
	for n < len(p.Items) {
		i := n
		if backward {
			i = len(p.Items) - 1 - n
		}
		if size += len(p.Items[i].Wire) + envelope; n > 0 && size > limit {
			break
		}
		n++
	}
	gone := len(p.Items) - n
	if gone == 0 {
		return
	}
	p.Complete = false
	if !backward {
		p.Items = p.Items[:n]
		return
	}
	p.Items = p.Items[gone:]
	if p.Index >= 0 {
		p.Index += int64(gone)
	}
}

func answer(p archive.Page) rsm.Answer {
	a := rsm.Answer{Index: p.Index, Count: p.Count}
	if n := len(p.Items); n > 0 {
		a.First, a.Last = p.Items[0].ID, p.Items[n-1].ID
	}
	return a
}

// Metadata returns the first and the last message of an archive (XEP-0313#archive-metadata).
func Metadata(ctx context.Context, l *archive.Log, a archive.Archive) (*xmlstream.Element, error) {
	first, last, err := l.Metadata(ctx, a)
	if errors.Is(err, archive.ErrNotFound) {
		return Empty(), nil
	}
	if err != nil {
		return nil, err
	}
	return wire.Metadata(wire.End{ID: first.ID, Stamp: first.Stamp}, wire.End{ID: last.ID, Stamp: last.Stamp}), nil
}

// Empty returns the metadata of an empty archive.
func Empty() *xmlstream.Element { return wire.Metadata(wire.End{}, wire.End{}) }

// None answers a query of an archive that has never had a message.
func None(q *wire.Query) (*xmlstream.Element, error) {
	if q.AfterID != "" || q.BeforeID != "" || len(q.IDs) > 0 || q.Page.After != "" || q.Page.Before != "" {
		return nil, owed(archive.ErrNotFound)
	}
	return wire.Fin(rsm.Answer{Index: -1}, true), nil
}

// owed gives the error of a query.
func owed(err error) error {
	switch {
	case errors.Is(err, archive.ErrNotFound):
		return stanza.Err(stanza.ItemNotFound, "the archive has no such id")
	case errors.Is(err, archive.ErrQuery):
		return stanza.Err(stanza.BadRequest, "the query asks for both ends at once")
	}
	return err
}
