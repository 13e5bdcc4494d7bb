package s2s_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sabir/internal/config"
	"sabir/xmpp/stanza"
)

// TestPeers lets users of Sabir and of other servers talk, by each way to connect and to prove a domain.
func TestPeers(t *testing.T) {
	if os.Getenv(envPeers) == "" {
		t.Skip("scripts/s2s-peers.sh runs it")
	}
	for _, name := range []string{"prosody", "ejabberd"} {
		for _, way := range []string{"starttls", "direct"} {
			for _, how := range []string{"external", "dialback"} {
				t.Run(name+" "+way+" "+how, func(t *testing.T) {
					w := newWorldAt(t, "127.0.53.53:53")
					w.untrusted = how == "dialback"
					set := ""
					if w.untrusted {
						set = `auth = "dialback"`
					}
					ours, theirs := w.start(set, "ours.example"), w.foreign(name, "theirs.example", w.untrusted)
					plain := way == "starttls"
					for domain, ports := range map[string]map[config.Purpose]string{"ours.example": ours.ports, "theirs.example": theirs.ports} {
						if plain || name == "ejabberd" && domain == "ours.example" { // it connects by STARTTLS only
							w.Point(t, domain, ports[config.S2S], "")
						} else {
							w.Point(t, domain, "", ports[config.S2STLS])
						}
					}
					romeo, juliet := ours.login("romeo@ours.example/x"), theirs.connect("juliet@theirs.example/y")
					juliet.arrive()
					talk(t, romeo, juliet)
					// To those who are offline, both ways: it waits there.
					nurse := ours.connect("nurse@ours.example/z")
					if err := nurse.Close(t.Context()); err != nil {
						t.Fatal(err)
					}
					juliet.say("nurse@ours.example", "offline-here")
					romeo.say("nurse@theirs.example", "offline-there")
					talk2(romeo, juliet)
					ours.login("nurse@ours.example/z").message("offline-here")
					there := theirs.connect("nurse@theirs.example/z")
					there.arrive()
					there.message("offline-there")
				})
			}
		}
	}
}

// talk2 takes a message there and back, behind what was sent before.
func talk2(romeo, juliet *user) {
	romeo.say(juliet.jid.String(), "fence-1")
	juliet.message("fence-1")
	juliet.say(romeo.jid.String(), "fence-2")
	romeo.message("fence-2")
}

// tally is what has become of messages.
type tally struct {
	sent, delivered, bounced, twice, both int
	lost                                  []string // ids
}

func (y *tally) String() string {
	return fmt.Sprintf("%d sent: %d delivered, %d bounced, %d twice, %d both, %d lost", y.sent, y.delivered, y.bounced, y.twice, y.both, len(y.lost))
}

// flood has romeo@ours.example write n messages to juliet@theirs.example. In the middle restart restarts one of their
// servers, and returns whether it was romeo's. Both log in by the given functions.
func flood(t *testing.T, n int, login, arrive func(resource string) *user, restart func() (romeos bool)) *tally {
	t.Helper()
	const to = "juliet@theirs.example"
	romeo, juliet := login("x"), arrive("y")
	romeos, juliets := []*user{romeo}, []*user{juliet}
	talk2(romeo, juliet) // ejabberd answers nothing for minutes where its first attempt to connect to us fails
	for i := range n {
		romeo.say(to, "m"+itoa(i))
		if i != n/2 {
			continue
		}
		if err := romeo.Ping(t.Context(), romeo.jid.DomainJID()); err != nil { // all before was accepted
			t.Fatal(err)
		}
		if restart() {
			romeo = login("x")
			romeos = append(romeos, romeo)
		} else {
			juliet = arrive("z")
			juliets = append(juliets, juliet)
		}
	}
	romeo.say(to, "fence-3") // what is sent stays in order: nothing of before is on its way any more when it comes
	juliet.message("fence-3")
	count := func(users []*user, failed bool) map[string]int {
		seen := make(map[string]int)
		for _, u := range users {
			for _, s := range u.all() {
				if s.Kind == stanza.Message && (s.Type == stanza.TypeError) == failed && strings.HasPrefix(s.ID, "m") {
					seen[s.ID]++
				}
			}
		}
		return seen
	}
	// Errors, and what was stored meanwhile, may come behind it.
	last, since := -1, time.Now()
	for time.Since(since) < 5*time.Second {
		k := len(count(juliets, false)) + len(count(romeos, true))
		if k == n {
			break
		}
		if k != last {
			last, since = k, time.Now()
		}
		time.Sleep(20 * time.Millisecond)
	}
	delivered, bounced := count(juliets, false), count(romeos, true)
	y := &tally{sent: n, delivered: len(delivered), bounced: len(bounced)}
	for i := range n {
		id := "m" + itoa(i)
		if delivered[id] > 1 {
			y.twice++
		}
		if delivered[id] > 0 && bounced[id] > 0 {
			y.both++
		}
		if delivered[id]+bounced[id] == 0 {
			y.lost = append(y.lost, id)
		}
	}
	return y
}

