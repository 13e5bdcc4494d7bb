package listen

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sabir/internal/disk"
)

// watched is a store with a clock of the test's own, its log, and whom it has alerted.
type watched struct {
	*Certificates
	now    time.Time
	said   syncBuffer
	alerts []string
}

func watching() *watched {
	w := &watched{now: time.Now()}
	w.Certificates = NewCertificates(CertificateOptions{
		Files: disk.OS{}, Log: slog.New(slog.NewTextHandler(&w.said, nil)), Now: func() time.Time { return w.now },
		Alert: func(domain, text string) { w.alerts = append(w.alerts, domain+": "+text) },
	})
	return w
}

// lines returns how many lines the log has at a level.
func (w *watched) lines(level string) int { return strings.Count(w.said.String(), "level="+level) }

// TestEnds walks to the end of a certificate: it is told of at each of the times ahead, once, and again for a new certificate alone.
func TestEnds(t *testing.T) {
	ca, w := testCA(t), watching()
	p := leaf(t, ca, "example.org")
	must(t, w.Set([]Pair{p}))
	end := w.Leaf("example.org").NotAfter
	w.look(true)
	for _, c := range []struct {
		left                   time.Duration
		warned, errors, alerts int
		text                   string
	}{
		{30*day + time.Hour, 0, 0, 0, ""},
		{30 * day, 1, 0, 0, "a certificate ends within 30 days"},
		{14*day + time.Hour, 1, 0, 0, ""},
		{14*day - time.Hour, 2, 0, 1, "a certificate ends within 14 days"},
		{7*day - time.Hour, 3, 0, 2, "a certificate ends within 7 days"},
		{day - time.Hour, 3, 1, 3, "a certificate ends within a day"},
		{-time.Hour, 3, 2, 4, "a certificate has ended"},
	} {
		w.now = end.Add(-c.left)
		w.look(false)
		w.look(false)
		if w.lines("WARN") != c.warned || w.lines("ERROR") != c.errors || len(w.alerts) != c.alerts || !strings.Contains(w.said.String(), c.text) {
			t.Errorf("%v before its end: %d warnings, %d errors, alerts %v\n%s", c.left, w.lines("WARN"), w.lines("ERROR"), w.alerts, w.said.String())
		}
	}
	for _, want := range []string{"domain=example.org", "file=" + p.Certificate, "cure="} {
		if strings.Count(w.said.String(), want) != 5 {
			t.Errorf("%s is not in each line of\n%s", want, w.said.String())
		}
	}

	// What runs is not judged anew, so that other settings can be changed; a renewal ends it all.
	must(t, w.Set([]Pair{p}))
	must(t, w.Reload())
	ca.now = func() time.Time { return w.now }
	must(t, ca.issue(p, []string{"example.org"}))
	w.look(false)
	if list := w.List(); !list[0].NotAfter.After(end) || list[0].Refused != "" || !strings.Contains(w.said.String(), "certificate read again") {
		t.Errorf("after the renewal: %+v\n%s", list, w.said.String())
	}
}

// TestEndsAtTheStart tells at once of what ends soon, and leaves people alone who were told before the restart.
func TestEndsAtTheStart(t *testing.T) {
	ca, w := testCA(t), watching()
	must(t, w.Set([]Pair{leaf(t, ca, "example.org")}))
	w.now = w.Leaf("example.org").NotAfter.Add(-5 * day)
	w.look(true)
	w.look(false)
	if w.lines("WARN") != 1 || len(w.alerts) != 0 {
		t.Errorf("alerts %v\n%s", w.alerts, w.said.String())
	}
}

