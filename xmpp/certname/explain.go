package certname

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// Fingerprint returns the SHA-256 of a certificate in hex.
func Fingerprint(c *x509.Certificate) string {
	h := sha256.Sum256(c.Raw)
	return hex.EncodeToString(h[:])
}

// SelfSigned tells whether a certificate is its own authority, or says so.
func SelfSigned(c *x509.Certificate) bool {
	return c.CheckSignatureFrom(c) == nil || bytes.Equal(c.RawIssuer, c.RawSubject)
}

// Explain names what is wrong with a chain, the leaf first, that x509 refuses with err.
func Explain(err error, chain []*x509.Certificate, now time.Time) error {
	leaf := chain[0]
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("the certificate has expired on %s", leaf.NotAfter.UTC().Format(time.DateOnly))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("the certificate is not valid before %s", leaf.NotBefore.UTC().Format(time.RFC3339))
	case errors.As(err, &unknown) && SelfSigned(leaf):
		return errors.New("the certificate is self-signed")
	case errors.As(err, &unknown) && len(chain) == 1:
		return fmt.Errorf("the certificate is of an unknown authority (%s), or the chain to it was not sent", leaf.Issuer)
	case errors.As(err, &unknown) && !chain[1].IsCA:
		return fmt.Errorf("a certificate in its chain may not sign others (%s)", chain[1].Subject)
	case errors.As(err, &unknown):
		return fmt.Errorf("the certificate is of an unknown authority (%s)", chain[len(chain)-1].Issuer)
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return errors.New("the certificate is not for servers (extended key usage)")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("a certificate in its chain has expired (%s)", invalid.Cert.Subject)
	}
	return err
}
