package s2s

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"time"

	"sabir/xmpp/certname"
	"sabir/xmpp/dial"
	"sabir/xmpp/jid"
)

// cached is what a domain has published by host-meta (XEP-0487), and until when that is new.
type cached struct {
	dir   *dial.Directory
	until time.Time
}

// maxDirectories bounds how many are kept.
const maxDirectories = 1000

// directory returns what a domain publishes. What is old is still of use where nothing newer can be had (XEP-0487#impl).
func (s *Server) directory(ctx context.Context, remote jid.JID) (*dial.Directory, error) {
	now := s.o.Clock.Now()
	s.mu.Lock()
	known, ok := s.dirs[remote]
	s.mu.Unlock()
	if ok && now.Before(known.until) {
		return known.dir, nil
	}
	dir, err := s.o.Dialer.Directory(ctx, dial.Server(), certname.ASCII(remote.Domain()), &tls.Config{RootCAs: s.o.Roots})
	if err != nil {
		if ok {
			return known.dir, nil
		}
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := range s.dirs {
		if len(s.dirs) < maxDirectories {
			break
		}
		delete(s.dirs, r) // any will do: it can be read again
	}
	s.dirs[remote] = cached{dir, now.Add(dir.TTL)}
	return dir, nil
}

// openDirectory connects to where the domain itself says, over https, that its server is.
func (s *Server) openDirectory(ctx context.Context, p pair) (*peerStream, error) {
	if oneLabel(p.remote.Domain()) {
		return nil, final("a domain of one label is not looked for", nil)
	}
	dir, err := s.directory(ctx, p.remote)
	if err != nil {
		return nil, err
	}
	if len(dir.Targets) == 0 {
		return nil, final("that domain has no server", nil)
	}
	return s.openAt(ctx, p, dir.Targets, dir)
}

// delegated checks what a server shows to which its domain has led us over https: a certificate for the domain or for the
// name that was asked for, or a key that is pinned (XEP-0487#httpbizrules rule 1).
func (p *policy) delegated(dir *dial.Directory, state *tls.ConnectionState, domain, name string, now time.Time) error {
	if err := p.revoked(state.PeerCertificates); err != nil {
		return err
	}
	for _, c := range state.PeerCertificates {
		if slices.Contains(dir.Pins, sha256.Sum256(c.RawSubjectPublicKeyInfo)) && p.reaches(state, c) {
			return nil
		}
	}
	err := p.verify(state, domain, now, x509.ExtKeyUsageServerAuth)
	if err != nil && name != domain && p.verify(state, name, now, x509.ExtKeyUsageServerAuth) == nil {
		return nil
	}
	return err
}

// reaches tells whether what a server shows is a certificate, or was signed by it: a chain proves nothing about what stands
// beside it.
func (p *policy) reaches(state *tls.ConnectionState, c *x509.Certificate) bool {
	leaf := state.PeerCertificates[0]
	return leaf.Equal(c) || leaf.CheckSignatureFrom(c) == nil
}
