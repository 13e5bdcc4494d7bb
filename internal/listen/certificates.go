package listen

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"sabir/internal/config"
	"sabir/internal/disk"
	"sabir/xmpp/certname"
)

// TLSSource is what a package that accepts TLS needs of Certificates.
type TLSSource interface {
	// For returns the settings of TLS for one connection of this purpose. to is the domain that the client has named in its stream
	// header, or "" where the connection starts with TLS: then the name in its ClientHello decides (SNI). leaf tells, once the
	// handshake is done, which certificate was shown.
	For(p config.Purpose, to string) (cfg *tls.Config, leaf func() *x509.Certificate)
}

// CertificateOptions say what Certificates work with.
type CertificateOptions struct {
	Files disk.FS
	Log   *slog.Logger
	// AskClients makes handshakes with XMPP clients ask for a certificate, for SASL EXTERNAL; whether one is good is for internal/auth to
	// say, so that a client with another certificate can still log in with a password.
	AskClients bool
	// Now tells the time; nil for that of the machine.
	Now func() time.Time
	// Alert is told by Watch of what somebody has to do about the certificate of a domain, once for each thing; nil for nobody.
	Alert func(domain, text string)
}

// Certificates are the certificates of all hosts, from files. They may be used from any goroutine.
type Certificates struct {
	o           CertificateOptions
	ticketEvery time.Duration

	changing sync.Mutex // held while files are read
	mu       sync.RWMutex
	pairs    []Pair
	by       map[string]*entry   // by domain in A-labels
	first    *entry              // for clients that name no host or one that is not ours
	refused  map[string]*refusal // by domain, as in Pair: files that are not taken into use
	rotate   time.Time
}

var _ TLSSource = (*Certificates)(nil)

// entry is the certificate of one domain. A new certificate makes a new entry.
type entry struct {
	pair    Pair
	stamp   pairStamp
	cert    *tls.Certificate
	configs map[config.Purpose]*tls.Config
	keys    [][32]byte
	told    stage // of its end, for Watch alone
}

// suites are the suites of TLS 1.2 that are left: ephemeral keys and authenticated encryption only (RFC 9325 §4.2). Those of TLS 1.3 are
// all like that.
var suites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// ticketKeys is how many ticket keys are kept, the newest first, and ticketLife for how long each makes new tickets.
const (
	ticketKeys = 3
	ticketLife = 8 * time.Hour
)

// NewCertificates returns an empty store.
func NewCertificates(o CertificateOptions) *Certificates {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Alert == nil {
		o.Alert = func(string, string) {}
	}
	return &Certificates{o: o, ticketEvery: ticketLife, refused: make(map[string]*refusal)}
}

