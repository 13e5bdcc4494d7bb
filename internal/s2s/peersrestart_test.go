package s2s_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sabir/internal/config"
	"sabir/internal/s2s"
	"sabir/xmpp/stanza"
)

// tally is what has become of messages.
type tally struct {
	sent, delivered, bounced, twice, both int
	lost                                  []string // ids
}

func (y *tally) String() string {
	return fmt.Sprintf("%d sent: %d delivered, %d bounced, %d twice, %d both, %d lost", y.sent, y.delivered, y.bounced, y.twice, y.both, len(y.lost))
}

// side is one end of a conversation: somebody, and how she logs in.
type side struct {
	who   string
	login func(resource string) *user
}

func (s *sabir) side(local string) side {
	who := local + "@" + s.domains[0]
	return side{who, func(r string) *user { return s.login(who + "/" + r) }}
}

func (f *foreign) side(local string) side { return side{local + "@" + f.domain, f.arrive(local)} }

// flood has one side write n messages to the other, and calls restart when half of them are accepted. Where that restarts the server of
// the recipient (others), the sender goes on meanwhile.
func flood(t *testing.T, n int, from, to side, others bool, restart func()) *tally {
	t.Helper()
	senders, recipients := []*user{from.login("x")}, []*user{to.login("y")}
	talk2(senders[0], recipients[0]) // ejabberd answers nothing for minutes where its first attempt to connect to us fails
	half := func(k int) {
		u := senders[len(senders)-1]
		for i := k * n / 2; i < (k+1)*n/2; i++ {
			u.say(to.who, "m"+itoa(i))
		}
		if err := u.Ping(t.Context(), u.jid.DomainJID()); err != nil { // all is accepted
			t.Fatal(err)
		}
	}
	half(0)
	if others {
		done := make(chan struct{})
		go func() { defer close(done); restart() }()
		half(1)
		<-done
		if t.Failed() {
			t.FailNow()
		}
		recipients = append(recipients, to.login("z"))
	} else {
		restart()
		senders = append(senders, from.login("x"))
		half(1)
	}
	// What is sent stays in order: nothing of before is on its way any more when this comes. It may come back while a server starts.
	for k := range 10 {
		id := "fence-3-" + itoa(k)
		senders[len(senders)-1].say(to.who, id)
		if recipients[len(recipients)-1].await(2*time.Second, id) != nil {
			break
		}
	}
	return count(n, senders, recipients)
}

// count waits until no more comes, and counts.
func count(n int, senders, recipients []*user) *tally {
	seen := func(users []*user, failed bool) map[string]int {
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
	// Errors, and what was stored meanwhile, may come behind what comes last.
	last, since := -1, time.Now()
	for time.Since(since) < 5*time.Second {
		k := len(seen(recipients, false)) + len(seen(senders, true))
		if k == n {
			break
		}
		if k != last {
			last, since = k, time.Now()
		}
		time.Sleep(20 * time.Millisecond)
	}
	delivered, bounced := seen(recipients, false), seen(senders, true)
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

// restartCase is one restart in the middle of messages.
type restartCase struct {
	sender, restarts string // ours or theirs
	signal           syscall.Signal
}

func (c restartCase) String() string {
	how := "stops"
	if c.signal == syscall.SIGKILL {
		how = "is killed"
	}
	return "from " + c.sender + ", " + c.restarts + " " + how
}

// TestPeersRestart restarts one side in the middle of many messages from one side to the other. What we send is delivered or comes back,
// never both, and once: a server that stops has answered for all that it has handled but, at most, for the last stanza, whose question it has not
// read. How many that are it has written down itself, and no more may come twice. One that is killed may have answers under way: then as
// many may come twice as it had not answered for, at most the window.
//
// What they send is never delivered twice. When we stop, all that they had sent before they knew is delivered, and the rest comes back from their server: we
// hear them out, and tell one that counts how far we have got. What they lose when they stop themselves is theirs.
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
		for _, c := range []restartCase{
			{"ours", "ours", syscall.SIGTERM}, {"ours", "theirs", syscall.SIGTERM}, {"ours", "theirs", syscall.SIGKILL},
			{"theirs", "ours", syscall.SIGTERM}, {"theirs", "theirs", syscall.SIGTERM},
		} {
			t.Run(name+" "+c.String(), func(t *testing.T) {
				w := newWorldAt(t, "127.0.53.53:53")
				w.extra = "limits.queue_bytes = 100_000_000\nmod.offline.messages = 20_000\nmod.offline.bytes = 100_000_000\n" // all that is under way may wait for one
				ours, theirs := w.start("", "ours.example"), w.foreign(name, "theirs.example", false)
				w.Point(t, "theirs.example", theirs.ports[config.S2S], "")
				from, to := ours.side("romeo"), theirs.side("juliet")
				if c.sender == "theirs" {
					from, to = to, from
				}
				y := flood(t, n, from, to, c.sender != c.restarts, func() {
					if c.restarts == "ours" {
						ours.stop()
						ours.up()
						return
					}
					theirs.down(c.signal)
					theirs.up()
				})
				t.Log(y)
				judge(t, c, ours, theirs, y)
			})
		}
	}
}

