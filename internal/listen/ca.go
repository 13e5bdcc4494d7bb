package listen

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sabir/internal/disk"
	"sabir/xmpp/certname"
)

// The lives of the certificates of an OwnCA. A leaf is renewed when a third of its life is left.
const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 90 * 24 * time.Hour
)

// OwnCA is a certificate authority of one's own, for `sabir local` and tests: it stands in a folder as ca.crt and ca.key, and makes
// certificates for domains beside them. Nothing outside of the folder trusts it.
type OwnCA struct {
	dir  string
	now  func() time.Time
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// OpenCA reads the authority of a folder, or makes one there if there is none or if it ends within a year.
func OpenCA(dir string) (*OwnCA, error) { return openCA(dir, time.Now) }

func openCA(dir string, now func() time.Time) (*OwnCA, error) {
	ca := &OwnCA{dir: dir, now: now}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder of the certificates: %w", err)
	}
	cert, key, err := readPair(ca.File(), ca.path("ca.key"))
	switch {
	case err == nil && cert.IsCA && now().Add(caLife/10).Before(cert.NotAfter):
		ca.cert, ca.key = cert, key
		return ca, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("certificate authority: %w (remove %s to have a new one)", err, ca.File())
	}
	return ca, ca.create()
}

// File returns the path of the authority's certificate, for clients to trust.
func (ca *OwnCA) File() string { return ca.path("ca.crt") }

// Certificate returns the authority's certificate.
func (ca *OwnCA) Certificate() *x509.Certificate { return ca.cert }

func (ca *OwnCA) path(name string) string { return filepath.Join(ca.dir, name) }

func (ca *OwnCA) create() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t, err := ca.template(pkix.Name{CommonName: "Sabir local CA", Organization: []string{"Sabir"}}, &key.PublicKey, caLife)
	if err != nil {
		return err
	}
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return err
	}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	ca.key = key
	return writePair(ca.File(), ca.path("ca.key"), key, der)
}

// template fills in what all certificates have.
func (ca *OwnCA) template(subject pkix.Name, public *ecdsa.PublicKey, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	point, err := public.Bytes()
	if err != nil {
		return nil, err
	}
	id := sha256.Sum256(point)
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      subject,
		NotBefore:    ca.now().Add(-time.Hour), // clocks differ
		NotAfter:     ca.now().Add(life),
		SubjectKeyId: id[:20],
	}, nil
}

// Leaf makes sure that there is a certificate of this authority for a domain, the names below it and this machine itself (localhost,
// 127.0.0.1, ::1), and returns its files. One that is near its end, is not for all of these or is of another authority is replaced.
func (ca *OwnCA) Leaf(domain string) (Pair, error) {
	p := Pair{Domain: domain, Certificate: ca.path(certname.ASCII(domain) + ".crt"), Key: ca.path(certname.ASCII(domain) + ".key")}
	names := []string{certname.ASCII(domain), "*." + certname.ASCII(domain)}
	if domain != "localhost" {
		names = append(names, "localhost")
	}
	cert, _, err := readPair(p.Certificate, p.Key)
	if err == nil && ca.good(cert, names) {
		return p, nil
	}
	return p, ca.issue(p, names)
}

// good tells whether a certificate can stay in use.
func (ca *OwnCA) good(cert *x509.Certificate, names []string) bool {
	return cert.CheckSignatureFrom(ca.cert) == nil && ca.now().Add(leafLife/3).Before(cert.NotAfter) &&
		!ca.now().Before(cert.NotBefore) && slices.Equal(cert.DNSNames, names)
}

func (ca *OwnCA) issue(p Pair, names []string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t, err := ca.template(pkix.Name{CommonName: names[0]}, &key.PublicKey, leafLife)
	if err != nil {
		return err
	}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	t.DNSNames = names
	t.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	der, err := x509.CreateCertificate(rand.Reader, t, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return err
	}
	return writePair(p.Certificate, p.Key, key, der, ca.cert.Raw)
}

// Client makes a certificate with which a client of these bare JIDs logs in by EXTERNAL (RFC 6120 §13.7.1.4), and its key. Both
// are kept as name.crt and name.key.
func (ca *OwnCA) Client(name string, jids ...string) (Pair, error) {
	p := Pair{Certificate: ca.path(name + ".crt"), Key: ca.path(name + ".key")}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return p, err
	}
	t, err := ca.template(pkix.Name{CommonName: name}, &key.PublicKey, leafLife)
	if err != nil {
		return p, err
	}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	san, err := xmppNames(jids)
	if err != nil {
		return p, err
	}
	t.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: san}}
	der, err := x509.CreateCertificate(rand.Reader, t, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return p, err
	}
	return p, writePair(p.Certificate, p.Key, key, der, ca.cert.Raw)
}

// xmppNames encodes a SubjectAltName of otherNames of the type id-on-xmppAddr.
func xmppNames(jids []string) ([]byte, error) {
	type otherName struct {
		Type  asn1.ObjectIdentifier
		Value string `asn1:"explicit,tag:0,utf8"`
	}
	var names []asn1.RawValue
	for _, j := range jids {
		der, err := asn1.MarshalWithParams(otherName{asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 5}, j}, "tag:0")
		if err != nil {
			return nil, err
		}
		names = append(names, asn1.RawValue{FullBytes: der})
	}
	return asn1.Marshal(names)
}

// readPair reads a certificate and its key. The error wraps fs.ErrNotExist where one of the files is missing.
func readPair(certFile, keyFile string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	var blocks [2]*pem.Block
	for i, f := range []string{certFile, keyFile} {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, nil, err
		}
		if blocks[i], _ = pem.Decode(text); blocks[i] == nil {
			return nil, nil, fmt.Errorf("%s is not PEM", f)
		}
	}
	cert, err := x509.ParseCertificate(blocks[0].Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", certFile, err)
	}
	k, err := x509.ParsePKCS8PrivateKey(blocks[1].Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", keyFile, err)
	}
	key, ok := k.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, nil, fmt.Errorf("%s is not the key of %s", keyFile, certFile)
	}
	return cert, key, nil
}

// writePair writes a key and a chain so that a reader never sees half a file.
func writePair(certFile, keyFile string, key *ecdsa.PrivateKey, chain ...[]byte) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := disk.Replace(disk.OS{}, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return err
	}
	var text []byte
	for _, c := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c})...)
	}
	return disk.Replace(disk.OS{}, certFile, text, 0o644)
}
