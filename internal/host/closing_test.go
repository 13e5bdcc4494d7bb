package host

import (
	"context"
	"strings"
	"testing"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// TestClosing: an extension is told that it ends where the next host does not have it, or has its service elsewhere.
func TestClosing(t *testing.T) {
	var told []string
	with := func(domains ...string) *Host {
		h := &Host{}
		for _, d := range domains {
			name, domain, _ := strings.Cut(d, "=")
			hooks := &mod.Hooks{Closing: func(context.Context) { told = append(told, d) }}
			if domain != "" {
				hooks.Services = []*mod.Service{{Domain: jid.MustParse(domain), Presence: func(context.Context, *stanza.Stanza) error { return nil },
					Message: func(context.Context, *stanza.Stanza) (func(context.Context) error, error) { return nil, nil }}}
			}
			if err := h.t.add(name, hooks); err != nil {
				t.Fatal(err)
			}
		}
		return h
	}
	for _, c := range []struct {
		now  *Host
		want string
	}{
		{nil, "a b=rooms.example"},
		{with("a", "b=rooms.example"), ""},
		{with("b=rooms.example"), "a"},
		{with("a", "b=chat.example"), "b=rooms.example"},
		{with(), "a b=rooms.example"},
	} {
		told = nil
		with("a", "b=rooms.example").Closing(t.Context(), c.now)
		if got := strings.Join(told, " "); got != c.want {
			t.Errorf("told %q, want %q", got, c.want)
		}
	}
}