// Set puts the certificates of these pairs in use, the first of which serves clients that name no known host. If any of them is bad,
// none is taken and those before stay in use; each problem is in the error, with its file and its cure. Files that have not changed
// since they were taken into use are not judged anew: what runs goes on, even with a certificate that has expired meanwhile. So does a
// server that starts: there is no other to show, other domains are not to wait for one, and it may be the clock that is wrong.
func (s *Certificates) Set(pairs []Pair) error {
	if len(pairs) == 0 {
		return errors.New("no certificate: there is no host")
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	by := make(map[string]*entry)
	var errs []error
	for _, p := range pairs {
		e, err := s.load(p)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		by[certname.ASCII(p.Domain)] = e
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pairs, s.by, s.first = pairs, by, by[certname.ASCII(pairs[0].Domain)]
	clear(s.refused)
	return nil
}

// load returns the entry of a pair: the one in use where its files are those that it was made of.
func (s *Certificates) load(p Pair) (*entry, error) {
	stamp := stampOf(s.o.Files, p) // before the files are read: what changes meanwhile is read again
	s.mu.RLock()
	e, starting := s.by[certname.ASCII(p.Domain)], s.first == nil
	s.mu.RUnlock()
	if e != nil && e.pair == p && e.stamp == stamp {
		return e, nil
	}
	c, err := LoadPair(s.o.Files, p, s.o.Now())
	var late *TimeError
	switch {
	case errors.As(err, &late) && starting:
		s.o.Log.Error("a certificate is shown although nobody who checks it will connect: there is no other", "domain", p.Domain, "error", err)
	case err != nil:
		return nil, err
	}
	if e, err = s.entry(p.Domain, c); err != nil {
		return nil, err
	}
	e.pair, e.stamp = p, stamp
	return e, nil
}

// entry makes the settings of TLS with a certificate, with new ticket keys: a ticket from the time of another certificate is not
// resumed, and so the channel binding tls-server-end-point is always that of the certificate in the entry.
func (s *Certificates) entry(domain string, c *tls.Certificate) (*entry, error) {
	e := &entry{cert: c, configs: make(map[config.Purpose]*tls.Config)}
	for _, p := range config.Purposes {
		cfg := &tls.Config{
			MinVersion:   tls.VersionTLS12,
			CipherSuites: suites,
			Certificates: []tls.Certificate{*c},
		}
		switch p {
		case config.C2STLS:
			cfg.NextProtos = []string{"xmpp-client"} // XEP-0368#reqs
		case config.S2STLS:
			cfg.NextProtos = []string{"xmpp-server"}
		case config.HTTPS:
			cfg.NextProtos = []string{"h2", "http/1.1"}
		}
		switch p {
		case config.C2S, config.C2STLS:
			if s.o.AskClients {
				cfg.ClientAuth = tls.RequestClientCert
			}
		case config.S2S, config.S2STLS:
			cfg.ClientAuth = tls.RequestClientCert // XEP-0178#s2s: servers show theirs
		}
		e.configs[p] = cfg
	}
	if err := e.newTicketKey(); err != nil {
		return nil, fmt.Errorf("ticket key of %s: %w", domain, err)
	}
	return e, nil
}

// newTicketKey puts a new ticket key before those in use.
func (e *entry) newTicketKey() error {
	var k [32]byte
	if _, err := rand.Read(k[:]); err != nil {
		return err
	}
	keys := append([][32]byte{k}, e.keys...)
	e.keys = keys[:min(len(keys), ticketKeys)]
	for _, c := range e.configs {
		c.SetSessionTicketKeys(e.keys)
	}
	return nil
}

// find returns the entry for a name in A-labels: its own, that of a domain above it (such as that of example.org for
// conference.example.org), or the first.
func (s *Certificates) find(name string) *entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for n := strings.TrimSuffix(strings.ToLower(name), "."); n != ""; {
		if e, ok := s.by[n]; ok {
			return e
		}
		_, n, _ = strings.Cut(n, ".")
	}
	return s.first
}

// For implements TLSSource.
func (s *Certificates) For(p config.Purpose, to string) (*tls.Config, func() *x509.Certificate) {
	if to != "" {
		e := s.find(certname.ASCII(to))
		return e.configs[p], func() *x509.Certificate { return e.cert.Leaf }
	}
	e := s.find("")
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			e = s.find(hello.ServerName)
			return e.configs[p], nil
		},
	}
	return cfg, func() *x509.Certificate { return e.cert.Leaf }
}

// Config returns the settings of TLS for all connections of a purpose, for net/http. The name in the ClientHello decides.
func (s *Certificates) Config(p config.Purpose) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: s.find("").configs[p].NextProtos,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return s.find(hello.ServerName).configs[p], nil
		},
	}
}

// Client returns the certificate with which a domain shows itself as a client, to other servers.
func (s *Certificates) Client(domain string) *tls.Certificate {
	return s.find(certname.ASCII(domain)).cert
}

// Leaf returns the certificate that is shown to those who ask for this domain.
func (s *Certificates) Leaf(domain string) *x509.Certificate {
	return s.find(certname.ASCII(domain)).cert.Leaf
}

// Reload reads the files again that have changed. A pair that is good is used from the next handshake on; where one is bad, the
// certificate of its domain that is in use stays, whatever becomes of the others. The error tells of all that are bad.
func (s *Certificates) Reload() error {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.mu.RLock()
	pairs := s.pairs
	s.mu.RUnlock()
	var errs []error
	for _, p := range pairs {
		e, err := s.load(p)
		if err != nil {
			errs = append(errs, err)
		}
		s.replace(p, e, err)
	}
	if len(errs) > 0 {
		return fmt.Errorf("the certificates before stay in use: %w", errors.Join(errs...))
	}
	return nil
}

// replace puts the entry of a pair in use, or notes why that cannot be.
func (s *Certificates) replace(p Pair, e *entry, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if r := s.refused[p.Domain]; r == nil || r.why != err.Error() {
			s.refused[p.Domain] = &refusal{why: err.Error()}
			s.o.Log.Error("a new certificate is refused; the one before stays in use", "domain", p.Domain, "error", err, "cure", "mend the files; they are read again by themselves")
		}
		return
	}
	delete(s.refused, p.Domain)
	name := certname.ASCII(p.Domain)
	before := s.by[name]
	if e == before {
		return
	}
	s.by[name] = e
	if s.first == before {
		s.first = e
	}
	s.o.Log.Info("certificate read again", "domain", p.Domain, "until", e.cert.Leaf.NotAfter, "sha256", certname.Fingerprint(e.cert.Leaf))
}

// rotateTickets puts a new ticket key in use where the newest has served its time.
func (s *Certificates) rotateTickets() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.o.Now()
	if s.rotate.IsZero() {
		s.rotate = now.Add(s.ticketEvery)
	}
	if now.Before(s.rotate) {
		return
	}
	s.rotate = now.Add(s.ticketEvery)
	for _, e := range s.by {
		if err := e.newTicketKey(); err != nil {
			s.o.Log.Error("making a ticket key", "error", err)
		}
	}
}
