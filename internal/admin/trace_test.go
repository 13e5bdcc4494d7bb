package admin

import (
	"strings"
	"testing"

	"sabir/mod"
)

// Of a message from one tenant to another each has its half shown, and somebody else nothing; what an extension did is shown where both ends are the
// host's. What an anonymous room passes on does not tell who has said it, nor where its occupants are.
func TestTraceOfHost(t *testing.T) {
	between := []mod.TraceEvent{
		{What: mod.TraceReceived, Who: "a@one/x", Detail: "b@two"}, {What: mod.TraceID, Who: "a@one/x", Detail: "id"}, {What: mod.TraceChanged, Who: "ids"},
		{What: mod.TraceStored, Who: "offline", Detail: "b@two"}, {What: mod.TraceCommitted}, {What: mod.TraceArchived, Who: "b@two", Detail: "id of b"},
		{What: mod.TraceArchived, Who: "a@one", Detail: "id of a"}, {What: mod.TraceCopied, Who: "a@one/y"}, {What: mod.TraceNotified, Who: "push.example"},
		{What: mod.TraceTaken, Who: "offline", Detail: "b@two/x"}, {What: mod.TraceAcked, Who: "b@two/x"},
	}
	within := []mod.TraceEvent{{What: mod.TraceReceived, Who: "a@one/x", Detail: "c@one"}, {What: mod.TraceRefused, Who: "blocking", Detail: "service-unavailable"}}
	room := []mod.TraceEvent{
		{What: mod.TraceReceived, Who: "a@one/x", Detail: "room@rooms.one"}, {What: mod.TraceForwarded, Who: "rooms.one"}, {What: mod.TraceArchived, Who: "room@rooms.one", Detail: "7"},
		{What: mod.TraceReceived, Who: "room@rooms.one/a", Detail: "b@two/x"}, {What: mod.TraceWritten, Who: "b@two/x"},
	}
	// To an anonymous room of host one come the words of a user of host six, and go out to host two and elsewhere.
	passed := []mod.TraceEvent{
		{What: mod.TraceReceived, Who: "real@six/x", Detail: "room@rooms.one"}, {What: mod.TraceID, Who: "real@six/x", Detail: "id"}, {What: mod.TraceID, Who: "real@six/x", Detail: "origin"},
		{What: mod.TraceForwarded, Who: "rooms.one"}, {What: mod.TraceReceived, Who: "room@rooms.one/r", Detail: "b@two/x"}, {What: mod.TraceForwarded, Who: "elsewhere.example"},
	}
	fan := []mod.TraceEvent{
		{What: mod.TraceReceived, Who: "feed@rooms.one", Detail: "4 addresses"}, {What: mod.TraceQueued, Who: "b@two/x"}, {What: mod.TraceStored, Who: "offline", Detail: "c@two"},
		{What: mod.TraceDropped, Who: "route", Detail: "nobody@two: no such account"}, {What: mod.TraceQueued, Who: "a@one/x"},
	}
	lost := []mod.TraceEvent{{What: mod.TraceAcked, Who: "a@one/x"}} // its beginning is forgotten
	all := Trace{ID: "id", Messages: [][]mod.TraceEvent{between, within, room, lost, fan, passed}, Stored: []mod.TraceEvent{
		{What: mod.TraceArchived, Who: "b@two", Detail: "id of b"}, {What: mod.TraceStored, Who: "offline", Detail: "b@two from a@one/x"}, {What: mod.TraceArchived, Who: "room@rooms.one", Detail: "7"},
	}}
	for host, want := range map[string]string{
		"one": "1 received, 1 known as, 1 committed, 1 archived id of a, 1 copied, 2 received, 2 refused service-unavailable, 3 received, 3 forwarded, 3 archived 7, 3 received, 4 received, 4 queued, 5 received, 5 known as, 5 known as, 5 received, stored archived 7",
		"two": "1 received, 1 known as, 1 stored, 1 committed, 1 archived id of b, 1 notified, 1 taken from, 1 acknowledged, 2 received, 2 written, 3 queued, 3 stored, 4 received, stored archived id of b, stored stored",
		"six": "1 received, 1 known as, 1 known as",
		"ten": "",
	} {
		var got []string
		for _, r := range all.of(func(a string) bool {
			return strings.HasSuffix(strings.SplitN(a, "/", 2)[0], "@"+host) || strings.HasSuffix(strings.SplitN(a, "/", 2)[0], "."+host)
		}).rows() {
			text := r.Message + " " + r.What
			if r.What == mod.TraceArchived || r.What == mod.TraceRefused {
				text += " " + r.Detail
			}
			got = append(got, text)
		}
		if text := strings.Join(got, ", "); text != want {
			t.Errorf("%s is shown\n%s, want\n%s", host, text, want)
		}
	}
}
