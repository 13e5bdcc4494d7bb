package listen

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"sabir/internal/disk"
	"sabir/xmpp/certname"
)

// Pair names the files of the certificate of a domain.
type Pair struct {
	Domain           string // prepared, with U-labels
	Certificate, Key string // paths of PEM files
}

// TimeError says that a certificate is good but for the time: it has expired, or is not valid yet.
type TimeError struct{ text string }

func (e *TimeError) Error() string { return e.text }

// LoadPair reads and checks a certificate: that the key belongs to it, that it is for the domain, and that it is valid at this time.
// The error names the file and the cure; with a *TimeError the certificate is returned nevertheless.
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
		return nil, fmt.Errorf("certificate %s with key %s: %w (both are PEM and of the same renewal; the host's own certificate comes first in the chain)", p.Certificate, p.Key, err)
	}
	if err := c.Leaf.VerifyHostname(certname.ASCII(p.Domain)); err != nil {
		return nil, fmt.Errorf("certificate %s is not for %s: %w (get one with that name)", p.Certificate, p.Domain, err)
	}
	if now.After(c.Leaf.NotAfter) {
		return &c, &TimeError{fmt.Sprintf("certificate %s has expired on %s: renew it", p.Certificate, c.Leaf.NotAfter.UTC().Format(time.DateOnly))}
	}
	if now.Before(c.Leaf.NotBefore) {
		return &c, &TimeError{fmt.Sprintf("certificate %s is not valid before %s: check the clock", p.Certificate, c.Leaf.NotBefore.UTC().Format(time.RFC3339))}
	}
	return &c, nil
}

// Doubts tells why others may not believe a certificate although LoadPair has nothing against it, and what helps; "" where it is good.
// roots are whom to trust, nil for the authorities of the system. That one's own authority is not among them is no doubt where the
// certificate of the authority stands in the chain.
func Doubts(c *tls.Certificate, roots *x509.CertPool, now time.Time) (problem, cure string) {
	between := x509.NewCertPool()
	chain := []*x509.Certificate{c.Leaf}
	for _, der := range c.Certificate[1:] {
		if cert, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(cert)
			chain = append(chain, cert)
		}
	}
	// It is shown to clients and servers that connect, and as our own to servers to which we connect.
	_, err := c.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	var unknown x509.UnknownAuthorityError
	switch last := chain[len(chain)-1]; {
	case err == nil:
		return "", ""
	case !errors.As(err, &unknown):
		cure = "get a certificate for servers"
	case len(chain) == 1 && certname.SelfSigned(c.Leaf):
		cure = "get a certificate from an authority that others trust"
	case len(chain) == 1:
		cure = "put the certificates of the authority behind your own into the file (ACME clients call that fullchain)"
	case certname.SelfSigned(last):
		return "", ""
	default:
		cure = "see whether the chain is that of this certificate, and whether others trust its authority"
	}
	return certname.Explain(err, chain, now).Error(), cure
}

// pairStamp tells whether the files of a pair have changed.
type pairStamp struct{ certificate, key stamp }

type stamp struct {
	mtime time.Time
	size  int64
}

func stampOf(files disk.FS, p Pair) pairStamp {
	of := func(path string) stamp {
		fi, err := files.Stat(path)
		switch {
		case err == nil:
			return stamp{fi.ModTime(), fi.Size()}
		case errors.Is(err, fs.ErrNotExist):
			return stamp{}
		}
		return stamp{size: -1}
	}
	return pairStamp{of(p.Certificate), of(p.Key)}
}
