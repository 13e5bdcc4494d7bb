package auth

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"sabir/internal/config"
	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
)

const (
	phoneID  = "d4565fa7-4d72-4749-b3d3-740edbf87770"
	laptopID = "d4565fa7-4d72-4749-b3d3-740edbf87771"
)

// device is a client with an id, of juliet.
type device struct {
	t    *testing.T
	h    *Host
	id   string
	user string
}

func (d device) request() Request {
	return Request{Agent: Agent{ID: d.id, Software: "Test", Device: d.id[len(d.id)-2:]}}
}

// password logs in by the password and asks for a token, where mechanism is not "".
func (d device) password(mechanism string) *Token {
	d.t.Helper()
	p := d.principal()
	token, err := d.h.Settle(d.t.Context(), p, d.request(), mechanism)
	must(d.t, err)
	if (token != nil) != (mechanism != "") {
		d.t.Fatalf("asked for a token of %q, got %v", mechanism, token)
	}
	return token
}

func (d device) principal() *Principal {
	d.t.Helper()
	c := &sasl.ClientConfig{Username: d.user, Password: "balcony", Encrypted: true}
	client, err := sasl.NewClient([]string{sasl.ScramSHA256}, c)
	must(d.t, err)
	x, err := d.h.Start2(sasl.ScramSHA256, plainConn("192.0.2.1"), d.request())
	must(d.t, err)
	msg, _, err := client.Start()
	must(d.t, err)
	msg, _, err = x.Next(d.t.Context(), msg)
	must(d.t, err)
	msg, err = client.Next(msg)
	must(d.t, err)
	_, p, err := x.Next(d.t.Context(), msg)
	must(d.t, err)
	return p
}

// prove shows a token, and returns who that makes the client.
func (d device) prove(token *Token, mechanism string, f FAST) (*Principal, Request, error) {
	d.t.Helper()
	r := d.request()
	r.FAST = &f
	x, err := d.h.Start2(mechanism, plainConn("192.0.2.1"), r)
	if err != nil {
		return nil, r, err
	}
	client, err := sasl.NewTokenClient(sasl.HTNone, token.Value.Reveal(), &sasl.ClientConfig{Username: d.user, Encrypted: true})
	must(d.t, err)
	msg, _, err := client.Start()
	must(d.t, err)
	data, p, err := x.Next(d.t.Context(), msg)
	if err == nil {
		must(d.t, client.Success(data))
	}
	return p, r, err
}

// token logs in by a token, and returns the next one where there is one.
func (d device) token(token *Token, f FAST) (*Token, error) {
	d.t.Helper()
	p, r, err := d.prove(token, sasl.HTNone, f)
	if err != nil {
		return nil, err
	}
	return d.h.Settle(d.t.Context(), p, r, "")
}

// in tells whether a token is good.
func (d device) in(token *Token) bool {
	d.t.Helper()
	_, err := d.token(token, FAST{})
	if err != nil && failureOfError(err) != sasl.NotAuthorized {
		d.t.Errorf("refused with %v", err)
	}
	return err == nil
}

func failureOfError(err error) sasl.Condition { return asFailure(err).Condition }

// world is a host with an account juliet, on each engine.
func world(t *testing.T, f func(t *testing.T, a *Auth, h *Host, clock *fakeClock), change ...func(*config.Auth)) {
	t.Helper()
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		clock := newClock()
		a, h := open(t, d, clock, change...)
		must(t, h.Create(t.Context(), "juliet", "balcony"))
		must(t, h.Create(t.Context(), "romeo", "balcony"))
		f(t, a, h, clock)
	})
}

// TestTokenRotation follows a token through its life (XEP-0484#token-rotation, #impl-tokens).
func TestTokenRotation(t *testing.T) {
	world(t, func(t *testing.T, _ *Auth, h *Host, clock *fakeClock) {
		phone := device{t, h, phoneID, "juliet"}
		first := phone.password(sasl.HTNone)
		if next, err := phone.token(first, FAST{}); err != nil || next != nil {
			t.Fatalf("a new token: %v, %v", next, err)
		}
		clock.add(25 * time.Hour)
		second, err := phone.token(first, FAST{})
		if err != nil || second == nil {
			t.Fatalf("a token of yesterday: %v, %v", second, err)
		}
		if !phone.in(first) { // it may not have arrived
			t.Error("the old token ended before the new one was used")
		}
		third, err := phone.token(first, FAST{}) // the one before was not used: it gives way
		if err != nil || third == nil {
			t.Fatalf("once more: %v, %v", third, err)
		}
		if phone.in(second) {
			t.Error("a token that was replaced before its first use is good")
		}
		if !phone.in(third) || phone.in(first) {
			t.Error("with its first use, the new token did not take the place of the old one")
		}
		clock.add(time.Duration(h.a.settings.Load().Tokens.Lifetime))
		if _, err := phone.token(third, FAST{}); failureOfError(err) != sasl.CredentialsExpired {
			t.Errorf("an expired token: %v", err)
		}
	})
}