// TestPeersRestart restarts one side in the middle of many messages to a user of the other server. What is sent must be
// delivered or come back, and never both. A server that stops does not say what it has handled: some of what it has not
// acknowledged comes twice; how many that are is logged.
//
// An ejabberd that stops ends its sessions with what it has routed to them and they have not looked at yet, although it has
// answered requests that came behind it. Its journal tells what it has answered for, and nothing else may be lost
// (docs/durability.md).
func TestPeersRestart(t *testing.T) {
	if os.Getenv(envPeers) == "" {
		t.Skip("scripts/s2s-peers.sh runs it")
	}
	n := 10000
	if testing.Short() {
		n = 2000
	}
	for _, name := range []string{"prosody", "ejabberd"} {
		for _, who := range []string{"ours", "theirs"} {
			t.Run(name+" "+who, func(t *testing.T) {
				w := newWorldAt(t, "127.0.53.53:53")
				ours, theirs := w.start("", "ours.example"), w.foreign(name, "theirs.example", false)
				w.Point(t, "theirs.example", theirs.ports[config.S2S], "")
				login := func(r string) *user { return ours.login("romeo@ours.example/" + r) }
				y := flood(t, n, login, theirs.arrive("juliet"), func() bool {
					if who == "ours" {
						ours.stop()
						ours.up()
						return true
					}
					theirs.restart()
					return false
				})
				t.Log(y)
				if y.both > 0 {
					t.Errorf("%d messages are delivered and come back", y.both)
				}
				if name == "ejabberd" && who == "theirs" {
					theirs.ownLoss(y)
				}
				if len(y.lost) > 0 {
					t.Errorf("%d messages are lost: %v", len(y.lost), y.lost[:min(10, len(y.lost))])
				}
			})
		}
	}
}

// ownLoss takes from the lost what ejabberd itself has lost: what it had taken and answered for.
func (f *foreign) ownLoss(y *tally) {
	j, taken, unseen := f.journal(), 0, 0
	y.lost = slices.DeleteFunc(y.lost, func(id string) bool {
		if !j.settled[id] {
			f.w.t.Logf("%s is lost: %+v", id, strings.Join(j.of(id), ", "))
			return false
		}
		taken++
		if !j.handled[id] {
			unseen++
		}
		return true
	})
	f.w.t.Logf("%d are lost that ejabberd had answered for; the session of the recipient had not looked at %d of them when it was ended", taken, unseen)
}

// TestPeersAlone is the same between servers of others, as a measure of what TestPeersRestart sees: ejabberd, restarted in
// the middle of messages that come from Sabir, from Prosody and from another ejabberd.
func TestPeersAlone(t *testing.T) {
	if os.Getenv(envPeersAlone) == "" {
		t.Skip("SABIR_S2S_PEERS_ALONE=1 scripts/s2s-peers.sh -run TestPeersAlone -v")
	}
	const n, rounds = 10000, 5
	for _, from := range []string{"sabir", "prosody", "ejabberd"} {
		for round := range rounds {
			t.Run(from+" "+itoa(round), func(t *testing.T) {
				w := newWorldAt(t, "127.0.53.53:53")
				var login func(string) *user
				if from == "sabir" {
					ours := w.start("", "ours.example")
					login = func(r string) *user { return ours.login("romeo@ours.example/" + r) }
				} else {
					ours := w.foreign(from, "ours.example", false)
					w.Point(t, "ours.example", ours.ports[config.S2S], "")
					login = ours.arrive("romeo")
				}
				theirs := w.foreign("ejabberd", "theirs.example", false)
				w.Point(t, "theirs.example", theirs.ports[config.S2S], "")
				y := flood(t, n, login, theirs.arrive("juliet"), func() bool { theirs.restart(); return false })
				j := theirs.journal()
				came, unseen := 0, 0
				for _, id := range y.lost {
					if j.arrived[id] {
						came++
						if !j.handled[id] {
							unseen++
						}
					}
				}
				t.Logf("%s; of the lost %d had come, %d of which the session never saw", y, came, unseen)
			})
		}
	}
}
