package listen

import (
	"context"
	"fmt"
	"time"

	"sabir/xmpp/certname"
)

// WatchEvery is how often Watch looks at the files of certificates: those that have changed are in use within that time.
const WatchEvery = 10 * time.Second

// refusal is a pair of files that is not taken into use.
type refusal struct {
	why   string
	looks int // how often Watch has found it
}

// stage is how many of the times have passed at which the end of a certificate is worth a word.
type stage int

// before are those times, ahead of the end.
var before = [...]time.Duration{30 * day, 14 * day, 7 * day, day, 0}

const (
	day = 24 * time.Hour
	// alertFrom is the stage from which administrators are told, not only the log: many renew by themselves at 30 days.
	alertFrom stage = 2
	// urgentFrom is that from which it is an error.
	urgentFrom stage = 4
)

// stageOf counts the times that have passed. One that is half of the certificate's life or more says nothing: those of a few days
// are renewed each day.
func stageOf(notBefore, notAfter, now time.Time) (n stage) {
	life := notAfter.Sub(notBefore)
	for i, b := range before {
		if b < life/2 && !now.Before(notAfter.Add(-b)) {
			n = stage(i + 1)
		}
	}
	return n
}

// CertificateStatus is what there is to tell of the certificate of a domain.
type CertificateStatus struct {
	Domain    string    `json:"domain"`
	File      string    `json:"file"`
	Names     []string  `json:"names"`
	Issuer    string    `json:"issuer"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	SHA256    string    `json:"sha256"`
	// Refused is why the files that are there now are not in use; "" where they are.
	Refused string `json:"refused,omitempty"`
}

// Soon tells whether a certificate ends so soon that it is worth a word, and whether that is urgent.
func Soon(notBefore, notAfter, now time.Time) (soon, urgent bool) {
	n := stageOf(notBefore, notAfter, now)
	return n > 0, n >= urgentFrom
}

// List tells of the certificates in use, in the order of the configuration.
func (s *Certificates) List() []CertificateStatus {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := []CertificateStatus{}
	for _, p := range s.pairs {
		c := s.by[certname.ASCII(p.Domain)].cert.Leaf
		st := CertificateStatus{Domain: p.Domain, File: p.Certificate, Names: c.DNSNames, Issuer: c.Issuer.String(), NotBefore: c.NotBefore, NotAfter: c.NotAfter, SHA256: certname.Fingerprint(c)}
		if r := s.refused[p.Domain]; r != nil {
			st.Refused = r.why
		}
		list = append(list, st)
	}
	return list
}

// Watch looks at the files in this interval until ctx ends, tells of ends that come near, and gives out new ticket keys now and then.
func (s *Certificates) Watch(ctx context.Context, every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for first := true; ; first = false {
		s.look(first)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// look is one look. At the first one nobody is alerted of what was so before the start.
func (s *Certificates) look(first bool) {
	if s.Reload() != nil {
		s.alertRefusals()
	}
	s.tellEnds(first)
	s.rotateTickets()
}

// alertRefusals tells people of files that are refused. A renewal may be half written, so they are disturbed only where it is so at the
// next look, too.
func (s *Certificates) alertRefusals() {
	lasting := make(map[string]string)
	s.mu.Lock()
	for domain, r := range s.refused {
		if r.looks++; r.looks == 2 {
			lasting[domain] = r.why
		}
	}
	s.mu.Unlock()
	for domain, why := range lasting {
		s.o.Alert(domain, "The new certificate of "+domain+" is refused, and the one before stays in use: "+why)
	}
}

// tellEnds tells of each certificate that has passed a further time ahead of its end.
func (s *Certificates) tellEnds(first bool) {
	now := s.o.Now()
	s.mu.RLock()
	entries := make([]*entry, 0, len(s.pairs))
	for _, p := range s.pairs {
		entries = append(entries, s.by[certname.ASCII(p.Domain)])
	}
	s.mu.RUnlock()
	for _, e := range entries {
		c := e.cert.Leaf
		n := stageOf(c.NotBefore, c.NotAfter, now)
		if n <= e.told {
			continue
		}
		e.told = n
		text, args := howSoon(c.NotAfter.Sub(now)), []any{"domain", e.pair.Domain, "file", e.pair.Certificate, "until", c.NotAfter, "cure", "renew it; the files are read again by themselves"}
		if n >= urgentFrom {
			s.o.Log.Error("a certificate "+text, args...)
		} else {
			s.o.Log.Warn("a certificate "+text, args...)
		}
		if n >= alertFrom && !first {
			s.o.Alert(e.pair.Domain, fmt.Sprintf("The certificate of %s %s (%s). Renew it: %s is read again by itself.", e.pair.Domain, text, c.NotAfter.UTC().Format(time.RFC1123), e.pair.Certificate))
		}
	}
}

// howSoon tells people how much time is left.
func howSoon(left time.Duration) string {
	switch {
	case left <= 0:
		return "has ended: nobody who checks it can connect"
	case left <= day:
		return "ends within a day"
	}
	return fmt.Sprintf("ends within %d days", (left+day-1)/day)
}
