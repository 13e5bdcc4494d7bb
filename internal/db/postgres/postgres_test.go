package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"sabir/internal/db"
	"sabir/internal/db/base"
	"sabir/internal/db/dbtest"
	"sabir/mod"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var schema = fstest.MapFS{"0001_x.sql": {Data: []byte("CREATE TABLE x (name TEXT PRIMARY KEY);\n")}}

// proxy stands between the database and the tests, and breaks the way as networks do.
type proxy struct {
	t      *testing.T
	target string
	l      net.Listener
	wg     sync.WaitGroup
	silent atomic.Bool // takes bytes and passes nothing on: a peer that vanished
	// onQuery is called with what clients send; if it returns true the connection is cut before that is passed on, or,
	// with after set, when the server has answered it.
	onQuery atomic.Pointer[func(b []byte) bool]
	after   atomic.Bool

	mu    sync.Mutex
	down  bool
	conns map[net.Conn]bool
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, target: target, l: l, conns: map[net.Conn]bool{}}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.cut(true)
		p.wg.Wait()
	})
	return p
}

func (p *proxy) accept() {
	for {
		c, err := p.l.Accept()
		if err != nil {
			return
		}
		s, err := net.Dial("tcp", p.target)
		if err != nil || !p.add(c, s) {
			c.Close()
			if s != nil {
				s.Close()
			}
			continue
		}
		var cutAfter atomic.Bool
		p.wg.Go(func() { p.copy(s, c, &cutAfter, true) })
		p.wg.Go(func() { p.copy(c, s, &cutAfter, false) })
	}
}

func (p *proxy) add(cs ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range cs {
		if !p.down {
			p.conns[c] = true
		}
	}
	return !p.down
}

func (p *proxy) copy(dst, src net.Conn, cutAfter *atomic.Bool, fromClient bool) {
	defer dst.Close()
	defer src.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		if err != nil {
			return
		}
		if fromClient {
			if f := p.onQuery.Load(); f != nil && (*f)(buf[:n]) {
				if !p.after.Load() {
					return
				}
				cutAfter.Store(true)
			}
		} else if cutAfter.Load() {
			return
		}
		if p.silent.Load() {
			continue
		}
		if _, err := dst.Write(buf[:n]); err != nil {
			return
		}
	}
}

// cut ends all connections; with down no new ones are let through until up.
func (p *proxy) cut(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
	for c := range p.conns {
		c.Close()
	}
	clear(p.conns)
}

func (p *proxy) up() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}

// through opens a database behind a proxy, and one beside it to look at what became of it.
func through(t *testing.T, o db.Options) (d, beside db.DB, p *proxy) {
	t.Helper()
	direct := dbtest.PostgresURL(t)
	u, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	if u.Port() == "" || u.Hostname() == "" {
		t.Skipf("%s has no host and port for a proxy", dbtest.EnvPostgres)
	}
	p = newProxy(t, u.Host)
	u.Host = p.l.Addr().String()
	beside = dbtest.Open(t, direct, db.Options{})
	dbtest.Migrate(t, beside, "x", schema)
	return dbtest.Open(t, u.String(), o), beside, p
}

func insert(ctx context.Context, d mod.DB, name string) error {
	return d.Write(ctx, func(tx mod.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO x (name) VALUES (?)", name)
		return err
	})
}

func has(t *testing.T, d mod.DB, name string) bool {
	t.Helper()
	var n int
	if err := d.QueryRow(t.Context(), "SELECT count(*) FROM x WHERE name = ?", name).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n == 1
}

// on makes the proxy cut the first connection on which a client sends the text.
func (p *proxy) on(text string, after bool) *atomic.Int32 {
	var times atomic.Int32
	f := func(b []byte) bool { return contains(b, text) && times.Add(1) == 1 }
	p.after.Store(after)
	p.onQuery.Store(&f)
	return &times
}

func contains(b []byte, s string) bool {
	for i := 0; i+len(s) <= len(b); i++ {
		if string(b[i:i+len(s)]) == s {
			return true
		}
	}
	return false
}

