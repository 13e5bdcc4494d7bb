package offline

import (
	"context"
	"errors"
	"strings"

	"sabir/mod"
	"sabir/xmpp/payload/delay"
	"sabir/xmpp/xmlstream"
)

// trace tells for whom a message with this id waits.
func (o *offline) trace(ctx context.Context, id string) ([]mod.TraceEvent, error) {
	list, err := o.store.find(ctx, id)
	if err != nil {
		return nil, err
	}
	var events []mod.TraceEvent
	for _, m := range list {
		s, err := m.parse()
		if err != nil || s.To.DomainJID() != o.h.Domain() || !mod.SentAs(m.wire, id) {
			continue // the search was rough
		}
		e := mod.TraceEvent{What: mod.TraceStored, Who: "offline", Detail: s.To.Bare().String() + " from " + s.From.String()}
		if d, ok := delay.Of(s, o.h.Domain()); ok {
			e.At = d.Stamp
		}
		events = append(events, e)
	}
	return events, nil
}

// find returns messages that hold a text somewhere. It reads all that are stored.
func (t store) find(ctx context.Context, text string) (list []message, err error) {
	like := "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(string(xmlstream.AppendAttr(nil, text))) + "%"
	rows, err := t.db.Query(ctx, `SELECT id, size, stanza FROM offline_message WHERE stanza LIKE ? ESCAPE '\' LIMIT 100`, like)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var m message
		if err := rows.Scan(&m.id, &m.size, &m.wire); err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, rows.Err()
}
