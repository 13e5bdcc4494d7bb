package server

import (
	"context"
	"time"

	"sabir/internal/admin"
	"sabir/mod"
)

// traceTimeout bounds the search in what is stored.
const traceTimeout = 30 * time.Second

// Trace returns what is known of the messages with this id: by memory, and by what the extensions of the hosts have stored
// of them and of the ids under which memory knows them.
func (s *Server) Trace(ctx context.Context, id string) (admin.Trace, error) {
	ctx, cancel := context.WithTimeout(ctx, traceTimeout)
	defer cancel()
	t := admin.Trace{ID: id, Messages: [][]mod.TraceEvent{}, Stored: []mod.TraceEvent{}}
	stories, also := s.trace.Find(id)
	t.Messages, t.Also = append(t.Messages, stories...), also
	for _, h := range s.router.Hosts() {
		list, err := h.Stored(ctx, id)
		if err != nil {
			return t, err
		}
		t.Stored = append(t.Stored, list...)
	}
	return t, nil
}
