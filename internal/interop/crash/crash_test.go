// Package crash owns the tests that kill the server under many clients, again and again, and look whether what was
// acknowledged is there afterwards: rosters and subscriptions (RFC 6121 §2, §3), passwords (XEP-0077), messages to those who
// are offline (XEP-0160); messages of all kinds by package ledger; messages between two servers; and the tables, whose making is cut short. A ledger outside
// of the server knows what was promised: the result of an iq for what the iq asks, and for messages and presence the answer to
// a ping that the same stream sent after them (RFC 6120 §10.1).
//
// They run where SABIR_CRASH is 1: scripts/crash.sh sets it.
package crash

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"sabir/internal/interop"
	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

var (
	rounds  = flag.Int("rounds", 5, "how many times the server is killed")
	clients = flag.Int("clients", 200, "how many clients chat")
)

const (
	sleepers = 40 // accounts that are offline while the server runs under load
	contacts = 12 // contacts elsewhere in each roster
	domain   = "crash.test"
)

// TestState kills the server under clients that change what it keeps of them.
func TestState(t *testing.T) { eachDatabase(t, run) }

// eachDatabase runs f on SQLite, for which the URL is "", and on a new database of PostgreSQL.
func eachDatabase(t *testing.T, f func(t *testing.T, database string)) {
	if os.Getenv("SABIR_CRASH") != "1" {
		t.Skip("scripts/crash.sh runs it, with SABIR_CRASH=1")
	}
	t.Run("SQLite", func(t *testing.T) { f(t, "") })
	t.Run("PostgreSQL", func(t *testing.T) { f(t, newDatabase(t)) })
}

