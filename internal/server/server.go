// Package server is the composition root: it builds the server out of a configuration, starts it, puts a changed
// configuration in force, drains it and stops it.
package server

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"sabir/internal/admin"
	"sabir/internal/auth"
	"sabir/internal/c2s"
	"sabir/internal/config"
	"sabir/internal/db"
	"sabir/internal/disk"
	"sabir/internal/host"
	"sabir/internal/listen"
	"sabir/internal/observe"
	"sabir/internal/resume"
	"sabir/internal/route"
	"sabir/internal/s2s"
	"sabir/internal/session"
	"sabir/internal/web"
	"sabir/mod"
	"sabir/mod/all"
	"sabir/xmpp/dial"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// Names of the crash points, where a test may end the process. Others are in db, route and c2s.
const (
	// BeforeSave: the server stops in good order, all streams have ended, their sessions are not saved.
	BeforeSave = "server.before-save"
	// AfterSave: the sessions are saved, the database is open.
	AfterSave = "server.after-save"
)

// Options are what a configuration does not say. The zero value is good for production.
type Options struct {
	// Log gets what an operator should know; nil discards it.
	Log *slog.Logger
	// Level, where it is not nil, is set when the configuration changes the level of the log.
	Level *slog.LevelVar
	// Extensions are those that may be enabled; nil for all.
	Extensions []mod.Info
	// Clock is the time; nil for the real one.
	Clock mod.Clock
	// Files is where certificates and keys are read and written; nil for the files of the operating system.
	Files disk.FS
	// Shuffle reorders hooks within a phase. See host.Options.
	Shuffle func(n int, swap func(i, j int))
	// CrashPoint is called at named points; nil for none.
	CrashPoint func(name string)
	// Drain is how long clients may take to read what waits for them when the server stops; 0 means ten seconds.
	Drain time.Duration
	// Admin serves the admin listener beside metrics and health; nil for none.
	Admin func(s *Server) http.Handler
	// Stop begins to stop the server, when a command says so; nil where none can.
	Stop func()
}

// Server is a server that was built. Its methods may be called from any goroutine.
type Server struct {
	o       Options
	log     *slog.Logger
	metrics *observe.Metrics
	pacer   *pacer
	trace   *observe.Trace
	health  *observe.Health
	db      db.DB
	auth    *auth.Auth
	dir     *session.Directory
	router  *route.Router
	certs   *listen.Certificates
	limiter *listen.Limiter
	c2s     *c2s.Server
	resume  *resume.Store
	s2s     *s2s.Server
	web     *web.Server
	// dialer makes all connections to the outside, http those for requests of extensions.
	dialer *dial.Dialer
	roots  *x509.CertPool // whom they trust; nil for the authorities of the system
	http   *http.Client

	cfg       atomic.Pointer[config.Config]
	reloading sync.Mutex
	listeners []*listen.Listener
	mu        sync.Mutex // guards https
	https     []*http.Server
}

// Sections describes the settings of extensions to the configuration; nil stands for all extensions.
func Sections(extensions []mod.Info) []config.Section {
	if extensions == nil {
		extensions = all.Extensions
	}
	out := make([]config.Section, len(extensions))
	for i, e := range extensions {
		out[i] = config.Section{Name: e.Name, Doc: e.Doc, Off: e.Off, New: e.Config}
	}
	return out
}

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }

