package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"sabir/internal/admin"
	"sabir/internal/auth"
	"sabir/internal/config"
	"sabir/internal/disk"
	"sabir/internal/listen"
	"sabir/internal/server"
	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
)

// localOptions are what `sabir local` was asked for. They are kept in the folder, so that a second start needs only to name it.
type localOptions struct {
	Domain     string `json:"domain"`
	Accounts   int    `json:"accounts"`
	PortOffset int    `json:"port_offset"`
	Database   string `json:"database"` // "" for SQLite in the folder
	Iterations int    `json:"scram_iterations"`
	Insecure   bool   `json:"insecure"`
}

// local is a set-up in a folder.
type local struct {
	dir      string
	o        localOptions
	password string // for all accounts; "" for random ones
	asJSON   bool
}

func newLocal() *cobra.Command {
	l := &local{}
	c := &cobra.Command{
		Use:   "local",
		Short: "Run a server for this machine alone, made from nothing",
		Long: "Make a configuration, a certificate of its own authority, a database and accounts user1, user2 … in a folder, and serve on loopback addresses. " +
			"user1 is the administrator. A second start with the same folder goes on with its data and options.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return l.run(c) },
	}
	f := c.Flags()
	f.StringVar(&l.dir, "dir", "sabir-local", "the folder for all that is made")
	f.StringVar(&l.o.Domain, "domain", "localhost", "the domain of the accounts")
	f.IntVar(&l.o.Accounts, "accounts", 2, "how many accounts to make")
	f.IntVar(&l.o.PortOffset, "port-offset", 0, "a number that is added to every default port")
	f.StringVar(&l.o.Database, "database", "", "a database instead of SQLite in the folder: postgres://user@host/name or sqlite:PATH")
	f.StringVar(&l.password, "password", "", "the password of all accounts (default: a random one for each)")
	f.IntVar(&l.o.Iterations, "scram-iterations", config.Default().Auth.Iterations, "iterations of PBKDF2; few make thousands of accounts in seconds")
	f.BoolVar(&l.o.Insecure, "insecure", false, "for test suites and old tools: TLS is optional; PLAIN, ANONYMOUS and open registration are offered")
	f.BoolVar(&l.asJSON, "json", false, "print addresses and accounts as one line of JSON once connections are accepted")
	return c
}

func (l *local) run(c *cobra.Command) error {
	if err := l.prepare(c); err != nil {
		return err
	}
	ca, err := listen.OpenCA(filepath.Join(l.dir, "certificates"))
	if err != nil {
		return err
	}
	pair, err := ca.Leaf(l.o.Domain)
	if err != nil {
		return err
	}
	path, err := l.writeConfig(pair)
	if err != nil {
		return err
	}
	cfg, err := config.Load(path, sections())
	if err != nil {
		return err
	}
	return serve(c.Context(), cfg, c.ErrOrStderr(), func(ctx context.Context, s *server.Server) error {
		accounts, err := l.makeAccounts(ctx, s)
		if err != nil {
			return err
		}
		return l.show(c.OutOrStdout(), s, ca, accounts)
	})
}

// prepare checks the flags and completes them by those of the last start.
func (l *local) prepare(c *cobra.Command) error {
	dir, err := filepath.Abs(l.dir)
	if err != nil {
		return err
	}
	l.dir = dir
	if err := l.recall(c); err != nil {
		return err
	}
	domain, err := jid.New("", l.o.Domain, "")
	if err != nil {
		return usageError{fmt.Errorf("--domain %q: %w", l.o.Domain, err)}
	}
	l.o.Domain = domain.Domain()
	switch {
	case l.o.Accounts < 0 || l.o.Accounts > 1_000_000:
		return usageError{errors.New("--accounts: from 0 to 1000000")}
	case l.o.PortOffset < -config.C2S.Port() || l.o.PortOffset > 65535-config.HTTPS.Port():
		return usageError{fmt.Errorf("--port-offset: no port is left with %d", l.o.PortOffset)}
	case l.o.Iterations < sasl.MinIterations || l.o.Iterations > sasl.MaxIterations:
		return usageError{fmt.Errorf("--scram-iterations: from %d to %d; clients refuse fewer", sasl.MinIterations, sasl.MaxIterations)}
	case c.Flags().Changed("password"):
		if _, err := auth.PreparePassword(l.password, 1); err != nil {
			return usageError{fmt.Errorf("--password: %w", err)}
		}
	}
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return err
	}
	text, err := json.Marshal(l.o)
	if err != nil {
		return err
	}
	return disk.Replace(disk.OS{}, l.file("local.json"), append(text, '\n'), 0o600)
}