// A connection that is lost before COMMIT costs nobody anything: the batch is run again on another.
func TestConnectionLostBeforeCommit(t *testing.T) {
	d, beside, p := through(t, db.Options{Writers: 1})
	if err := insert(t.Context(), d, "warm"); err != nil {
		t.Fatal(err)
	}
	p.cut(false) // an idle connection
	if err := insert(t.Context(), d, "after idle"); err != nil {
		t.Errorf("after an idle connection was lost: %v", err)
	}
	times := p.on("in the midst", false)
	if err := insert(t.Context(), d, "in the midst"); err != nil || times.Load() == 0 {
		t.Errorf("after a connection was lost in a transaction (%d): %v", times.Load(), err)
	}
	times = p.on("commit\x00", false)
	err := insert(t.Context(), d, "at the end")
	if !errors.Is(err, mod.ErrUnavailable) || times.Load() == 0 {
		t.Errorf("when the COMMIT may or may not have arrived (%d): %v, want ErrUnavailable", times.Load(), err)
	}
	for name, want := range map[string]bool{"after idle": true, "in the midst": true, "at the end": false} {
		if got := has(t, beside, name); got != want {
			t.Errorf("%q is there: %v, want %v", name, got, want)
		}
	}
	if err := insert(t.Context(), d, "later"); err != nil {
		t.Errorf("later: %v", err)
	}
}

// Where the answer to COMMIT is lost the Write says that it does not know, and is not run again.
func TestAnswerToCommitLost(t *testing.T) {
	d, beside, p := through(t, db.Options{Writers: 1})
	if err := insert(t.Context(), d, "warm"); err != nil {
		t.Fatal(err)
	}
	times := p.on("commit\x00", true)
	if err := insert(t.Context(), d, "unknown"); !errors.Is(err, mod.ErrUnavailable) || times.Load() == 0 {
		t.Errorf("(%d) %v, want ErrUnavailable", times.Load(), err)
	}
	if times.Load() != 1 {
		t.Errorf("COMMIT was sent %d times", times.Load())
	}
	if !has(t, beside, "unknown") {
		t.Error("the test cut the connection before the COMMIT arrived")
	}
}

