// Package auth owns credentials: the accounts of the hosts with their SCRAM verifiers (RFC 5802, RFC 7677), the SASL exchanges
// in which a client proves to have one (RFC 6120 §6, by xmpp/sasl), and the Principal that such an exchange ends with.
//
// Passwords are never kept: an account has salted verifiers only, each with a salt of its own. An unknown user gets the same
// answers after the same time as one who errs in the password.
package auth

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"embed"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"

	"sabir/internal/config"
	"sabir/internal/disk"
	"sabir/internal/observe"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
)

// Schema holds the migrations of the tables of this package, for db.Migrate with the module name "auth".
//
//go:embed schema
var Schema embed.FS

// Principal is who somebody has proven to be. It is made by a finished SASL exchange or by Trust, and by nothing else, so that
// a function which asks for one cannot be called with an address that was only claimed.
type Principal struct {
	bare      jid.JID
	mechanism string
	anonymous bool
	client    string // "" where it has not said which it is
	password  bool   // the password was shown
	token     *held  // by which it logged in
	began     uint64 // the last change of an account when the login began
}

// JID returns the bare JID of the account.
func (p *Principal) JID() jid.JID { return p.bare }

// Mechanism returns the SASL mechanism by which it was proven, or "" where it was trusted.
func (p *Principal) Mechanism() string { return p.mechanism }

// Anonymous tells whether the address is a random one without an account, which ends with the stream (XEP-0175).
func (p *Principal) Anonymous() bool { return p.anonymous }

// Client names the installation of a client among those of the account, "" where it has not said which it is. It is not what the
// client has sent.
func (p *Principal) Client() string { return p.client }

// Trust makes a Principal without any proof. It is for tests and for what runs in the server's own process.
func Trust(bare jid.JID) *Principal { return &Principal{bare: bare.Bare(), began: math.MaxUint64} }

// Options are those of all hosts of a server.
type Options struct {
	Config   config.Auth
	Insecure bool // config.Config.Insecure
	Clock    mod.Clock
	Metrics  *observe.Metrics
	// TokenKey is at least 32 random bytes that are kept apart from the database: tokens follow from it. Nil makes a new one, with which all
	// tokens of before are worth nothing.
	TokenKey []byte
	// Files is where certificates are read; nil for the files of the operating system.
	Files disk.FS
}

// Auth is the accounts of all hosts of a server. It may be used from any goroutine.
type Auth struct {
	db       mod.DB
	clock    mod.Clock
	metrics  *observe.Metrics
	settings atomic.Pointer[settings]
	secret   []byte // of the salts of unknown users
	tokenKey []byte
	files    disk.FS
	derive   chan struct{} // has room for as many derivations of keys as run at a time
	failures *failures

	mu    sync.RWMutex
	hosts map[string]*Host
}

// settings are what Configure sets, as one.
type settings struct {
	config.Auth
	insecure  bool
	clientCAs *x509.CertPool // nil where EXTERNAL is off
	// nobody are verifiers, encoded, that take the place of those of accounts that do not exist.
	nobody map[sasl.Hash]string
}

// New opens the accounts in a database in which the tables of Schema exist. It makes the server's secret at its first start.
func New(ctx context.Context, db mod.DB, o Options) (*Auth, error) {
	a := &Auth{
		db:       db,
		clock:    o.Clock,
		metrics:  o.Metrics,
		tokenKey: o.TokenKey,
		files:    disk.Or(o.Files),
		derive:   make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		failures: newFailures(),
		hosts:    make(map[string]*Host),
	}
	if err := a.Configure(o.Config, o.Insecure); err != nil {
		return nil, err
	}
	fresh := make([]byte, 32)
	if _, err := rand.Read(fresh); err != nil {
		return nil, err
	}
	if a.tokenKey == nil {
		a.tokenKey = make([]byte, 32)
		if _, err := rand.Read(a.tokenKey); err != nil {
			return nil, err
		}
	}
	err := db.Write(ctx, func(tx mod.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO auth_secret (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING`, "decoy", fresh)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("keeping the secret of the accounts: %w", err)
	}
	if err := db.QueryRow(ctx, `SELECT value FROM auth_secret WHERE name = ?`, "decoy").Scan(&a.secret); err != nil {
		return nil, fmt.Errorf("reading the secret of the accounts: %w", err)
	}
	return a, nil
}

// Configure puts settings in force for exchanges that start from now on. It changes nothing where it returns an error.
func (a *Auth) Configure(c config.Auth, insecure bool) error {
	s := &settings{Auth: c, insecure: insecure, nobody: make(map[sasl.Hash]string)}
	for _, h := range []sasl.Hash{sasl.SHA1, sasl.SHA256, sasl.SHA512} {
		// The salt differs from those of accounts, which are random; no password has keys of nothing but zeros.
		v := sasl.Verifier{Hash: h, Salt: make([]byte, saltLen), Iterations: c.Iterations, StoredKey: make([]byte, h.Size()), ServerKey: make([]byte, h.Size())}
		s.nobody[h] = "0" + v.Encode() // as selectSHA1 and its like return it: not disabled
	}
	if c.ClientCA != "" {
		pem, err := a.files.ReadFile(c.ClientCA)
		if err != nil {
			return fmt.Errorf("auth.client_ca: %w", err)
		}
		s.clientCAs = x509.NewCertPool()
		if !s.clientCAs.AppendCertsFromPEM(pem) {
			return errors.New("auth.client_ca: " + c.ClientCA + " has no certificate in PEM")
		}
	}
	a.settings.Store(s)
	return nil
}

// Host returns the accounts of one host, of a prepared domain. anonymous says whether ANONYMOUS is offered there; a second call for
// the same domain changes that and returns the same Host.
func (a *Auth) Host(domain jid.JID, anonymous bool) *Host {
	h := a.Accounts(domain)
	h.anonymous.Store(anonymous)
	return h
}

// Accounts is Host without a say about ANONYMOUS, which is off as long as Host was not called.
func (a *Auth) Accounts(domain jid.JID) *Host {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.hosts[domain.Domain()]
	if h == nil {
		h = &Host{a: a, domain: domain.Domain(), known: newExistence(a.clock)}
		a.hosts[domain.Domain()] = h
	}
	return h
}

// lookup returns the host of a domain, or nil.
func (a *Auth) lookup(domain string) *Host {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.hosts[domain]
}

// Host is the accounts of one virtual domain.
type Host struct {
	a         *Auth
	domain    string
	anonymous atomic.Bool
	known     *existence
	changes   changes
}

// Domain returns the domain of the host.
func (h *Host) Domain() string { return h.domain }