// New opens the store, brings its tables up to date, builds the hosts and opens the sockets. After New the addresses
// are known; connections are served by Serve.
func New(ctx context.Context, cfg *config.Config, o Options) (_ *Server, err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = realClock{}
	}
	if o.CrashPoint == nil {
		o.CrashPoint = func(string) {}
	}
	if o.Drain == 0 {
		o.Drain = drainTimeout
	}
	o.Files = disk.Or(o.Files)
	if o.Extensions == nil {
		o.Extensions = all.Extensions
	}
	s := &Server{o: o, log: o.Log, metrics: observe.NewMetrics(), trace: observe.NewTrace(cfg.Log.Trace), health: new(observe.Health), pacer: newPacer(), dir: session.NewDirectory()}
	s.cfg.Store(cfg)
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if err := s.openOutbound(cfg.Outbound); err != nil {
		return nil, err
	}
	if err := s.openStore(ctx); err != nil {
		return nil, err
	}
	key, err := tokenKey(o.Files, cfg.DataDir)
	if err != nil {
		return nil, err
	}
	if s.auth, err = auth.New(ctx, s.db, auth.Options{Files: o.Files, Config: cfg.Auth, Insecure: cfg.Insecure, Clock: o.Clock, Metrics: s.metrics, TokenKey: key}); err != nil {
		return nil, err
	}
	if err := s.openCertificates(cfg); err != nil {
		return nil, err
	}
	s.s2s = s.newS2S(cfg)
	s.router = route.New(route.Options{DB: s.db, Directory: s.dir, Remote: s.s2s, Log: s.log, Clock: o.Clock, Count: s.metrics.Stanza, Panicked: s.metrics.Panic, Trace: s.trace, CrashPoint: s.o.CrashPoint})
	s.s2s.Use(s.router)
	hosts := make(map[jid.JID]*host.Host)
	for i := range cfg.Hosts {
		h, err := s.buildHost(cfg, &cfg.Hosts[i])
		if err != nil {
			return nil, err
		}
		hosts[h.Domain()] = h
	}
	if err := host.Services(hosts); err != nil {
		return nil, err
	}
	s.router.SetHosts(hosts)
	for _, h := range hosts {
		if err := h.Start(ctx); err != nil {
			return nil, err
		}
	}
	s.limiter = listen.NewLimiter(cfg.Limits.ConnectionsPerAddress, cfg.Limits.Connections)
	s.resume = resume.New(s.db, s.log)
	s.c2s = c2s.New(c2s.Options{
		Router: s.router, DB: s.db, Resume: s.resume, Log: s.log, Clock: o.Clock, CrashPoint: s.o.CrashPoint, Settings: streamSettings(cfg),
		Auth: func(domain jid.JID) c2s.Authenticator { return s.accounts(domain) },
		TLS:  s.certs, Default: cfg.Hosts[0].JID(), Insecure: cfg.Insecure, Metrics: pacedMetrics{s.metrics, s.pacer},
	})
	s.metrics.QueueFunc(s.c2s.QueuedBytes)
	s.metrics.HoldFunc(s.c2s.HeldBack)
	s.metrics.WaitingFunc(s.c2s.HandshakesWaiting)
	if err := s.c2s.Restore(ctx); err != nil {
		return nil, err
	}
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	s.web = web.New(s.webOptions(cfg)) // host-meta names the ports
	if err := s.s2s.Start(ctx); err != nil {
		return nil, err
	}
	for _, h := range hosts {
		h.Restored(ctx)
	}
	return s, nil
}

// openStore opens the database and migrates the tables of the accounts and of every extension, enabled or not, so that
// enabling one later needs no more than a reload.
func (s *Server) openStore(ctx context.Context) error {
	var err error
	s.db, err = db.Open(ctx, s.cfg.Load().Database.URL.Reveal(), db.Options{Observer: s.metrics, Log: s.log, CrashPoint: s.o.CrashPoint})
	if err != nil {
		return err
	}
	if err := db.Migrate(ctx, s.db, "auth", auth.Schema); err != nil {
		return err
	}
	if err := db.Migrate(ctx, s.db, "resume", resume.Schema); err != nil {
		return err
	}
	if err := db.Migrate(ctx, s.db, "s2s", s2s.Schema); err != nil {
		return err
	}
	for _, e := range s.o.Extensions {
		for _, g := range e.Engines {
			if err := db.Migrate(ctx, s.db, g.Name, g.Schema); err != nil {
				return err
			}
		}
		if e.Schema == nil {
			continue
		}
		if err := db.Migrate(ctx, s.db, e.Name, e.Schema); err != nil {
			return err
		}
	}
	s.health.Check("store", func(ctx context.Context) error {
		var one int
		return s.db.QueryRow(ctx, `SELECT 1`).Scan(&one)
	})
	return nil
}

func (s *Server) accounts(domain jid.JID) *auth.Host {
	cfg := s.cfg.Load()
	anonymous := cfg.Auth.Anonymous
	if h := cfg.Host(domain.Domain()); h != nil && h.Anonymous != nil {
		anonymous = *h.Anonymous
	}
	return s.auth.Host(domain, anonymous)
}

// buildHost builds a virtual host with the extensions that the configuration enables on it.
func (s *Server) buildHost(cfg *config.Config, c *config.Host) (*host.Host, error) {
	var enabled []host.Enabled
	for _, e := range s.o.Extensions {
		if c.Enables(e.Name, e.Off) {
			enabled = append(enabled, host.Enabled{Info: e, Config: cfg.Mod(c.JID().Domain(), e.Name)})
		}
	}
	acc := &hostAccounts{s: s, domain: c.JID()}
	return host.New(host.Options{
		Domain: c.JID(), DB: s.db, Clock: s.o.Clock, Log: s.log, Directory: s.dir, Router: s.router, Accounts: acc,
		Commands: admin.HostCommands(s.Backend()), Right: func(who jid.JID) mod.Right { return s.right(c.JID(), who) },
		Extensions: enabled, Limits: func() mod.Limits { return s.limits(c.JID()) }, HTTP: s.http, Peers: func() []mod.Peer { return s.s2s.Peers(c.JID()) }, Trace: s.trace, Panicked: s.metrics.Panic, Shuffle: s.o.Shuffle,
	})
}

