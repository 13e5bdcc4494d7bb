package sasl

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// The types of channel binding that this package uses. tls-unique is none of them: it says nothing under TLS 1.3 and is broken
// without the extended master secret (RFC 9266 §3, RFC 7627 §1).
const (
	TLSExporter       = "tls-exporter"         // RFC 9266
	TLSServerEndPoint = "tls-server-end-point" // RFC 5929 §4
)

// ChannelBinding ties a handshake to the TLS connection under it. Both ends compute Data on their own.
type ChannelBinding struct {
	Type string // TLSExporter or TLSServerEndPoint; others are ignored
	Data []byte
}

// usable reports whether b has a type of this package and data.
func (b ChannelBinding) usable() bool {
	return (b.Type == TLSExporter || b.Type == TLSServerEndPoint) && len(b.Data) > 0
}

// usable returns the bindings that this package uses, in their order.
func usableBindings(bs []ChannelBinding) []ChannelBinding {
	var us []ChannelBinding
	for _, b := range bs {
		if b.usable() {
			us = append(us, b)
		}
	}
	return us
}

// ExporterBinding computes the binding tls-exporter of a connection (RFC 9266 §2). It fails before the end of the TLS handshake, and
// for TLS 1.2 without the extended master secret.
func ExporterBinding(cs *tls.ConnectionState) (ChannelBinding, error) {
	if !cs.HandshakeComplete {
		return ChannelBinding{}, errors.New("sasl: binding " + TLSExporter + ": no TLS handshake yet")
	}
	d, err := cs.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	if err != nil {
		return ChannelBinding{}, fmt.Errorf("sasl: binding %s: %w", TLSExporter, err)
	}
	return ChannelBinding{Type: TLSExporter, Data: d}, nil
}

// EndPointBinding computes the binding tls-server-end-point from the certificate that the server showed on this connection: the
// leaf (RFC 5929 §4.1). It fails for signatures that name no hash of their own, such as Ed25519, for which the binding is not
// defined.
func EndPointBinding(cert *x509.Certificate) (ChannelBinding, error) {
	var h crypto.Hash
	switch cert.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1, // MD5 and SHA-1 are replaced by SHA-256
		x509.SHA256WithRSA, x509.DSAWithSHA256, x509.ECDSAWithSHA256, x509.SHA256WithRSAPSS:
		h = crypto.SHA256
	case x509.SHA384WithRSA, x509.ECDSAWithSHA384, x509.SHA384WithRSAPSS:
		h = crypto.SHA384
	case x509.SHA512WithRSA, x509.ECDSAWithSHA512, x509.SHA512WithRSAPSS:
		h = crypto.SHA512
	default:
		return ChannelBinding{}, errors.New("sasl: binding " + TLSServerEndPoint + ": not defined for " + cert.SignatureAlgorithm.String())
	}
	d := h.New()
	d.Write(cert.Raw)
	return ChannelBinding{Type: TLSServerEndPoint, Data: d.Sum(nil)}, nil
}