// An outage: Writes wait for a while, then fail at once, and work again soon after the server does.
func TestOutage(t *testing.T) {
	const wait = 1500 * time.Millisecond
	d, beside, p := through(t, db.Options{Wait: wait})
	if err := insert(t.Context(), d, "warm"); err != nil {
		t.Fatal(err)
	}

	// A short one goes unnoticed.
	p.cut(true)
	back := time.AfterFunc(wait/10, p.up)
	defer back.Stop()
	if err := insert(t.Context(), d, "short"); err != nil {
		t.Errorf("through a short outage: %v", err)
	}

	p.cut(true)
	begin := time.Now()
	if err := insert(t.Context(), d, "lost"); !errors.Is(err, mod.ErrUnavailable) {
		t.Errorf("in an outage: %v, want ErrUnavailable", err)
	}
	if took := time.Since(begin); took > 10*wait {
		t.Errorf("it took %v to say so", took)
	}
	begin = time.Now()
	if err := d.QueryRow(t.Context(), "SELECT 1").Scan(new(int)); !errors.Is(err, mod.ErrUnavailable) {
		t.Errorf("a read in an outage: %v, want ErrUnavailable", err)
	}
	if took := time.Since(begin); took > 10*wait {
		t.Errorf("the read took %v to say so", took)
	}
	if err := d.Err(); !errors.Is(err, mod.ErrUnavailable) {
		t.Errorf("Err in an outage: %v", err)
	}
	for time.Since(begin) < wait {
		time.Sleep(10 * time.Millisecond)
	}
	begin = time.Now()
	if err := insert(t.Context(), d, "lost too"); !errors.Is(err, mod.ErrUnavailable) {
		t.Errorf("later in the outage: %v, want ErrUnavailable", err)
	}
	if took := time.Since(begin); took > wait/2 {
		t.Errorf("a Write waited for %v although the outage was known", took)
	}

	p.up()
	begin = time.Now()
	for insert(t.Context(), d, "again") != nil {
		if time.Since(begin) > 10*time.Second {
			t.Fatalf("still down after %v: %v", time.Since(begin), d.Err())
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := d.Err(); err != nil {
		t.Errorf("Err after the outage: %v", err)
	}
	for name, want := range map[string]bool{"short": true, "lost": false, "lost too": false, "again": true} {
		if got := has(t, beside, name); got != want {
			t.Errorf("%q is there: %v, want %v", name, got, want)
		}
	}
}

// Close does not wait for a server that is gone, and answers those who do.
func TestCloseInOutage(t *testing.T) {
	d, _, p := through(t, db.Options{Wait: 10 * time.Second})
	if err := insert(t.Context(), d, "warm"); err != nil {
		t.Fatal(err)
	}
	p.cut(true)
	waiting := make(chan error, 1)
	go func() { waiting <- insert(context.Background(), d, "waiting") }()
	for d.Err() == nil {
		time.Sleep(5 * time.Millisecond)
	}
	begin := time.Now()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("Close took %v", took)
	}
	if err := <-waiting; !errors.Is(err, db.ErrClosed) {
		t.Errorf("the Write that waited: %v, want ErrClosed", err)
	}
}

// A peer that vanished without a word is given up after the time for a statement.
func TestSilence(t *testing.T) {
	d, _, p := through(t, db.Options{Writers: 1, Wait: time.Second, StatementTimeout: time.Second})
	if err := insert(t.Context(), d, "warm"); err != nil {
		t.Fatal(err)
	}
	p.silent.Store(true)
	begin := time.Now()
	if err := insert(t.Context(), d, "into the void"); !errors.Is(err, mod.ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	if took := time.Since(begin); took > 15*time.Second {
		t.Errorf("it took %v to say so", took)
	}
	p.silent.Store(false)
	for insert(t.Context(), d, "again") != nil {
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("still down: %v", d.Err())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// A back end that an operator ends, and a statement that takes too long.
func TestServerEndsStatement(t *testing.T) {
	u := dbtest.PostgresURL(t)
	d := dbtest.Open(t, u, db.Options{Writers: 1, StatementTimeout: 1500 * time.Millisecond})
	dbtest.Migrate(t, d, "x", schema)
	ctx := t.Context()
	var once sync.Once
	runs := 0
	err := d.Write(ctx, func(tx mod.Tx) error {
		runs++
		if _, err := tx.Exec(ctx, "INSERT INTO x (name) VALUES (?)", "survivor"); err != nil {
			return err
		}
		var pid int
		if err := tx.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&pid); err != nil {
			return err
		}
		once.Do(func() { terminate(t, u, pid) })
		_, err := tx.Exec(ctx, "INSERT INTO x (name) VALUES (?)", "survivor's friend")
		return err
	})
	if err != nil || runs != 2 {
		t.Errorf("after the back end was ended: %v after %d runs", err, runs)
	}
	if !has(t, d, "survivor") || !has(t, d, "survivor's friend") {
		t.Error("it says that it was written, but it was not")
	}
	err = d.Write(ctx, func(tx mod.Tx) error {
		_, err := tx.Exec(ctx, "SELECT pg_sleep(?)", 5.0)
		return err
	})
	if !errors.Is(err, mod.ErrUnavailable) {
		t.Errorf("a statement of 5 s: %v, want ErrUnavailable", err)
	}
	if err := d.QueryRow(ctx, "SELECT pg_sleep(?)::text", 5.0).Scan(new(string)); !errors.Is(err, mod.ErrUnavailable) {
		t.Errorf("a read of 5 s: %v, want ErrUnavailable", err)
	}
	if err := insert(ctx, d, "later"); err != nil {
		t.Errorf("later: %v", err)
	}
}

func terminate(t *testing.T, u string, pid int) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), u)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close(t.Context())
	if _, err := c.Exec(t.Context(), "SELECT pg_terminate_backend($1, 5000)", pid); err != nil {
		t.Error(err)
	}
}