// TestTokenBound: a token is for one client, one account, one host, one mechanism (XEP-0484#fast-auth).
func TestTokenBound(t *testing.T) {
	world(t, func(t *testing.T, a *Auth, h *Host, _ *fakeClock) {
		phone := device{t, h, phoneID, "juliet"}
		token := phone.password(sasl.HTNone)
		bound := phone.password(sasl.HTExporter)
		other := a.Host(jid.MustParse("example.net"), false)
		must(t, other.Create(t.Context(), "juliet", "balcony"))
		for name, d := range map[string]device{"client": {t, h, laptopID, "juliet"}, "account": {t, h, phoneID, "romeo"}, "host": {t, other, phoneID, "juliet"}, "nobody": {t, h, phoneID, "nobody"}} {
			d.password2(sasl.HTNone)
			if d.in(token) {
				t.Errorf("it is good for another %s", name)
			}
		}
		if phone.in(bound) {
			t.Error("a token for a channel is good without")
		}
		if _, err := h.Start2(sasl.HTNone, plainConn("192.0.2.1"), Request{FAST: &FAST{}}); failureOfError(err) != sasl.MalformedRequest {
			t.Errorf("without the id of a client: %v", err)
		}
		if _, err := h.Start2(sasl.HTNone, plainConn("192.0.2.1"), phone.request()); failureOfError(err) != sasl.InvalidMechanism {
			t.Errorf("without <fast/>: %v", err)
		}
		r := phone.request()
		r.FAST = &FAST{}
		if _, err := h.Start2(sasl.ScramSHA256, plainConn("192.0.2.1"), r); failureOfError(err) != sasl.InvalidMechanism {
			t.Errorf("by SCRAM: %v", err)
		}
	})
}

// password2 is password where the account may not exist.
func (d device) password2(mechanism string) {
	if d.user != "nobody" {
		d.password(mechanism)
	}
}

// TestTokenReplay: an attempt that was seen is refused, also where two come at once (XEP-0484#fast-auth).
func TestTokenReplay(t *testing.T) {
	world(t, func(t *testing.T, _ *Auth, h *Host, _ *fakeClock) {
		phone := device{t, h, phoneID, "juliet"}
		token := phone.password(sasl.HTNone)
		for _, c := range []struct {
			count int64
			good  bool
		}{{1, true}, {1, false}, {5, true}, {4, false}, {5, false}, {6, true}} {
			if _, err := phone.token(token, FAST{Count: c.count}); (err == nil) != c.good {
				t.Errorf("attempt %d: %v", c.count, err)
			}
		}
		p1, r1, err := phone.prove(token, sasl.HTNone, FAST{Count: 7})
		must(t, err)
		p2, r2, err := phone.prove(token, sasl.HTNone, FAST{Count: 7})
		must(t, err)
		_, err = h.Settle(t.Context(), p1, r1, "")
		must(t, err)
		if _, err := h.Settle(t.Context(), p2, r2, ""); failureOfError(err) != sasl.NotAuthorized {
			t.Errorf("the same attempt twice at once: %v", err)
		}
	})
}

// TestTokenInvalidate: a token that is given back is worth nothing, and there is none in its place (XEP-0484#invalidation).
func TestTokenInvalidate(t *testing.T) {
	world(t, func(t *testing.T, _ *Auth, h *Host, clock *fakeClock) {
		phone := device{t, h, phoneID, "juliet"}
		token := phone.password(sasl.HTNone)
		clock.add(48 * time.Hour) // due for rotation
		if next, err := phone.token(token, FAST{Invalidate: true}); err != nil || next != nil {
			t.Fatalf("given back: %v, %v", next, err)
		}
		if phone.in(token) {
			t.Error("it is still good")
		}
	})
}

