package mam

import (
	"context"

	"sabir/mod"
)

// trace tells which archives have a message.
func (m *archives) trace(ctx context.Context, id string) ([]mod.TraceEvent, error) {
	list, err := m.log.Holders(ctx, id)
	if err != nil {
		return nil, err
	}
	var events []mod.TraceEvent
	for _, h := range list {
		e := mod.TraceEvent{At: h.Stamp.UTC(), What: mod.TraceArchived, Who: h.Archive, Detail: h.ID}
		if h.Tombstone {
			e.Detail += " (deleted since)"
		}
		events = append(events, e)
	}
	return events, nil
}
