package s2s_test

import (
	"maps"
	"path/filepath"
	"strings"
)

// A journal is what an ejabberd has written down, from within, of each stanza that came from another server: that its stream
// has taken it, that the session of its recipient (or the offline store) has handled it, and what it has answered.
type journal struct {
	arrived map[string]bool // by the stream from the other server
	before  map[string]bool // the same, before the last start
	settled map[string]bool // and a request behind it was answered, which says that it was handled (RFC 6120 §10.1)
	handled map[string]bool // by the session of the recipient, or by the store
	lines   []string
}

// of returns the lines about a stanza and what follows each.
func (j *journal) of(id string) []string {
	var out []string
	for i, l := range j.lines {
		if _, x, _ := strings.Cut(l, " "); x == id {
			out = append(out, j.lines[i:min(len(j.lines), i+4)]...)
		}
	}
	return out
}

func (f *foreign) journalFile() string { return filepath.Join(f.dir, "journal") }

// journalHooks returns what an ejabberd runs to keep its journal. A process of its own writes it, which ends after all of
// ejabberd: a hook that wrote would slow the stream down, so that sessions keep up with it.
func (f *foreign) journalHooks() string {
	write := `register(journal, spawn(fun() -> {ok, F} = file:open("` + f.journalFile() + `", [append, raw]), ` +
		`ok = file:write(F, "start\n"), (fun L() -> receive B -> ok = file:write(F, B), L() end end)() end)), `
	for _, h := range []struct{ hook, word string }{
		{"s2s_receive_packet", "came"}, {"user_receive_packet", "handled"}, {"offline_message_hook", "stored"}, {"s2s_send_packet", "sent"},
	} {
		// The argument is a stanza, or a pair of one and a state, in either order.
		write += `ejabberd_hooks:add(` + h.hook + `, <<"` + f.domain + `">>, fun(A) -> P = case A of {X, _} when is_tuple(X) -> X; {_, Y} -> Y; Y -> Y end, ` +
			`journal ! ["` + h.word + ` ", xmpp:get_id(P), "\n"], A end, 1), `
	}
	return write
}

// journal reads the journal of an ejabberd that was started once or more.
func (f *foreign) journal() *journal {
	j := &journal{arrived: make(map[string]bool), before: make(map[string]bool), settled: make(map[string]bool), handled: make(map[string]bool)}
	answered := make(map[string]bool)
	lines := strings.Split(read(f.w.t, f.journalFile()), "\n")
	j.lines = lines
	for _, l := range lines {
		if word, id, _ := strings.Cut(l, " "); word == "sent" {
			answered[id] = true
		}
	}
	var open []string // what has come and has no answered request behind it yet
	for _, l := range lines {
		switch word, id, _ := strings.Cut(l, " "); word {
		case "start":
			open = nil
			j.before = maps.Clone(j.arrived)
		case "came":
			j.arrived[id] = true
			open = append(open, id)
			if answered[id] {
				for _, before := range open {
					j.settled[before] = true
				}
				open = nil
			}
		case "handled", "stored":
			j.handled[id] = true
		}
	}
	return j
}