// streamSettings are those of the streams of clients.
func streamSettings(cfg *config.Config) c2s.Settings {
	set := c2s.Settings{Limits: cfg.Limits, Hosts: make(map[jid.JID]*config.HostLimits), Attempts: cfg.Auth.Attempts}
	for i := range cfg.Hosts {
		set.Hosts[cfg.Hosts[i].JID()] = &cfg.Hosts[i].Limits
	}
	return set
}

// limits are those that the extensions of a host tell clients.
func (s *Server) limits(domain jid.JID) mod.Limits {
	cfg := s.cfg.Load()
	l := cfg.Limits.HostLimits
	if h := cfg.Host(domain.Domain()); h != nil {
		l = h.Limits
	}
	return mod.Limits{BeforeAuth: l.BeforeAuth.Bytes, AfterAuth: l.AfterAuth.Bytes, Idle: time.Duration(l.PingAfter)}
}

func (s *Server) webOptions(cfg *config.Config) web.Options {
	return web.Options{
		Socket: s.c2s.WebSocket(c2s.WebSocketOptions{Origins: cfg.Web.Origins, Leaf: s.certs.Leaf}),
		Client: cfg.Web.Client, Domains: domains(cfg), Directory: s.directory(cfg), Hosts: s.router.Hosts, Log: s.log,
	}
}

// directory is what the domains publish of themselves; nil where the configuration names no addresses.
func (s *Server) directory(cfg *config.Config) *web.Directory {
	m := &cfg.Web.HostMeta
	if len(m.Addresses) == 0 {
		return nil
	}
	return &web.Directory{IPs: m.Addresses, TTL: time.Duration(m.TTL), Pins: m.Pins, ClientTLS: s.port(config.C2STLS), ServerTLS: s.port(config.S2STLS)}
}

// port returns the port of the first socket of a purpose, or 0.
func (s *Server) port(p config.Purpose) int {
	for _, l := range s.listeners {
		if a, ok := l.Addr().(*net.TCPAddr); ok && l.Purpose() == p {
			return a.Port
		}
	}
	return 0
}

func domains(cfg *config.Config) []string {
	var out []string
	for i := range cfg.Hosts {
		out = append(out, cfg.Hosts[i].JID().Domain())
	}
	return out
}

// open opens the sockets.
func (s *Server) open(ctx context.Context) error {
	for _, l := range s.cfg.Load().Listen {
		if (l.Purpose == config.S2S || l.Purpose == config.S2STLS) && !s.cfg.Load().S2S.Enabled {
			continue
		}
		ln, err := listen.Open(ctx, l, listen.Options{Log: s.log, Metrics: s.metrics, Limiter: s.limiter})
		if err != nil {
			return err
		}
		s.listeners = append(s.listeners, ln)
	}
	return nil
}

// Serve serves until ctx ends; then it drains: no new connections, streams end with system-shutdown, what waits is
// written or kept.
func (s *Server) Serve(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	failed := make(chan error, len(s.listeners))
	var background sync.WaitGroup
	background.Go(func() { s.c2s.Sweep(work) })
	background.Go(func() { s.s2s.Sweep(work) })
	background.Go(func() { s.certs.Watch(work, listen.WatchEvery) })
	s.pacer.start(work)
	background.Go(func() { trim(work, s.Settle) })
	background.Go(func() { s.resume.Run(work) })
	background.Go(func() {
		s.auth.Prune(work, func(err error) { s.log.Warn("forgetting old clients failed", "error", err) })
	})
	for _, l := range s.listeners {
		background.Go(func() {
			if err := s.serve(work, l); err != nil {
				failed <- err
			}
		})
	}
	s.health.SetReady(true, "")
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		s.log.Error("a socket failed", "error", err)
	case <-s.db.Failed():
		err = fmt.Errorf("the database failed and is not to be trusted until it was opened again: %w", s.db.Err())
		s.log.Error("the database failed", "error", s.db.Err())
	}
	s.drain(stop)
	background.Wait()
	if s.db.Err() == nil {
		s.save()
	}
	s.release()
	return err
}

