package load

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Options are the sizes of a run. Zero values are not replaced: start from Defaults.
type Options struct {
	Pairs  int           // of clients that chat
	Window int           // messages in flight each way of a pair
	Body   int           // bytes of a message's body
	Warm   time.Duration // before each timed measurement
	Time   time.Duration // of each timed measurement

	Rate int // messages per second in the row of fixed rate

	Logins       int // measured logins
	LoginWorkers int // logins at a time

	Groups int // of 21 contacts each
	Rounds int // presence changes of each contact

	Rooms     int
	Occupants int // of each room
	Speakers  int // occupants of each room that talk, one message in flight each

	Subscribers int // of one node
	Contacts    int // that follow one account
	Items       int // that are published to the node; twenty times as many to the account
	Payload     int // bytes of an item

	Settle time.Duration // before memory is read
}

// Defaults are the sizes that docs and thresholds speak of.
var Defaults = Options{
	Pairs: 200, Window: 4, Body: 100, Warm: time.Second, Time: 8 * time.Second,
	Rate: 2000, Logins: 500, LoginWorkers: 16,
	Groups: 10, Rounds: 20,
	Rooms: 10, Occupants: 100, Speakers: 4,
	Subscribers: 10_000, Contacts: 500, Items: 10, Payload: 300,
	Settle: 8 * time.Second,
}

// Unit says how a row's value reads.
type Unit int

const (
	Micros Unit = iota // processor time in microseconds per unit of work
	Millis             // processor time in milliseconds per unit of work
	KiB                // memory in KiB per session
	MiB                // memory in MiB
)

// Format writes a value with its unit.
func (u Unit) Format(v float64) string {
	digits := 1
	if v >= 100 {
		digits = 0
	} else if v < 10 {
		digits = 2
	}
	return fmt.Sprintf("%.*f %s", digits, v, [...]string{"µs", "ms", "KiB", "MiB"}[u])
}

// Result is what one measurement of a row gave.
type Result struct {
	Value float64 // in the row's unit
	// P50 and P99 are latencies, 0 where the row has none.
	P50, P99 time.Duration
	// Done is how many units of work the value was taken over.
	Done int64
	// PerSecond is the rate at which they were done; it belongs to the machine of the day.
	PerSecond float64
}

// Row is one line of the table.
type Row struct {
	Key, Title string
	Unit       Unit
	// Must and Aim are the thresholds for Sabir, in the row's unit.
	Must, Aim float64
	// MustShare is a threshold too: the most that Sabir may take of what the best of the other servers takes in the same run;
	// 0 for none. Must and Aim are 0 then.
	MustShare float64
	// MustP99 is a threshold for latency, 0 for none.
	MustP99 time.Duration
	// Floor is set where the floor can do this work too.
	Floor bool
	// Archive wants a server that stores every message.
	Archive bool
	// Postgres wants it to do so in a PostgreSQL of its own, whose work counts.
	Postgres bool
	// Two wants two servers that talk to one another.
	Two bool
	// Alone wants a server that has done nothing before.
	Alone bool
	// Accounts is how many the row uses, from 0.
	Accounts func(Options) int
	// Subscribers is how many of them it has subscribe to one node; nil for none.
	Subscribers func(Options) int
	Run         func(context.Context, *Running, Options) (Result, error)
}

