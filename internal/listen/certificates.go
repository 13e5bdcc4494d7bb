package listen

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"time"

	"sabir/internal/config"
	"sabir/internal/disk"
	"sabir/xmpp/certname"
)

// Pair names the files of the certificate of a domain.
type Pair struct {
	Domain           string // prepared, with U-labels
	Certificate, Key string // paths of PEM files
}

// TLSSource is what a package that accepts TLS needs of Certificates.
type TLSSource interface {
	// For returns the settings of TLS for one connection of this purpose. to is the domain that the client has named in its stream
	// header, or "" where the connection starts with TLS: then the name in its ClientHello decides (SNI). leaf tells, once the
	// handshake is done, which certificate was shown.
	For(p config.Purpose, to string) (cfg *tls.Config, leaf func() *x509.Certificate)
}

// Certificates are the certificates of all hosts, from files. They may be used from any goroutine.
type Certificates struct {
	files       disk.FS
	log         *slog.Logger
	askForOwn   bool
	now         func() time.Time
	ticketEvery time.Duration

	mu     sync.RWMutex
	pairs  []Pair
	by     map[string]*entry // by domain in A-labels
	first  *entry            // for clients that name no host or one that is not ours
	stamps map[string]stamp  // by path, of the files as they were read last
	rotate time.Time
}

var _ TLSSource = (*Certificates)(nil)

// entry is the certificate of one domain. It does not change; a new certificate makes a new entry.
type entry struct {
	cert    *tls.Certificate
	configs map[config.Purpose]*tls.Config
	keys    [][32]byte
}

// stamp tells whether a file has changed.
type stamp struct {
	mtime time.Time
	size  int64
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

// NewCertificates returns an empty store. askClients makes handshakes with XMPP clients ask for a certificate, for SASL EXTERNAL;
// whether one is good is for internal/auth to say, so that a client with another certificate can still log in with a password.
func NewCertificates(files disk.FS, log *slog.Logger, askClients bool) *Certificates {
	return &Certificates{files: files, log: log, askForOwn: askClients, now: time.Now, ticketEvery: ticketLife}
}

// Set reads the certificates of these pairs, the first of which serves clients that name no known host. If any of them is bad, none
// is taken and those before stay in use. Each problem is in the error, with its file.
func (s *Certificates) Set(pairs []Pair) error {
	if len(pairs) == 0 {
		return errors.New("no certificate: there is no host")
	}
	stamps := stampAll(s.files, pairs)
	by := make(map[string]*entry)
	var first *entry
	var errs []error
	for _, p := range pairs {
		c, err := LoadPair(s.files, p, s.now())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		e, err := s.entry(p.Domain, c)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		by[certname.ASCII(p.Domain)] = e
		if first == nil {
			first = e
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pairs, s.by, s.first, s.stamps = pairs, by, first, stamps
	return nil
}

// LoadPair reads and checks a certificate: that the key belongs to it, that it is for the domain, and that it is valid at this time.
// The error names the file and the cure.
func LoadPair(files disk.FS, p Pair, now time.Time) (*tls.Certificate, error) {
	chain, err := files.ReadFile(p.Certificate)
	if err != nil {
		return nil, fmt.Errorf("certificate of %s: %w", p.Domain, err)
	}
	key, err := files.ReadFile(p.Key)
	if err != nil {
		return nil, fmt.Errorf("key of %s: %w", p.Domain, err)
	}
	c, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w (both are PEM; the host's own certificate comes first in the chain)", p.Certificate, p.Key, err)
	}
	if now.After(c.Leaf.NotAfter) {
		return nil, fmt.Errorf("certificate %s has expired on %s: renew it", p.Certificate, c.Leaf.NotAfter.Format(time.DateOnly))
	}
	if now.Before(c.Leaf.NotBefore) {
		return nil, fmt.Errorf("certificate %s is not valid before %s: check the clock", p.Certificate, c.Leaf.NotBefore.Format(time.RFC3339))
	}
	if err := c.Leaf.VerifyHostname(certname.ASCII(p.Domain)); err != nil {
		return nil, fmt.Errorf("certificate %s is not for %s: %w", p.Certificate, p.Domain, err)
	}
	return &c, nil
}

func stampAll(files disk.FS, pairs []Pair) map[string]stamp {
	m := make(map[string]stamp, 2*len(pairs))
	for _, p := range pairs {
		for _, path := range []string{p.Certificate, p.Key} {
			if fi, err := files.Stat(path); err == nil {
				m[path] = stamp{fi.ModTime(), fi.Size()}
			} else if !errors.Is(err, fs.ErrNotExist) {
				m[path] = stamp{size: -1}
			}
		}
	}
	return m
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
			if s.askForOwn {
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

// Reload reads the files again if one of them has changed. The error tells why the certificates before stay in use.
func (s *Certificates) Reload() error {
	s.mu.RLock()
	pairs, before := s.pairs, s.stamps
	s.mu.RUnlock()
	changed := false
	for path, now := range stampAll(s.files, pairs) {
		changed = changed || before[path] != now
	}
	if !changed {
		return nil
	}
	if err := s.Set(pairs); err != nil {
		return fmt.Errorf("the certificates before stay in use: %w", err)
	}
	s.log.Info("certificates read again")
	return nil
}

// Watch looks at the files in this interval until ctx ends, and gives out new ticket keys now and then.
func (s *Certificates) Watch(ctx context.Context, every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	var said string
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		// The same problem is told once, not at each tick: a renewal may be half written.
		switch err := s.Reload(); {
		case err == nil:
			said = ""
		case err.Error() != said:
			said = err.Error()
			s.log.Error("reading changed certificates", "error", err)
		}
		s.rotateTickets()
	}
}

// rotateTickets puts a new ticket key in use where the newest has served its time.
func (s *Certificates) rotateTickets() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if s.rotate.IsZero() {
		s.rotate = now.Add(s.ticketEvery)
	}
	if now.Before(s.rotate) {
		return
	}
	s.rotate = now.Add(s.ticketEvery)
	for _, e := range s.by {
		if err := e.newTicketKey(); err != nil {
			s.log.Error("making a ticket key", "error", err)
		}
	}
}