// TestStartsLate starts with a certificate that has expired, beside a good one: both are shown, and a renewal is taken.
func TestStartsLate(t *testing.T) {
	ca, w := testCA(t), watching()
	late, good := signed(t, ca, "late.example", -2*time.Hour, -time.Hour), leaf(t, ca, "good.example")
	must(t, w.Set([]Pair{good, late}))
	if w.lines("ERROR") != 1 || !strings.Contains(w.said.String(), "domain=late.example") || !strings.Contains(w.said.String(), "renew it") {
		t.Errorf("it says\n%s", w.said.String())
	}
	first := w.List()
	w.look(true)
	if w.lines("ERROR") != 2 || len(w.alerts) != 0 {
		t.Errorf("alerts %v\n%s", w.alerts, w.said.String())
	}
	// Another that is over is not better.
	other := signed(t, ca, "late.example", -3*time.Hour, -2*time.Hour)
	must(t, os.Rename(other.Certificate, late.Certificate))
	must(t, os.Rename(other.Key, late.Key))
	if err := w.Reload(); err == nil || !strings.Contains(err.Error(), "has expired") {
		t.Errorf("an expired certificate is taken while the server runs: %v", err)
	}
	must(t, ca.issue(late, []string{"late.example"}))
	w.look(false)
	if now := w.List(); now[1].SHA256 == first[1].SHA256 || now[1].Refused != "" {
		t.Errorf("the renewal is not in use: %+v", now)
	}
}

func TestStages(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		life, left time.Duration
		want       stage
	}{
		{90 * day, 31 * day, 0}, {90 * day, 29 * day, 1}, {365 * day, 10 * day, 2}, {365 * day, 7 * day, 3}, {365 * day, time.Hour, 4}, {365 * day, -time.Hour, 5},
		{6 * day, 3 * day, 0}, {6 * day, 20 * time.Hour, 4}, {6 * day, -time.Hour, 5}, {time.Hour, time.Minute, 0},
	} {
		if got := stageOf(now.Add(c.left-c.life), now.Add(c.left), now); got != c.want {
			t.Errorf("%v of %v are left: %d, want %d", c.left, c.life, got, c.want)
		}
	}
	for _, c := range []struct {
		left         time.Duration
		soon, urgent bool
	}{{40 * day, false, false}, {20 * day, true, false}, {time.Hour, true, true}, {-time.Hour, true, true}} {
		if soon, urgent := Soon(now.Add(-90*day), now.Add(c.left), now); soon != c.soon || urgent != c.urgent {
			t.Errorf("%v are left: %v %v", c.left, soon, urgent)
		}
	}
}

// TestOneOfTwo has one domain's renewal go wrong: the other's is taken all the same.
func TestOneOfTwo(t *testing.T) {
	ca, w := testCA(t), watching()
	a, b := leaf(t, ca, "a.example"), leaf(t, ca, "b.example")
	must(t, w.Set([]Pair{a, b}))
	first := w.List()
	must(t, ca.issue(b, []string{"b.example"}))
	must(t, os.WriteFile(a.Key, []byte("-----BEGIN PRIVATE"), 0o600))
	w.look(true)
	now := w.List()
	if now[0].SHA256 != first[0].SHA256 || now[1].SHA256 == first[1].SHA256 {
		t.Error("the wrong one was replaced")
	}
	if !strings.Contains(now[0].Refused, a.Key) || now[1].Refused != "" {
		t.Errorf("%+v", now)
	}
	if w.lines("ERROR") != 1 || !strings.Contains(w.said.String(), "domain=a.example") || len(w.alerts) != 0 {
		t.Errorf("alerts %v\n%s", w.alerts, w.said.String())
	}
	for range 3 { // it lasts: people are told, once
		w.look(false)
	}
	if w.lines("ERROR") != 1 || len(w.alerts) != 1 || !strings.HasPrefix(w.alerts[0], "a.example: ") {
		t.Errorf("alerts %v\n%s", w.alerts, w.said.String())
	}
	if err := w.Reload(); err == nil || !strings.Contains(err.Error(), "stay in use") {
		t.Errorf("a reload says %v", err)
	}
	must(t, ca.issue(a, []string{"a.example"}))
	w.look(false)
	if now = w.List(); now[0].SHA256 == first[0].SHA256 || now[0].Refused != "" {
		t.Errorf("the mended pair is not in use: %+v", now)
	}
}