// TestTokenGone: what was taken away between the proof and the end of the login is gone.
func TestTokenGone(t *testing.T) {
	world(t, func(t *testing.T, _ *Auth, h *Host, _ *fakeClock) {
		phone := device{t, h, phoneID, "juliet"}
		token := phone.password(sasl.HTNone)
		p, r, err := phone.prove(token, sasl.HTNone, FAST{Count: 1})
		must(t, err)
		must(t, h.Revoke(t.Context(), "juliet", p.Client(), true))
		if _, err := h.Settle(t.Context(), p, r, ""); failureOfError(err) != sasl.NotAuthorized {
			t.Errorf("in by a token that was revoked: %v", err)
		}
	})
}

// TestTokenSecret: no token, nor the id of a client, is anywhere in the database, and another key makes all tokens void.
func TestTokenSecret(t *testing.T) {
	d := dbtest.SQLite(t)
	_, h := open(t, d, newClock())
	must(t, h.Create(t.Context(), "juliet", "balcony"))
	phone := device{t, h, phoneID, "juliet"}
	token := phone.password(sasl.HTNone)
	for _, query := range []string{
		`SELECT host || local || device || mechanism || hex(nonce) FROM auth_token`,
		`SELECT host || local || id || software || device FROM auth_device`,
		`SELECT name || hex(value) FROM auth_secret`,
	} {
		var row string
		must(t, d.QueryRow(t.Context(), query).Scan(&row))
		if strings.Contains(row, token.Value.Reveal()) || strings.Contains(row, phoneID) {
			t.Errorf("%s has a secret", query)
		}
	}
	if _, h2 := open(t, d, newClock()); (device{t, h2, phoneID, "juliet"}).in(token) {
		t.Error("a token is good under another key")
	}
	p := phone.principal()
	if r := h.Resource(p, "tag"); r == "" || r != h.Resource(p, "tag") || r == h.Resource(p, "other") || strings.Contains(r, p.Client()) {
		t.Errorf("the resource is %q", r)
	}
}

// TestPasswordChange: the access of other clients ends with the password, as far as the settings say (XEP-0494).
func TestPasswordChange(t *testing.T) {
	for policy, want := range map[string]struct{ phone, laptop bool }{"others": {true, false}, "all": {false, false}, "none": {true, true}} {
		t.Run(policy, func(t *testing.T) {
			world(t, func(t *testing.T, _ *Auth, h *Host, _ *fakeClock) {
				phone, laptop := device{t, h, phoneID, "juliet"}, device{t, h, laptopID, "juliet"}
				romeo := device{t, h, laptopID, "romeo"}
				tp, tl, tr := phone.password(sasl.HTNone), laptop.password(sasl.HTNone), romeo.password(sasl.HTNone)
				must(t, h.SetPassword(t.Context(), "juliet", "orchard", bySession{id: phone.principal().Client()}))
				if phone.in(tp) != want.phone || laptop.in(tl) != want.laptop {
					t.Error("the wrong tokens are good")
				}
				if !romeo.in(tr) {
					t.Error("the token of another account is void")
				}
				all, err := h.Devices(t.Context(), "juliet")
				must(t, err)
				for _, d := range all {
					if d.Password != (policy != "all" && d.Device == phoneID[len(phoneID)-2:]) {
						t.Errorf("password: %+v", d)
					}
				}
			}, func(c *config.Auth) { c.Devices.PasswordChange = policy })
		})
	}
}

// TestImportReplaces: a password that comes with an import takes the access of all clients away.
func TestImportReplaces(t *testing.T) {
	world(t, func(t *testing.T, a *Auth, h *Host, _ *fakeClock) {
		phone := device{t, h, phoneID, "juliet"}
		token := phone.password(sasl.HTNone)
		for _, replace := range []bool{false, true} {
			if _, err := a.Import(t.Context(), strings.NewReader("juliet@example.org,balcony\n"), ImportOptions{Replace: replace}); err != nil {
				t.Error(err)
			}
			if phone.in(token) == replace {
				t.Errorf("replaced %v: the token is good, or it is not", replace)
			}
		}
	})
}

type bySession struct {
	mod.Session
	id string
}

func (s bySession) Client() mod.Client { return mod.Client{ID: s.id} }

