package xmpptest

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"net"
	"time"

	"sabir/internal/config"
	"sabir/internal/transcript"
)

// authority signs the certificates of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Peer makes the place of another server for a script: a domain of its own, whose records lead to a socket of its own, and so do those of
// balcony.DOMAIN.
//
// Its certificates are: "" for a good one, which is for what is directly below the domain, too, "self-signed", "expired", "other" for one of another domain, and "none" for none
// as a client and a self-signed one as a server.
func (s *Server) Peer(_ context.Context, domain string) (*transcript.Peer, error) {
	var b [4]byte
	rand.Read(b[:]) // never fails
	p := &transcript.Peer{Domain: hex.EncodeToString(b[:]) + "." + domain, Address: s.Addr(config.S2S), Direct: s.Addr(config.S2STLS)}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.t.Cleanup(func() {
		if err := ln.Close(); err != nil {
			s.t.Errorf("xmpptest: %v", err)
		}
	})
	p.Listener = ln
	for _, d := range []string{p.Domain, "balcony." + p.Domain} {
		s.Zone.Point(s.t, d, ln.Addr().String(), "")
	}
	p.TLS = func(kind string) (*tls.Config, error) { return s.peerTLS(p.Domain, kind) }
	return p, nil
}

func (s *Server) peerTLS(domain, kind string) (*tls.Config, error) {
	c := &x509.Certificate{Subject: pkix.Name{CommonName: domain}, DNSNames: []string{domain, "*." + domain}, NotAfter: time.Now().Add(24 * time.Hour)}
	by := s.ca
	switch kind {
	case "":
	case "self-signed", "none":
		by = nil
	case "expired":
		c.NotAfter = time.Now().Add(-time.Hour)
	case "other":
		c.DNSNames = []string{"other.example"}
	default:
		return nil, fmt.Errorf("there is no certificate %q", kind)
	}
	cert, err := issue(c, by)
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{RootCAs: s.Pool, Certificates: []tls.Certificate{*cert}, ClientAuth: tls.RequestClientCert}
	if kind == "none" {
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return new(tls.Certificate), nil }
	}
	return conf, nil
}

// issue makes a certificate with a key of its own, for both roles, signed by itself where there is no authority.
func issue(c *x509.Certificate, by *authority) (*tls.Certificate, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	c.NotBefore = time.Now().Add(-2 * time.Hour)
	c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