// TestDoubts tells of certificates that are good by themselves and that others do not believe.
func TestDoubts(t *testing.T) {
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	middleKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	make := func(c *x509.Certificate, key *ecdsa.PrivateKey, by *x509.Certificate, byKey *ecdsa.PrivateKey) *x509.Certificate {
		t.Helper()
		c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(1), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		if by == nil {
			by, byKey = c, key
		}
		der, err := x509.CreateCertificate(rand.Reader, c, by, &key.PublicKey, byKey)
		must(t, err)
		made, err := x509.ParseCertificate(der)
		must(t, err)
		return made
	}
	authority := func(name string) *x509.Certificate {
		return &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	}
	root := make(authority("root"), rootKey, nil, nil)
	middle := make(authority("middle"), middleKey, root, rootKey)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	plain := func() *x509.Certificate {
		return &x509.Certificate{Subject: pkix.Name{CommonName: "leaf"}, DNSNames: []string{"example.org"}}
	}
	clients := plain()
	clients.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	under := make(plain(), key, middle, middleKey)
	trusted, nobody := x509.NewCertPool(), x509.NewCertPool()
	trusted.AddCert(root)
	for _, c := range []struct {
		name  string
		roots *x509.CertPool
		chain []*x509.Certificate
		want  string
	}{
		{"good", trusted, []*x509.Certificate{under, middle}, ""},
		{"chain missing", trusted, []*x509.Certificate{under}, "the chain to it was not sent"},
		{"another chain", trusted, []*x509.Certificate{under, under}, "may not sign others"},
		{"self-signed", trusted, []*x509.Certificate{make(plain(), key, nil, nil)}, "self-signed"},
		{"for clients", trusted, []*x509.Certificate{make(clients, key, root, rootKey)}, "not for servers"},
		{"an authority of one's own", nobody, []*x509.Certificate{under, middle, root}, ""},
	} {
		pair := &tls.Certificate{PrivateKey: key, Leaf: c.chain[0]}
		for _, x := range c.chain {
			pair.Certificate = append(pair.Certificate, x.Raw)
		}
		problem, cure := Doubts(pair, c.roots, time.Now())
		if (problem == "") != (c.want == "") || !strings.Contains(problem, c.want) || (problem == "") != (cure == "") {
			t.Errorf("%s: %q, %q", c.name, problem, cure)
		}
	}
}

// TestCures checks that each refusal of a pair names the file and what helps.
func TestCures(t *testing.T) {
	ca := testCA(t)
	good := leaf(t, ca, "example.org")
	half := filepath.Join(t.TempDir(), "half")
	text, err := os.ReadFile(good.Certificate)
	must(t, err)
	must(t, os.WriteFile(half, text[:len(text)/4], 0o600))
	other := leaf(t, ca, "example.com")
	for _, c := range []struct {
		name string
		Pair
		want []string
	}{
		{"wrong key", Pair{"example.org", good.Certificate, other.Key}, []string{good.Certificate, other.Key, "of the same renewal"}},
		{"half a file", Pair{"example.org", half, good.Key}, []string{half, "both are PEM"}},
		{"expired", signed(t, ca, "example.org", -2*time.Hour, -time.Hour), []string{"has expired on", "renew it"}},
		{"early", signed(t, ca, "example.org", time.Hour, 2*time.Hour), []string{"is not valid before", "check the clock"}},
		{"for another", Pair{"example.org", other.Certificate, other.Key}, []string{"is not for example.org", "get one with that name"}},
		{"absent", Pair{"example.org", half + "x", good.Key}, []string{half + "x", "no such file"}},
	} {
		_, err := LoadPair(disk.OS{}, c.Pair, time.Now())
		if missing := slices.ContainsFunc(c.want, func(w string) bool { return !strings.Contains(fmt.Sprint(err), w) }); err == nil || missing {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}