// Batches of several connections that keep meeting each other get through, and lose nothing.
func TestConflicts(t *testing.T) {
	a := dbtest.Postgres(t)
	dbtest.Migrate(t, a, "x", schema)
	ctx := t.Context()
	var wg sync.WaitGroup
	var total atomic.Int32
	for c := range 8 {
		wg.Go(func() {
			for i := range 20 {
				err := a.Write(ctx, func(tx mod.Tx) error {
					var n int // reads what all others write
					if err := tx.QueryRow(ctx, "SELECT count(*) FROM x").Scan(&n); err != nil {
						return err
					}
					_, err := tx.Exec(ctx, "INSERT INTO x (name) VALUES (?)", fmt.Sprintf("%03d of %d-%d", n, c, i))
					return err
				})
				if err != nil {
					t.Error(err)
					return
				}
				total.Add(1)
			}
		})
	}
	wg.Wait()
	// As if one by one: each saw another number of rows.
	var rows, distinct int32
	if err := a.QueryRow(ctx, "SELECT count(*), count(DISTINCT substr(name, 1, 3)) FROM x").Scan(&rows, &distinct); err != nil {
		t.Fatal(err)
	}
	if rows != total.Load() || distinct != rows {
		t.Errorf("%d rows with %d numbers of %d Writes", rows, distinct, total.Load())
	}
}

// The pool's sessions are set as the promises need it.
func TestSettings(t *testing.T) {
	d := dbtest.Postgres(t)
	ctx := t.Context()
	got := func(q func(ctx context.Context, query string, args ...any) mod.Row, name string) string {
		t.Helper()
		var s string
		if err := q(ctx, "SELECT current_setting(?)", name).Scan(&s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := got(d.QueryRow, "default_transaction_read_only"); s != "on" {
		t.Errorf("readers may write: %s", s)
	}
	err := d.Write(ctx, func(tx mod.Tx) error {
		for name, want := range map[string]string{"synchronous_commit": "on", "transaction_isolation": "serializable", "statement_timeout": "10s"} {
			if s := got(tx.QueryRow, name); s != want {
				t.Errorf("writer: %s is %s, want %s", name, s, want)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Check(ctx); err != nil {
		t.Errorf("Check: %v", err)
	}
	if err := d.Reclaim(ctx); err != nil {
		t.Errorf("Reclaim: %v", err)
	}
}

// TestOvertaken: a Write that has taken a number, and is overtaken by one that took a later number and is committed before the first has
// begun its transaction, is run again and gets a later one, however often that happens. What cannot be written by itself still fails.
func TestOvertaken(t *testing.T) {
	d := dbtest.Open(t, dbtest.PostgresURL(t), db.Options{Writers: 2})
	dbtest.Migrate(t, d, "n", fstest.MapFS{"0001_n.sql": {Data: []byte("CREATE TABLE n (name TEXT PRIMARY KEY, last BIGINT NOT NULL);\n")}})
	var last atomic.Int64
	write := func(tx mod.Tx, all []any) error {
		for _, v := range all {
			if _, err := tx.Exec(t.Context(), `INSERT INTO n (name, last) VALUES ('x', ?)
				ON CONFLICT (name) DO UPDATE SET last = CASE WHEN n.last < excluded.last THEN excluded.last END`, v); err != nil {
				return err
			}
		}
		return nil
	}
	type key struct{}
	later := func(tx mod.Tx) error { tx.Gather(key{}, last.Add(1), write); return nil }
	runs := 0
	err := d.Write(t.Context(), func(tx mod.Tx) error {
		if err := later(tx); err != nil {
			return err
		}
		if runs++; runs <= 2 {
			overtakes := make(chan error)
			go func() { overtakes <- d.Write(t.Context(), later) }()
			return <-overtakes
		}
		return nil
	})
	if err != nil || runs != 3 {
		t.Errorf("it ran %d times: %v", runs, err)
	}
	if err := d.Write(t.Context(), func(tx mod.Tx) error { tx.Gather(key{}, int64(0), write); return nil }); !errors.Is(err, base.ErrConstraint) {
		t.Errorf("an early number: %v", err)
	}
	var n int64
	if err := d.QueryRow(t.Context(), `SELECT last FROM n`).Scan(&n); err != nil || n != last.Load() {
		t.Errorf("the last is %d, not %d: %v", n, last.Load(), err)
	}
}
