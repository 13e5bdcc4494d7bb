package sasl

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"
)

// certificate makes a self-signed certificate. The curve decides on the hash of its signature.
func certificate(t *testing.T, curve elliptic.Curve) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"example.com"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// TestBindingsOfTLS makes a connection and compares what both ends compute.
func TestBindingsOfTLS(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cert := certificate(t, elliptic.P256())
		roots := x509.NewCertPool()
		roots.AddCert(cert.Leaf)
		a, b := net.Pipe()
		server := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: version, MinVersion: version})
		client := tls.Client(b, &tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: version})
		done := make(chan error)
		go func() { done <- server.Handshake() }()
		if err := client.Handshake(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		ss, cs := server.ConnectionState(), client.ConnectionState()
		se, err := ExporterBinding(&ss)
		if err != nil {
			t.Fatal(err)
		}
		ce, err := ExporterBinding(&cs)
		if err != nil {
			t.Fatal(err)
		}
		if se.Type != TLSExporter || len(se.Data) != 32 || !bytes.Equal(se.Data, ce.Data) {
			t.Errorf("%s: %+v and %+v", tls.VersionName(version), se, ce)
		}
		sp, err := EndPointBinding(cert.Leaf)
		if err != nil {
			t.Fatal(err)
		}
		cp, err := EndPointBinding(cs.PeerCertificates[0])
		if err != nil {
			t.Fatal(err)
		}
		want := sha256.Sum256(cert.Leaf.Raw)
		if sp.Type != TLSServerEndPoint || !bytes.Equal(sp.Data, want[:]) || !bytes.Equal(cp.Data, want[:]) {
			t.Errorf("%s: %+v and %+v", tls.VersionName(version), sp, cp)
		}
		for _, c := range []net.Conn{a, b} {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if b, err := ExporterBinding(&tls.ConnectionState{}); err == nil {
		t.Errorf("no handshake, but %+v", b)
	}
}

func TestEndPointBindingHash(t *testing.T) {
	c384, c512 := certificate(t, elliptic.P384()).Leaf, certificate(t, elliptic.P521()).Leaf
	sum384, sum512 := sha512.Sum384(c384.Raw), sha512.Sum512(c512.Raw)
	sha1 := *c384
	sha1.SignatureAlgorithm = x509.SHA1WithRSA // RFC 5929 §4.1: replaced by SHA-256
	sum1 := sha256.Sum256(sha1.Raw)
	for _, c := range []struct {
		cert *x509.Certificate
		want []byte
	}{{c384, sum384[:]}, {c512, sum512[:]}, {&sha1, sum1[:]}} {
		b, err := EndPointBinding(c.cert)
		if err != nil || !bytes.Equal(b.Data, c.want) {
			t.Errorf("%v: %x, %v", c.cert.SignatureAlgorithm, b.Data, err)
		}
	}
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := EndPointBinding(cert); err == nil {
		t.Errorf("Ed25519: %+v", b)
	}
}