// TestDevices: clients are listed and revoked; who knows the password keeps its access until that changes (XEP-0494#revoking-access).
func TestDevices(t *testing.T) {
	world(t, func(t *testing.T, _ *Auth, h *Host, clock *fakeClock) {
		phone, laptop := device{t, h, phoneID, "juliet"}, device{t, h, laptopID, "juliet"}
		token := phone.password(sasl.HTNone)
		clock.add(time.Minute)
		laptop.password("")
		all, err := h.Devices(t.Context(), "juliet")
		must(t, err)
		if len(all) != 2 || all[0].Device != "71" || all[0].Token || !all[1].Token || all[1].Software != "Test" || !all[1].Password || all[1].FirstSeen.IsZero() {
			t.Fatalf("listed: %+v", all)
		}
		id := all[1].ID
		for _, c := range []struct {
			local, id string
			force     bool
			want      error
		}{{"juliet", "x", true, mod.ErrNoRows}, {"romeo", id, true, mod.ErrNoRows}, {"juliet", id, false, mod.ErrPasswordKnown}, {"juliet", id, true, nil}} {
			if err := h.Revoke(t.Context(), c.local, c.id, c.force); !errors.Is(err, c.want) {
				t.Errorf("%+v: %v", c, err)
			}
		}
		if phone.in(token) {
			t.Error("the token is good")
		}
	})
}

// TestDevicesBounded: an account has so many clients; those that were not seen for long give way, and are forgotten in the end
// (XEP-0494#privacy-considerations).
func TestDevicesBounded(t *testing.T) {
	world(t, func(t *testing.T, a *Auth, h *Host, clock *fakeClock) {
		var tokens []*Token
		var devices []device
		for _, n := range "0123" {
			d := device{t, h, phoneID[:len(phoneID)-1] + string(n), "juliet"}
			devices, tokens = append(devices, d), append(tokens, d.password(sasl.HTNone))
			clock.add(time.Second)
		}
		for i, d := range devices {
			if d.in(tokens[i]) != (i >= 2) {
				t.Errorf("client %d: the token is good, or it is not", i)
			}
		}
		clock.add(time.Duration(a.settings.Load().Tokens.Lifetime) - time.Hour)
		must(t, a.prune(t.Context()))
		if all, err := h.Devices(t.Context(), "juliet"); err != nil || len(all) != 2 { // their tokens are good
			t.Errorf("with tokens: %+v, %v", all, err)
		}
		clock.add(8 * 24 * time.Hour)
		must(t, a.prune(t.Context()))
		if all, err := h.Devices(t.Context(), "juliet"); err != nil || len(all) != 0 {
			t.Errorf("without: %+v, %v", all, err)
		}
		var n int
		must(t, a.db.QueryRow(t.Context(), `SELECT count(*) FROM auth_token`).Scan(&n))
		if n != 0 {
			t.Errorf("%d tokens are left", n)
		}
	}, func(c *config.Auth) { c.Devices.Max = 2; c.Devices.Keep = mod.Duration(24 * time.Hour) })
}

// TestDevicesDeleted: with the account its clients and tokens go.
func TestDevicesDeleted(t *testing.T) {
	world(t, func(t *testing.T, _ *Auth, h *Host, _ *fakeClock) {
		phone := device{t, h, phoneID, "juliet"}
		token := phone.password(sasl.HTNone)
		must(t, h.Delete(t.Context(), "juliet", nil))
		must(t, h.Create(t.Context(), "juliet", "balcony"))
		if phone.in(token) {
			t.Error("a token of the account of before is good")
		}
		if all, err := h.Devices(t.Context(), "juliet"); err != nil || len(all) != 0 {
			t.Errorf("left: %+v, %v", all, err)
		}
	})
}

// TestTokenDisabled: a disabled account is closed to tokens, too, and tokens can be turned off; without encryption there are none
// (XEP-0484#security).
func TestTokenDisabled(t *testing.T) {
	world(t, func(t *testing.T, a *Auth, h *Host, _ *fakeClock) {
		phone := device{t, h, phoneID, "juliet"}
		token := phone.password(sasl.HTNone)
		must(t, h.SetDisabled(t.Context(), "juliet", true))
		if _, err := phone.token(token, FAST{}); failureOfError(err) != sasl.AccountDisabled {
			t.Errorf("disabled: %v", err)
		}
		must(t, h.SetDisabled(t.Context(), "juliet", false))
		if got := h.TokenMechanisms(Conn{Remote: netip.MustParseAddr("192.0.2.1")}); got != nil {
			t.Errorf("offered without encryption: %v", got)
		}
		must(t, a.Configure(settingsOf(func(c *config.Auth) { c.Tokens.Enabled = false }), false))
		if _, _, err := phone.prove(token, sasl.HTNone, FAST{}); failureOfError(err) != sasl.InvalidMechanism {
			t.Errorf("turned off: %v", err)
		}
		if got := h.TokenMechanisms(plainConn("192.0.2.1")); got != nil {
			t.Errorf("offered: %v", got)
		}
	})
}

