package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sabir/internal/transcript"
	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
)

// targetFlags say which server, and as whom.
type targetFlags struct {
	json, address, domain, ca, transport string
	accounts                             []string
	insecure, plaintext, verbose         bool
	timeout, quiet                       time.Duration
}

func (f *targetFlags) add(c *cobra.Command) {
	fs := c.Flags()
	fs.StringVar(&f.json, "json", "", "the line that `sabir local --json` prints, from a file or - for standard input: address, CA and accounts")
	fs.StringVar(&f.address, "address", "", "host:port, or a wss:// URL for WebSocket; without it the domain's DNS records are followed")
	fs.StringVar(&f.domain, "domain", "", "domain of the server; without it that of the first account")
	fs.StringArrayVar(&f.accounts, "account", nil, "jid:password of an account, given once for each; scripts take them in order")
	fs.StringVar(&f.ca, "ca", "", "file with the certificates to trust, in PEM, in place of the system's")
	fs.BoolVar(&f.insecure, "insecure", false, "accept any certificate")
	fs.BoolVar(&f.plaintext, "plaintext", false, "go on where the server offers no TLS")
	fs.StringVar(&f.transport, "transport", "tcp", "tcp (with STARTTLS), tls (direct) or websocket")
	fs.DurationVar(&f.timeout, "timeout", 5*time.Second, "how long a stanza may take")
	fs.DurationVar(&f.quiet, "quiet", 500*time.Millisecond, "how long to wait for nothing")
	fs.BoolVarP(&f.verbose, "verbose", "v", false, "print details to standard error")
}

// local is what `sabir local --json` prints.
type local struct {
	Domain    string            `json:"domain"`
	CAFile    string            `json:"ca_file"`
	Addresses map[string]string `json:"addresses"`
	Accounts  []struct {
		JID      string `json:"jid"`
		Password string `json:"password"`
	} `json:"accounts"`
}

// readLocal reads the first line of a file that is a JSON object.
func readLocal(name string) (*local, error) {
	r := io.Reader(os.Stdin)
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close() // it was only read
		r = f
	}
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 64<<20) // thousands of accounts on one line
	for sc.Scan() {
		line := strings.TrimSpace(sc.Text())
		if !strings.HasPrefix(line, "{") {
			continue
		}
		var l local
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return &l, nil
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return nil, fmt.Errorf("%s: there is no line of JSON; is it what `sabir local --json` has printed?", name)
}

// target makes the target and the list of accounts out of the flags.
func (f *targetFlags) target() (*transcript.Target, []transcript.Account, error) {
	var accounts []transcript.Account
	if f.json != "" {
		l, err := readLocal(f.json)
		if err != nil {
			return nil, nil, err
		}
		if f.domain == "" {
			f.domain = l.Domain
		}
		if f.ca == "" {
			f.ca = l.CAFile
		}
		if f.address == "" {
			if f.address = l.Addresses[map[string]string{"tcp": "c2s", "tls": "c2s_tls", "websocket": "https"}[f.transport]]; f.address == "" {
				return nil, nil, fmt.Errorf("%s has no address for the transport %s", f.json, f.transport)
			}
		}
		for _, a := range l.Accounts {
			accounts, err = appendAccount(accounts, a.JID, a.Password)
			if err != nil {
				return nil, nil, err
			}
		}
	}
	for _, s := range f.accounts {
		address, password, err := splitAccount(s)
		if err != nil {
			return nil, nil, err
		}
		if accounts, err = appendAccount(accounts, address, password); err != nil {
			return nil, nil, err
		}
	}
	if f.domain == "" && len(accounts) > 0 {
		f.domain = accounts[0].JID.Domain()
	}
	cfg, err := f.client()
	if err != nil {
		return nil, nil, err
	}
	t := &transcript.Target{Client: cfg, Domain: f.domain, Transport: f.transport, Timeout: f.timeout, Quiet: f.quiet}
	if f.verbose {
		t.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
		t.Client.Log = t.Log
	}
	if len(accounts) > 0 {
		t.Account = transcript.Accounts(accounts)
	}
	return t, accounts, nil
}

func appendAccount(list []transcript.Account, address, password string) ([]transcript.Account, error) {
	j, err := jid.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("the account %q: %w", address, err)
	}
	if slices.ContainsFunc(list, func(a transcript.Account) bool { return a.JID == j.Bare() }) {
		return nil, fmt.Errorf("the account %s is given twice", j.Bare())
	}
	return append(list, transcript.Account{JID: j.Bare(), Password: password}), nil
}

// splitAccount parts jid:password. A password may have colons, an address only within the brackets of IPv6.
func splitAccount(s string) (address, password string, err error) {
	from := max(strings.Index(s, "]"), 0)
	i := strings.Index(s[from:], ":")
	if i < 0 {
		return "", "", errors.New("an account is jid:password")
	}
	return s[:from+i], s[from+i+1:], nil
}

func (f *targetFlags) client() (client.Config, error) {
	cfg := client.Config{Address: f.address, TLS: &tls.Config{InsecureSkipVerify: f.insecure}, Plaintext: f.plaintext, AllowPlain: true, Keys: sasl.NewKeyCache(100_000)}
	switch f.transport {
	case "tcp":
		if f.address != "" {
			cfg.Via = client.STARTTLS
		}
	case "tls":
		cfg.Via = client.DirectTLS
	case "websocket":
		cfg.Via = client.WebSocket
		if f.address != "" && !strings.Contains(f.address, "://") {
			cfg.Address = "wss://" + f.address + "/xmpp-websocket"
			cfg.TLS.ServerName = f.domain // the address says where, the domain says who
		}
	default:
		return cfg, fmt.Errorf("there is no transport %q: tcp, tls or websocket", f.transport)
	}
	if f.transport != "websocket" && f.address != "" {
		cfg.TLS.ServerName = f.domain
	}
	if f.ca != "" {
		b, err := os.ReadFile(f.ca)
		if err != nil {
			return cfg, err
		}
		cfg.TLS.RootCAs = x509.NewCertPool()
		if !cfg.TLS.RootCAs.AppendCertsFromPEM(b) {
			return cfg, fmt.Errorf("%s holds no certificate in PEM", f.ca)
		}
	}
	return cfg, nil
}