// save keeps the sessions that wait for their clients exactly as they are, when nothing can come for them any more.
func (s *Server) save() {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	s.o.CrashPoint(BeforeSave)
	if err := s.resume.Save(ctx); err != nil {
		s.log.Error("sessions were not saved", "error", err)
	}
	s.o.CrashPoint(AfterSave)
}

// serve serves one socket until it is closed.
func (s *Server) serve(ctx context.Context, l *listen.Listener) error {
	switch l.Purpose() {
	case config.C2S, config.C2STLS:
		return l.Serve(func(c *listen.Conn) { s.c2s.ServeTCP(ctx, c) })
	case config.S2S, config.S2STLS:
		return l.Serve(func(c *listen.Conn) { s.s2s.ServeTCP(ctx, c) })
	case config.HTTPS:
		return s.serveHTTP(&http.Server{
			Handler: s.web, TLSConfig: s.certs.Config(config.HTTPS),
		}, l, true)
	case config.Admin:
		return s.serveHTTP(&http.Server{Handler: s.adminHandler()}, l, false)
	}
	return nil
}

const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	drainTimeout  = 10 * time.Second
	maxHeader     = 32 << 10
)

func (s *Server) serveHTTP(h *http.Server, l net.Listener, secure bool) error {
	h.ReadHeaderTimeout, h.IdleTimeout, h.MaxHeaderBytes = headerTimeout, idleTimeout, maxHeader
	h.ErrorLog = slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)
	s.mu.Lock()
	s.https = append(s.https, h)
	s.mu.Unlock()
	var err error
	if secure {
		err = h.Serve(s.c2s.Handshakes(l, h.TLSConfig))
	} else {
		err = h.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// adminHandler serves metrics and health, and the commands where there are some.
func (s *Server) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.metrics.Handler())
	mux.HandleFunc("GET /healthz", s.health.Live)
	mux.HandleFunc("GET /readyz", s.health.Ready)
	if s.o.Admin != nil {
		mux.Handle("/", s.o.Admin(s))
	}
	return mux
}

// drain ends all streams.
func (s *Server) drain(stop func()) {
	s.health.SetReady(false, "draining")
	for _, l := range s.listeners {
		s.closed("a socket", l.Close())
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.o.Drain)
	defer cancel()
	s.c2s.Shutdown(ctx)
	s.s2s.Shutdown(ctx)
	s.mu.Lock()
	servers := s.https
	s.mu.Unlock()
	for _, h := range servers {
		s.closed("HTTP", h.Shutdown(ctx))
	}
	s.c2s.Await() // for what the last stanzas of other servers have caused
	stop()
}

func (s *Server) closed(what string, err error) {
	if err != nil && !errors.Is(err, net.ErrClosed) {
		s.log.Warn("closing failed", "what", what, "error", err)
	}
}

// release stops the hosts and closes what New has opened.
func (s *Server) release() {
	for _, l := range s.listeners {
		s.closed("a socket", l.Close())
	}
	if s.router != nil {
		for _, h := range s.router.Hosts() {
			h.Stop()
		}
	}
	if s.http != nil {
		s.http.CloseIdleConnections()
	}
	if s.db != nil {
		s.closed("the database", s.db.Close())
	}
}

// Addr returns the actual address of the first socket of a purpose, or "".
func (s *Server) Addr(p config.Purpose) string {
	for _, l := range s.listeners {
		if l.Purpose() == p {
			return l.Addr().String()
		}
	}
	return ""
}

// Accounts returns the accounts of a host, or nil where it is none of this server.
func (s *Server) Accounts(domain jid.JID) mod.Accounts {
	if h := s.router.Host(domain); h != nil {
		return h.Accounts()
	}
	return nil
}

// Domains returns the domains that this server answers for, those of services included: what certificates and records in
// the DNS are needed for.
func (s *Server) Domains() []jid.JID { return s.router.Domains() }

// DB returns the database. Whoever closes it stops the server for good, as a failed disk does.
func (s *Server) DB() mod.DB { return s.db }

// Auth returns the credentials of all hosts.
func (s *Server) Auth() *auth.Auth { return s.auth }

// Settle gives the readers of quiet connections small stacks, and tells how many. See c2s.Server.Settle.
func (s *Server) Settle() int { return s.c2s.Settle() }

// Sessions returns the bound resources of all accounts.
func (s *Server) Sessions() []*session.Session { return s.dir.All() }

// Config returns the configuration in force.
func (s *Server) Config() *config.Config { return s.cfg.Load() }

// Health returns what tells whether the server is ready.
func (s *Server) Health() *observe.Health { return s.health }

// Route sends a stanza on its way, as from an address of one of the hosts.
func (s *Server) Route(ctx context.Context, st *stanza.Stanza) { s.router.Route(ctx, st) }