// smacksQueue is how many stanzas a Prosody remembers that were not acknowledged (smacks_max_queue_size). It returns them to their senders; nobody hears
// of more.
const smacksQueue = 500

// lastRead is how many messages of these tests Prosody reads at most at once, 8 KiB; it writes its answers behind them all.
const lastRead = 8 << 10 / len(`<message from='romeo@ours.example/x' id='m0' to='juliet@theirs.example' type='chat'><body>text of m0</body></message><r xmlns='urn:xmpp:sm:3'/>`)

// judge compares what has become of messages with what is promised.
func judge(t *testing.T, c restartCase, ours *sabir, theirs *foreign, y *tally) {
	twice := 0
	if c.sender == "ours" && c.restarts == "theirs" {
		if twice = s2s.Window; c.signal == syscall.SIGTERM {
			twice = theirs.unanswered()
			t.Logf("%s says that it has not answered for %d that it had handled", theirs.name, twice)
			if theirs.name == "prosody" && !strings.Contains(ours.log.String(), "stream error system-shutdown") {
				twice = lastRead
				t.Logf("prosody has ended before it has written what it had to say: the answers to what it had read last, at most %d, are lost with its last words", twice)
			}
		}
	}
	if y.twice > twice {
		t.Errorf("%d messages come twice, at most %d may", y.twice, twice)
	}
	if c.restarts == "theirs" && (c.sender == "theirs" || c.signal == syscall.SIGKILL) {
		return // what they had in memory is theirs to answer for
	}
	if y.both > 0 {
		t.Errorf("%d messages are delivered and come back", y.both)
	}
	switch {
	case theirs.name == "ejabberd" && c.restarts == "theirs":
		theirs.ownLoss(y)
	case theirs.name == "prosody" && c.sender == "theirs" && y.bounced >= smacksQueue:
		t.Logf("%d are lost that prosody had sent and had forgotten when we had gone", len(y.lost))
		return
	}
	if len(y.lost) > 0 {
		t.Errorf("%d messages are lost: %v", len(y.lost), y.lost[:min(10, len(y.lost))])
	}
}

// unanswered tells how many stanzas a server that has stopped in order says that it had handled without an answer to a question behind them.
func (f *foreign) unanswered() (n int) {
	if f.name == "ejabberd" {
		j := f.journal()
		for id := range j.before {
			if !j.settled[id] && strings.HasPrefix(id, "m") {
				n++
			}
		}
		return n
	}
	handled, acked := 0, 0
	for l := range strings.Lines(read(f.w.t, f.log())) {
		k := 0
		if _, of, ok := strings.Cut(l, "Handled "); ok && scans(of, "%d incoming stanzas", &k) {
			if k == 1 { // of another stream
				n, acked = n+handled-acked, 0
			}
			handled = k
		} else if _, of, ok := strings.Cut(l, "Received ack request, "); ok && scans(of, "acking for %d", &k) {
			acked = k
		}
	}
	return n
}

// scans tells whether a text begins with a number in a format.
func scans(text, format string, n *int) bool {
	_, err := fmt.Sscanf(text, format, n)
	return err == nil
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
	for _, name := range []string{"sabir", "prosody", "ejabberd"} {
		for round := range rounds {
			t.Run(name+" "+itoa(round), func(t *testing.T) {
				w := newWorldAt(t, "127.0.53.53:53")
				var from side
				if name == "sabir" {
					from = w.start("", "ours.example").side("romeo")
				} else {
					ours := w.foreign(name, "ours.example", false)
					w.Point(t, "ours.example", ours.ports[config.S2S], "")
					from = ours.side("romeo")
				}
				theirs := w.foreign("ejabberd", "theirs.example", false)
				w.Point(t, "theirs.example", theirs.ports[config.S2S], "")
				y := flood(t, n, from, theirs.side("juliet"), true, theirs.restart)
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