// Rows are all rows, in the order of the table.
func Rows() []Row {
	pairs := func(o Options) int { return 2 * o.Pairs }
	rooms := func(o Options) int { return o.Rooms * o.Occupants }
	return []Row{
		{Key: "chat", Title: "chat, saturated, no archive: CPU per delivered message", Unit: Micros, Must: 15, Aim: 10, Floor: true,
			Accounts: pairs, Run: chat},
		{Key: "archive", Title: "the same, every message in both archives, embedded store", Unit: Micros, Must: 60, Aim: 30, Archive: true,
			Accounts: pairs, Run: chat},
		{Key: "archive-pg", Title: "the same, archives in PostgreSQL, database included", Unit: Micros, Must: 150, Aim: 80, Archive: true, Postgres: true,
			Accounts: pairs, Run: chat},
		{Key: "rate", Title: "chat at a fixed rate: CPU per message; p50, p99", Unit: Micros, Must: 90, Aim: 65, MustP99: time.Millisecond, Floor: true,
			Accounts: pairs, Run: fixedRate},
		{Key: "room", Title: "group chat: CPU per delivered copy", Unit: Micros, Must: 9, Aim: 7.5,
			Accounts: rooms, Run: talk},
		{Key: "join", Title: "joining such a room: CPU per join", Unit: Millis, Must: 1, Aim: 0.5,
			Accounts: rooms, Run: join},
		{Key: "s2s", Title: "chat between two servers, no archive: CPU of both per delivered message", Unit: Micros, MustShare: 1.0 / 3, Two: true,
			Accounts: pairs, Run: chat},
		{Key: "login", Title: "login to presence: CPU (floor: TLS handshake alone)", Unit: Millis, Must: 0.7, Aim: 0.5, Floor: true,
			Accounts: func(o Options) int { return o.Logins }, Run: logins},
		{Key: "presence", Title: "presence to 20 online contacts: CPU per delivered", Unit: Micros, Must: 12, Aim: 9,
			Accounts: func(o Options) int { return o.Groups * groupSize }, Run: presence},
		{Key: "pubsub", Title: "one node, 10,000 subscribers online: CPU per notification", Unit: Micros, Must: 12, Aim: 9, Alone: true,
			Accounts: func(o Options) int { return o.Subscribers + 1 }, Subscribers: func(o Options) int { return o.Subscribers }, Run: subscribers},
		{Key: "pep", Title: "an account's node, 500 contacts online: CPU per notification", Unit: Micros, Must: 12, Aim: 9, Alone: true,
			Accounts: func(o Options) int { return o.Contacts + 2 }, Run: contacts},
		{Key: "idle1000", Title: "idle TLS session, 1,000 open: memory per session", Unit: KiB, Must: 20, Aim: 10, Floor: true, Alone: true,
			Accounts: func(Options) int { return 1000 }, Run: idle(1000)},
		{Key: "idle5000", Title: "idle TLS session, 5,000 open: memory per session", Unit: KiB, Must: 20, Aim: 10, Floor: true, Alone: true,
			Accounts: func(Options) int { return 5000 }, Run: idle(5000)},
		{Key: "empty", Title: "empty server, resident", Unit: MiB, Must: 40, Aim: 25, Alone: true,
			Accounts: func(Options) int { return 1 }, Run: empty},
	}
}

// each runs f for 0 ... n-1, at most workers at a time, and returns the first
// error; the others are then not begun.
func each(ctx context.Context, n, workers int, f func(context.Context, int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, workers) {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := f(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// loginAll opens sessions for accounts 0 ... n-1, with presence; peer(i) is whom
// the floor ties i to. Close them with closeAll.
func loginAll(ctx context.Context, s *Running, n int, o Options, peer func(int) int) ([]*Conn, error) {
	conns := make([]*Conn, n)
	err := each(ctx, n, o.LoginWorkers, func(ctx context.Context, i int) (err error) {
		conns[i], err = Login(ctx, s.at(i), i, peer(i), true)
		return err
	})
	if err != nil {
		closeAll(conns)
		return nil, err
	}
	return conns, nil
}

// closeAll closes what was opened. The server may have gone first; what is
// measured is over, so that is no error.
func closeAll(conns []*Conn) {
	var wg sync.WaitGroup
	work := make(chan *Conn)
	for range 16 {
		wg.Go(func() {
			for c := range work {
				if err := c.Close(); err != nil {
					continue
				}
			}
		})
	}
	for _, c := range conns {
		if c != nil {
			work <- c
		}
	}
	close(work)
	wg.Wait()
}

// quiet waits until the server does next to nothing, for ten seconds at most.
func quiet(ctx context.Context, s *Running) error {
	const step = 250 * time.Millisecond
	calm := 0
	last, err := usage(s.PIDs)
	if err != nil {
		return err
	}
	for range 40 {
		if err := sleep(ctx, step); err != nil {
			return err
		}
		u, err := usage(s.PIDs)
		if err != nil {
			return err
		}
		// Under two hundredths of a core, twice in a row.
		if u.CPU-last.CPU <= step/50 {
			if calm++; calm == 2 {
				return nil
			}
		} else {
			calm = 0
		}
		last = u
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// measured is one span of work and what it cost.
type measured struct {
	begin time.Time
	usage Usage
	done  int64
}

// begin starts a span; done counts the units of work so far.
func begin(s *Running, done int64) (measured, error) {
	u, err := usage(s.PIDs)
	return measured{time.Now(), u, done}, err
}

// end gives the processor time per unit of work, in unit.
func (m measured) end(s *Running, done int64, unit time.Duration) (Result, error) {
	u, err := usage(s.PIDs)
	if err != nil {
		return Result{}, err
	}
	n := done - m.done
	if n <= 0 {
		return Result{}, fmt.Errorf("%s did nothing", s.Name)
	}
	return Result{
		Value:     float64(u.CPU-m.usage.CPU) / float64(n) / float64(unit),
		Done:      n,
		PerSecond: float64(n) / time.Since(m.begin).Seconds(),
	}, nil
}