func newDatabase(t *testing.T) string {
	t.Helper()
	url := os.Getenv("SABIR_TEST_POSTGRES")
	if url == "" {
		t.Skip("SABIR_TEST_POSTGRES names no server; scripts/crash.sh starts one")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("crash_%d", time.Now().UnixNano())
	if _, err := c.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if _, err := c.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return strings.Replace(url, "/"+cfg.Database, "/"+name, 1)
}

// world is the server, run after run, and the accounts.
type world struct {
	t    *testing.T
	o    interop.Options
	l    *interop.Local
	all  []*account // the clients, then the sleepers
	keys *sasl.KeyCache

	acked, ops atomic.Int64 // of this round: changes that were acknowledged, and all that was tried
}

func run(t *testing.T, database string) {
	w := &world{t: t, keys: sasl.NewKeyCache(10_000), o: interop.Options{Dir: t.TempDir(), Within: time.Minute}}
	first := w.o
	first.Args = []string{"--domain", domain, "--accounts", strconv.Itoa(*clients + sleepers), "--password", "first", "--scram-iterations", "4096"}
	if database != "" {
		first.Args = append(first.Args, "--database", database)
	}
	start := time.Now()
	if w.l = w.start(first); len(w.l.Accounts) != *clients+sleepers {
		t.Fatalf("the server has made %d accounts", len(w.l.Accounts))
	}
	w.o.PortOffset = w.l.PortOffset
	t.Logf("%d accounts, ready after %v", len(w.l.Accounts), time.Since(start).Round(time.Millisecond))
	for _, a := range w.l.Accounts {
		w.all = append(w.all, newAccount(jid.MustParse(a.JID), a.Password))
	}
	for n := range *rounds {
		w.round(n)
		if t.Failed() {
			t.Logf("the server's log:\n%s", w.l.Log())
			break
		}
	}
	if err := w.l.Stop(); err != nil {
		t.Error(err)
	}
}

func (w *world) start(o interop.Options) *interop.Local {
	w.t.Helper()
	l, err := interop.Start(context.Background(), o)
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

// below returns a random number from 0 to n-1.
func below(n int) int {
	v, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return int(v.Int64())
}

// round lets all chat, kills the server, starts it again and checks.
func (w *world) round(n int) {
	w.acked.Store(0)
	w.ops.Store(0)
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	sessions := make([]*session, *clients)
	w.each(sessions, func(i int) error {
		s, err := w.session(ctx, w.all[i])
		sessions[i] = s
		return err
	})
	up := time.Since(start)
	if w.t.Failed() {
		return
	}
	var wg sync.WaitGroup
	for _, s := range sessions {
		wg.Go(func() { s.chat(ctx) })
	}
	alive := time.Duration(300+below(2500)) * time.Millisecond
	time.Sleep(alive)
	if err := w.l.Kill(); err != nil {
		w.t.Fatal(err)
	}
	wg.Wait()
	killed := time.Now()
	w.l = w.start(w.o)
	back := time.Since(killed)
	w.check(ctx)
	w.t.Logf("round %d: %d clients up after %v, killed %v later under %d operations (%d changes acknowledged), ready again after %v, checked within %v",
		n, len(sessions), up.Round(time.Millisecond), alive, w.ops.Load(), w.acked.Load(), back.Round(time.Millisecond), (time.Since(killed) - back).Round(time.Millisecond))
	if w.acked.Load() < int64(*clients)/4 {
		w.t.Errorf("round %d: only %d changes were acknowledged: that tests little", n, w.acked.Load())
	}
}

// each calls f for the indexes of a slice, 32 at a time, and fails the test with their errors.
func (w *world) each(sessions []*session, f func(i int) error) {
	var wg sync.WaitGroup
	gate := make(chan struct{}, 32)
	var mu sync.Mutex
	var errs []error
	for i := range sessions {
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			if err := f(i); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(errs) > 0 {
		w.t.Errorf("%d of %d failed: %v", len(errs), len(sessions), errors.Join(errs[:min(len(errs), 5)]...))
	}
}

// session is a client of an account.
type session struct {
	w        *world
	a        *account
	c        *client.Client
	requests chan string // who asks for this account's presence

	mu       sync.Mutex
	messages []string // bodies that came
}

// session logs an account in and makes it available.
func (w *world) session(ctx context.Context, a *account) (*session, error) {
	s := &session{w: w, a: a, requests: make(chan string, 16)}
	cfg, err := w.l.ClientConfig(interop.Account{JID: a.address.String(), Password: a.password})
	if err != nil {
		return nil, err
	}
	cfg.Keys = w.keys
	cfg.Handle = s.handle
	s.c, err = client.Dial(ctx, cfg)
	var refused *client.AuthError
	if errors.As(err, &refused) && a.nextPassword != "" {
		cfg.Password = a.nextPassword
		if s.c, err = client.Dial(ctx, cfg); err == nil {
			a.password = a.nextPassword
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s cannot log in: %w", a.address, err)
	}
	a.nextPassword = ""
	return s, s.c.Send(stanza.New(stanza.Presence, ""))
}

func (s *session) handle(_ *client.Client, st *stanza.Stanza) bool {
	switch {
	case st.Kind == stanza.Message && st.Type == "chat":
		s.mu.Lock()
		s.messages = append(s.messages, st.Body())
		s.mu.Unlock()
	case st.Kind == stanza.Presence && st.Type == "subscribe":
		select {
		case s.requests <- st.From.Bare().String():
		default:
		}
	}
	return st.Kind != stanza.IQ
}

// chat does one thing after the other until the connection breaks.
func (s *session) chat(ctx context.Context) {
	for {
		s.w.ops.Add(1)
		var err error
		switch n := below(100); {
		case n < 35:
			err = s.changeRoster(ctx)
		case n < 65:
			err = s.write(ctx)
		case n < 80:
			err = s.c.Send(chatMessage(s.w.all[below(*clients)].address, "hello"))
		case n < 90:
			err = s.ask(ctx)
		case n < 98:
			err = s.grant(ctx)
		default:
			err = s.changePassword(ctx)
		}
		if err != nil {
			break
		}
	}
	if err := s.c.Abort(); err != nil {
		s.w.t.Errorf("%s: %v", s.a.address, err)
	}
}

// refused keeps an answer of the server that is an error apart from the end of the connection: nothing here may be refused.
func (s *session) refused(err error) error {
	var e *stanza.Error
	if errors.As(err, &e) {
		s.w.t.Errorf("%s was refused: %v", s.a.address, err)
	}
	return err
}

func (s *session) changeRoster(ctx context.Context) error {
	a := s.a
	contact := fmt.Sprintf("contact%d@elsewhere.test", below(contacts))
	to := version(a.number())
	if _, has := a.roster[contact]; has && below(4) == 0 {
		to = item{}
	}
	a.nextContact, a.next = contact, to
	if _, err := s.c.Request(ctx, stanza.TypeSet, jid.JID{}, to.change(contact)); err != nil {
		return s.refused(err)
	}
	s.w.acked.Add(1)
	a.nextContact, a.next = "", item{}
	if to == (item{}) {
		delete(a.roster, contact)
	} else {
		a.roster[contact] = to
	}
	return nil
}

// write sends some messages to those who are offline, and then a ping, the answer to which acknowledges them.
func (s *session) write(ctx context.Context) error {
	var bodies []string
	for range 1 + below(3) {
		body := fmt.Sprintf("%s %d", s.a.address.Local(), s.a.number())
		to := s.w.all[*clients+below(sleepers)].address
		body = to.Local() + " " + body
		s.a.sent[body] = false
		bodies = append(bodies, body)
		if err := s.c.Send(chatMessage(to, body)); err != nil {
			return err
		}
	}
	if err := s.c.Ping(ctx, jid.JID{}); err != nil {
		return err
	}
	s.w.acked.Add(int64(len(bodies)))
	for _, b := range bodies {
		s.a.sent[b] = true
	}
	return nil
}

// ask asks another for its presence, once.
func (s *session) ask(ctx context.Context) error {
	to := s.w.all[below(*clients)].address
	if to == s.a.address || s.a.asked[to.String()] {
		return nil
	}
	s.a.asking = to.String()
	return s.presence(ctx, "subscribe", to, s.a.asked, &s.a.asking)
}

// grant lets one who has asked see this account's presence.
func (s *session) grant(ctx context.Context) error {
	select {
	case who := <-s.requests:
		s.a.granting = who
		return s.presence(ctx, "subscribed", jid.MustParse(who), s.a.granted, &s.a.granting)
	default:
		return nil
	}
}

func (s *session) presence(ctx context.Context, typ string, to jid.JID, done map[string]bool, doing *string) error {
	p := stanza.New(stanza.Presence, typ)
	p.To = to
	if err := s.c.Send(p); err != nil {
		return err
	}
	if err := s.c.Ping(ctx, jid.JID{}); err != nil {
		return err
	}
	s.w.acked.Add(1)
	done[to.String()], *doing = true, ""
	return nil
}

const nsRegister = "jabber:iq:register"

// changePassword is XEP-0077#usecases-changepw.
func (s *session) changePassword(ctx context.Context) error {
	a := s.a
	a.nextPassword = fmt.Sprintf("password %d", a.number())
	query := xmlstream.El(nsRegister, "query", xmlstream.El(nsRegister, "username", a.address.Local()), xmlstream.El(nsRegister, "password", a.nextPassword))
	if _, err := s.c.Request(ctx, stanza.TypeSet, a.address.DomainJID(), query); err != nil {
		return s.refused(err)
	}
	s.w.acked.Add(1)
	a.password, a.nextPassword = a.nextPassword, ""
	return nil
}
