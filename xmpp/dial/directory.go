package dial

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"time"
)

// The relations of XEP-0487#httpformat for TLS from the start.
const (
	RelClientTLS = "urn:xmpp:alt-connections:tls"
	RelServerTLS = "urn:xmpp:alt-connections:s2s-tls"
)

// Bounds on what a domain publishes.
const (
	maxLinks = 32
	maxIPs   = 16
	minTTL   = time.Minute
	maxTTL   = 24 * time.Hour
)

// Directory is what a domain publishes of itself by host-meta (XEP-0487).
type Directory struct {
	// TTL is for how long it may be kept.
	TTL time.Duration
	// Pins are SHA-256 hashes of public keys, any of which proves the domain as a certificate does.
	Pins [][32]byte
	// Targets are those of the service that was asked for, in the order in which to try them. Each has its addresses and the
	// name to ask for, which its certificate may be for.
	Targets []Target
}

// ErrNoDirectory says that a domain publishes nothing by XEP-0487.
var ErrNoDirectory = errors.New("the domain publishes no XEP-0487")

// Directory reads what a domain publishes, over https only (XEP-0487#httpbizrules). base may be nil.
func (d *Dialer) Directory(ctx context.Context, s Service, domain string, base *tls.Config) (*Directory, error) {
	h := d.HTTPClient(base)
	defer h.CloseIdleConnections()
	at := url.URL{Scheme: "https", Host: domain, Path: "/.well-known/host-meta.json"}
	return fetch(ctx, h, at.String(), func(b []byte) (*Directory, error) { return parseDirectory(b, s.rel) })
}

func parseDirectory(b []byte, rel string) (*Directory, error) {
	var doc struct {
		XMPP *struct {
			TTL  int64    `json:"ttl"`
			Pins []string `json:"public-key-pins-sha-256"`
		} `json:"xmpp"`
		Links []struct {
			Rel      string   `json:"rel"`
			Port     uint16   `json:"port"`
			Priority uint16   `json:"priority"`
			Weight   uint16   `json:"weight"`
			SNI      string   `json:"sni"`
			IPs      []string `json:"ips"`
		} `json:"links"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, err
	}
	if doc.XMPP == nil { // XEP-0487#httpbizrules rule 2
		return nil, ErrNoDirectory
	}
	if doc.XMPP.TTL <= 0 {
		return nil, errors.New("there is no ttl")
	}
	dir := &Directory{TTL: min(max(time.Duration(min(doc.XMPP.TTL, int64(maxTTL/time.Second)))*time.Second, minTTL), maxTTL)}
	for _, p := range doc.XMPP.Pins {
		h, err := base64.StdEncoding.DecodeString(p)
		if err != nil || len(h) != 32 {
			return nil, fmt.Errorf("%q is no SHA-256 in base64", p)
		}
		dir.Pins = append(dir.Pins, [32]byte(h))
	}
	for _, l := range doc.Links {
		if l.Rel != rel || l.Port == 0 || l.SNI == "" || len(dir.Targets) == maxLinks {
			continue
		}
		t := Target{Host: l.SNI, Port: l.Port, DirectTLS: true, priority: l.Priority, weight: l.Weight}
		for _, s := range l.IPs[:min(len(l.IPs), maxIPs)] {
			if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
				t.Addrs = append(t.Addrs, a)
			}
		}
		if len(t.Addrs) > 0 {
			dir.Targets = append(dir.Targets, t)
		}
	}
	order(dir.Targets)
	return dir, nil
}