// TestTokenGuessing: wrong tokens count as wrong passwords do.
func TestTokenGuessing(t *testing.T) {
	world(t, func(t *testing.T, _ *Auth, h *Host, _ *fakeClock) {
		phone := device{t, h, phoneID, "juliet"}
		token := phone.password(sasl.HTNone)
		for range 3 {
			if phone.in(&Token{Value: "guessed"}) {
				t.Fatal("in")
			}
		}
		if _, err := phone.token(token, FAST{}); failureOfError(err) != sasl.TemporaryAuthFailure {
			t.Errorf("after too many: %v", err)
		}
	}, func(c *config.Auth) { c.Failures = 3 })
}

// TestUpgrade: a client that has shown the password gives the account the verifiers that it lacks, and no other does
// (XEP-0480#scram, XEP-0480#security).
func TestUpgrade(t *testing.T) {
	world(t, func(t *testing.T, a *Auth, h *Host, _ *fakeClock) {
		phone := device{t, h, phoneID, "juliet"}
		token := phone.password(sasl.HTNone)
		p := phone.principal()
		asked := append([]string{"UPGR-ROT13"}, h.Upgrades()...)
		if u, err := h.Upgrade(t.Context(), p, asked); err != nil || u != nil {
			t.Fatalf("nothing is lacking: %+v, %v", u, err)
		}
		must(t, a.db.Write(t.Context(), func(tx mod.Tx) error {
			_, err := tx.Exec(t.Context(), `UPDATE auth_account SET sha512 = '' WHERE local = ?`, "juliet")
			return err
		}))
		byToken, _, err := phone.prove(token, sasl.HTNone, FAST{})
		must(t, err)
		if u, err := h.Upgrade(t.Context(), byToken, asked); err != nil || u != nil {
			t.Errorf("after a token: %+v, %v", u, err)
		}
		u, err := h.Upgrade(t.Context(), p, asked)
		if err != nil || u == nil || u.Task != "UPGR-SCRAM-SHA-512" {
			t.Fatalf("%+v, %v", u, err)
		}
		if err := u.Finish(t.Context(), []byte("short")); failureOfError(err) != sasl.MalformedRequest {
			t.Errorf("a wrong answer: %v", err)
		}
		salted, err := sasl.SaltedPassword(sasl.SHA512, "balcony", u.Salt, u.Iterations)
		must(t, err)
		must(t, u.Finish(t.Context(), salted))
		if _, err := login(t, h, plainConn("192.0.2.1"), sasl.ScramSHA512, sasl.ClientConfig{Username: "juliet", Password: "balcony"}); err != nil {
			t.Errorf("after it: %v", err)
		}
		// The account has one now, such as by a new password: a late answer changes nothing.
		late, err := sasl.SaltedPassword(sasl.SHA512, "late", u.Salt, u.Iterations)
		must(t, err)
		must(t, u.Finish(t.Context(), late))
		if _, err := login(t, h, plainConn("192.0.2.1"), sasl.ScramSHA512, sasl.ClientConfig{Username: "juliet", Password: "late"}); err == nil {
			t.Error("an upgrade has changed a password")
		}
	})
}

// TestStale: a login does not outlast what took the account's access away while it was under way; other accounts do not mind.
func TestStale(t *testing.T) {
	world(t, func(t *testing.T, _ *Auth, h *Host, _ *fakeClock) {
		phone, romeo := device{t, h, phoneID, "juliet"}, device{t, h, phoneID, "romeo"}
		for name, change := range map[string]func() error{
			"a new password": func() error { return h.SetPassword(t.Context(), "juliet", "balcony", nil) },
			"a revocation":   func() error { return h.Revoke(t.Context(), "juliet", phone.principal().Client(), true) },
			"an end":         func() error { return h.SetDisabled(t.Context(), "juliet", true) },
		} {
			must(t, h.SetDisabled(t.Context(), "juliet", false))
			phone.password("")
			p, other := phone.principal(), romeo.principal()
			if h.Stale(p) {
				t.Errorf("before %s", name)
			}
			must(t, change())
			if !h.Stale(p) || h.Stale(other) {
				t.Errorf("after %s: stale %v, and the other account %v", name, h.Stale(p), h.Stale(other))
			}
		}
		for range maxChanges {
			h.changes.note(strconv.FormatUint(h.changes.now(), 10))
		}
		if p := romeo.principal(); h.Stale(p) {
			t.Error("a login after all changes")
		}
		if len(h.changes.by) > maxChanges {
			t.Errorf("%d accounts are remembered", len(h.changes.by))
		}
		if h.Stale(Trust(jid.MustParse("juliet@example.org"))) {
			t.Error("one that is trusted")
		}
	})
}
