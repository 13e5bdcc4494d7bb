package main

import (
	"strings"
	"testing"
	"time"

	"sabir/internal/admin"
	"sabir/mod"
)

func TestShowTrace(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var b strings.Builder
	showTrace(&b, admin.Trace{
		ID: "m1", Also: []string{"a1"},
		Messages: [][]mod.TraceEvent{{
			{At: at, What: mod.TraceReceived, Who: "romeo@b/x", Detail: "juliet@b"},
			{At: at.Add(1500 * time.Microsecond), What: mod.TraceRefused, Who: "blocking", Detail: "service-unavailable"},
		}, {
			{At: at, What: "held", Who: "somebody", Detail: "something"},
		}},
		Stored: []mod.TraceEvent{{At: at, What: mod.TraceArchived, Who: "juliet@b", Detail: "a1"}},
	})
	want := `also known as a1
message 1 of 2
  2026-03-01T12:00:00.000000Z             received from romeo@b/x for juliet@b
  2026-03-01T12:00:00.001500Z     +1.5ms  refused by blocking: service-unavailable
message 2 of 2
  2026-03-01T12:00:00.000000Z             held somebody something
stored now
  2026-03-01T12:00:00.000000Z             archived for juliet@b as a1
`
	if b.String() != want {
		t.Errorf("shown:\n%s\nwant:\n%s", b.String(), want)
	}
}