// recall takes the options of the last start for those that were not given.
func (l *local) recall(c *cobra.Command) error {
	text, err := os.ReadFile(l.file("local.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var before localOptions
	if err := json.Unmarshal(text, &before); err != nil {
		return fmt.Errorf("%s: %w (remove it to start with new options)", l.file("local.json"), err)
	}
	now := l.o
	l.o = before
	given := func(flag string, take func()) {
		if c.Flags().Changed(flag) {
			take()
		}
	}
	given("domain", func() { l.o.Domain = now.Domain })
	given("accounts", func() { l.o.Accounts = now.Accounts })
	given("port-offset", func() { l.o.PortOffset = now.PortOffset })
	given("database", func() { l.o.Database = now.Database })
	given("scram-iterations", func() { l.o.Iterations = now.Iterations })
	given("insecure", func() { l.o.Insecure = now.Insecure })
	return nil
}

func (l *local) file(name string) string { return filepath.Join(l.dir, name) }

// writeConfig writes the configuration. One that was edited stays as it is as long as what would be written does not change.
func (l *local) writeConfig(pair listen.Pair) (string, error) {
	path, made := l.file("sabir.toml"), l.file("sabir.toml.made")
	text := l.config(pair)
	before, err := os.ReadFile(made)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if _, err := os.Stat(path); err == nil && string(before) == text {
		return path, nil
	}
	if now, err := os.ReadFile(path); err == nil && string(now) != string(before) {
		// It was edited, and the options have changed: keep the edits where they can be found.
		if err := disk.Replace(disk.OS{}, path+".old", now, 0o600); err != nil {
			return "", err
		}
	}
	for _, p := range []string{path, made} {
		if err := disk.Replace(disk.OS{}, p, []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	return path, nil
}

// config returns the configuration file of the options.
func (l *local) config(pair listen.Pair) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("# Made by `sabir local`. It may be edited; a start with other options makes it anew and keeps this one as sabir.toml.old.")
	p("data_dir = \"data\"")
	if l.o.Insecure {
		p("insecure = true")
	}
	p("\n[[host]]\ndomain = %s\ncertificate = %s\nkey = %s\nadmins = [\"user1\"]", quote(l.o.Domain), quote(pair.Certificate), quote(pair.Key))
	if l.o.Insecure {
		l.openRegistration(p)
	}
	if slices.ContainsFunc(config.Describe(sections()), func(s config.Setting) bool { return s.Key == "mod.feeds.url" }) {
		p("\n[mod.feeds]\nurl = %s", quote("https://"+net.JoinHostPort("localhost", strconv.Itoa(config.HTTPS.Port()+l.o.PortOffset))))
	}
	if l.o.Database != "" {
		p("\n[database]\nurl = %s", quote(l.o.Database))
	}
	for _, purpose := range config.Purposes {
		p("\n[[listen]]\naddress = %s\npurpose = %s", quote(net.JoinHostPort("127.0.0.1", strconv.Itoa(purpose.Port()+l.o.PortOffset))), quote(string(purpose)))
	}
	p("\n# All clients are on this machine: nobody has to be kept off.")
	p("[limits]\nconnections_per_address = 0\nbyte_rate = 0")
	// PLAIN, under TLS alone, is for tools and tests that know nothing else; clients that know SCRAM take that.
	p("\n[auth]\niterations = %d\nfailures = 0\nmin_password = 1\nplain = true", l.o.Iterations)
	if l.o.Insecure {
		p("anonymous = true")
	}
	p("\n# What the server connects to is on this machine too.\n[outbound]\nallow = [\"127.0.0.0/8\", \"::1\"]\nca = %s", quote(filepath.Join(filepath.Dir(pair.Certificate), "ca.crt")))
	return b.String()
}

// openRegistration opens in-band registration to everybody on this machine, as far as the extension has these settings.
func (l *local) openRegistration(p func(format string, args ...any)) {
	p("[host.mod.register]")
	for _, s := range config.Describe(sections()) {
		switch s.Key {
		case "mod.register.open":
			p("open = true")
		case "mod.register.insecure":
			p("insecure = true")
		case "mod.register.per_hour":
			p("per_hour = 0")
		}
	}
}

// quote writes a TOML string. JSON's escapes are all known there.
func quote(s string) string {
	text, err := json.Marshal(s)
	if err != nil { // a string has none
		panic(err)
	}
	return string(text)
}

// localAccount is an account with its password, as it is shown.
type localAccount struct {
	JID      string `json:"jid"`
	Password string `json:"password"`
}

// makeAccounts makes the accounts that are missing, and returns all of them. The passwords stand in accounts.csv, readable for the
// owner of the folder only, so that a second start can show them.
func (l *local) makeAccounts(ctx context.Context, s *server.Server) ([]localAccount, error) {
	known, err := l.readAccounts()
	if err != nil {
		return nil, err
	}
	h := s.Auth().Accounts(s.Config().Hosts[0].JID())
	list := make([]localAccount, l.o.Accounts)
	var missing []localAccount
	for i := range list {
		name := "user" + strconv.Itoa(i+1)
		a := localAccount{JID: name + "@" + l.o.Domain, Password: known[name+"@"+l.o.Domain]}
		exists, err := h.Exists(ctx, name)
		if err != nil {
			return nil, err
		}
		if !exists || a.Password == "" || l.password != "" && a.Password != l.password {
			if a.Password = l.password; a.Password == "" {
				if a.Password, err = admin.RandomPassword(); err != nil {
					return nil, err
				}
			}
			missing = append(missing, a)
		}
		list[i] = a
		known[a.JID] = a.Password
	}
	if len(missing) == 0 {
		return list, nil
	}
	r, err := s.Auth().Import(ctx, strings.NewReader(toCSV(missing)), auth.ImportOptions{Replace: true, Share: l.password != ""})
	if err == nil && r.Failed > 0 {
		err = errors.New("making the accounts: " + strings.Join(r.Problems, "; "))
	}
	if err != nil {
		return nil, err
	}
	return list, l.writeAccounts(known, list)
}

func toCSV(accounts []localAccount) string {
	var b strings.Builder
	w := csv.NewWriter(&b)
	for _, a := range accounts {
		if err := w.Write([]string{a.JID, a.Password}); err != nil { // a strings.Builder takes all
			panic(err)
		}
	}
	w.Flush()
	return b.String()
}

func (l *local) readAccounts() (map[string]string, error) {
	known := make(map[string]string)
	f, err := os.Open(l.file("accounts.csv"))
	if errors.Is(err, fs.ErrNotExist) {
		return known, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	for _, line := range lines {
		if len(line) == 2 {
			known[line[0]] = line[1]
		}
	}
	return known, nil
}

// writeAccounts keeps the passwords: those of list, and those of other domains and higher numbers that were known.
func (l *local) writeAccounts(known map[string]string, list []localAccount) error {
	all := append([]localAccount(nil), list...)
	for _, a := range list {
		delete(known, a.JID)
	}
	for j, p := range known {
		all = append(all, localAccount{j, p})
	}
	return disk.Replace(disk.OS{}, l.file("accounts.csv"), []byte(toCSV(all)), 0o600)
}

// localReady is the line of --json.
type localReady struct {
	PID       int               `json:"pid"`
	Domain    string            `json:"domain"`
	CAFile    string            `json:"ca_file"`
	Addresses map[string]string `json:"addresses"` // by purpose, such as "127.0.0.1:5222"
	Accounts  []localAccount    `json:"accounts"`
	WebURL    string            `json:"web_url"`
	Config    string            `json:"config"`
}

// show prints where the server is and who its users are. The sockets are open by then: who connects is served.
func (l *local) show(w io.Writer, s *server.Server, ca *listen.OwnCA, accounts []localAccount) error {
	r := localReady{
		PID: os.Getpid(), Domain: l.o.Domain, CAFile: ca.File(), Addresses: make(map[string]string), Accounts: accounts, Config: s.Config().Path(),
	}
	for _, p := range config.Purposes {
		if a := s.Addr(p); a != "" {
			r.Addresses[string(p)] = a
		}
	}
	if a := r.Addresses[string(config.HTTPS)]; a != "" {
		if _, port, err := net.SplitHostPort(a); err == nil {
			r.WebURL = "https://" + net.JoinHostPort("localhost", port) + "/"
		}
	}
	if l.asJSON {
		return printJSON(w, r)
	}
	fmt.Fprintf(w, "Sabir serves %s. Everything is in %s.\n\n", l.o.Domain, l.dir)
	fmt.Fprintf(w, "  web client       %s\n", r.WebURL)
	for _, p := range config.Purposes {
		if a := r.Addresses[string(p)]; a != "" {
			fmt.Fprintf(w, "  %-16s %s\n", p, a)
		}
	}
	fmt.Fprintf(w, "  certificate      %s (of an authority of its own: make clients and the browser trust it)\n\n", r.CAFile)
	const most = 20
	for i, a := range accounts {
		if i == most {
			fmt.Fprintf(w, "  … and %d more in %s\n", len(accounts)-most, l.file("accounts.csv"))
			break
		}
		role := ""
		if i == 0 {
			role = "  (administrator)"
		}
		fmt.Fprintf(w, "  %-24s %s%s\n", a.JID, a.Password, role)
	}
	fmt.Fprintf(w, "\nEnd it with Ctrl-C.\n")
	return nil
}
