package c2s

import (
	"errors"
	"runtime"
	"sync"
	"time"
)

// errBusy says that too many handshakes wait already, errStopping that the server stops.
var (
	errBusy     = errors.New("too many clients come at once")
	errStopping = errors.New("the server stops")
)

// gate lets as many handshakes work at a time as leave processors to those who are logged in: after a restart all clients
// come at once, and if all were served at once, none would be in time. A handshake has a turn only while it works, so
// that a slow client takes nobody's place. Those that have begun come before others, and else who came first; how many
// may wait to begin is bounded.
type gate struct {
	limit func() int
	quit  <-chan struct{}

	mu           sync.Mutex
	free         int
	begun, fresh []chan struct{}
}

func newGate(turns int, limit func() int, quit <-chan struct{}) *gate {
	return &gate{free: turns, limit: limit, quit: quit}
}

// handshakesAtOnce is half of the processors.
func handshakesAtOnce() int { return max(1, runtime.GOMAXPROCS(0)/2) }

// enter waits for a turn.
func (g *gate) enter(begun bool) error {
	g.mu.Lock()
	if g.free > 0 {
		g.free--
		g.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	switch {
	case begun:
		g.begun = append(g.begun, turn)
	case len(g.fresh) >= g.limit():
		g.mu.Unlock()
		return errBusy
	default:
		g.fresh = append(g.fresh, turn)
	}
	g.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-g.quit:
		return errStopping // nobody needs the turn any more
	}
}

// leave hands the turn to the next.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, q := range []*[]chan struct{}{&g.begun, &g.fresh} {
		if len(*q) > 0 {
			next := (*q)[0]
			(*q)[0] = nil
			*q = (*q)[1:]
			close(next)
			return
		}
	}
	g.begun, g.fresh = nil, nil // their arrays were for a rush
	g.free++
}

// waiting counts those that wait.
func (g *gate) waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.begun) + len(g.fresh)
}

// HandshakesWaiting returns how many TLS handshakes wait for their turn.
func (s *Server) HandshakesWaiting() int { return s.gate.waiting() }

// turns are those of one handshake. It implements conn.Gate.
type turns struct {
	gate   *gate
	waited time.Duration
}

// Enter waits for a turn.
func (t *turns) Enter(begun bool) error {
	start := time.Now()
	err := t.gate.enter(begun)
	t.waited += time.Since(start)
	return err
}

// Leave ends it.
func (t *turns) Leave() { t.gate.leave() }
