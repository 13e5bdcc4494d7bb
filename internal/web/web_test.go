package web

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"sabir/xmpp/dial"
)

func get(t *testing.T, o Options, host string) map[string]any {
	t.Helper()
	o.Socket, o.Log = http.NotFoundHandler(), slog.New(slog.DiscardHandler)
	r := httptest.NewRequest("GET", "https://"+host+"/.well-known/host-meta.json", nil)
	w := httptest.NewRecorder()
	New(o).ServeHTTP(w, r)
	var doc map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || w.Code != 200 || w.Header().Get("Access-Control-Allow-Origin") != "*" {
		t.Fatalf("%d %s %v", w.Code, w.Body, err)
	}
	return doc
}

// TestHostMeta checks what is said without addresses (XEP-0156#http) and with them (XEP-0487#httpformat).
func TestHostMeta(t *testing.T) {
	plain := get(t, Options{Domains: []string{"a.example", "b.example"}}, "b.example")
	if len(plain) != 1 || len(plain["links"].([]any)) != 1 {
		t.Errorf("without addresses: %v", plain)
	}
	d := &Directory{IPs: []string{"192.0.2.1", "2001:db8::1"}, TTL: time.Hour, Pins: []string{"pin"}, ClientTLS: 5223, ServerTLS: 5270}
	for host, sni := range map[string]string{"b.example": "b.example", "b.example:5443": "b.example", "elsewhere.example": "a.example"} {
		doc := get(t, Options{Domains: []string{"a.example", "b.example"}, Directory: d}, host)
		if want := map[string]any{"ttl": 3600.0, "public-key-pins-sha-256": []any{"pin"}}; !reflect.DeepEqual(doc["xmpp"], want) {
			t.Errorf("%s: %v", host, doc["xmpp"])
		}
		ports := map[string]any{}
		for _, l := range doc["links"].([]any) {
			m := l.(map[string]any)
			ports[m["rel"].(string)] = m["port"]
			for _, k := range []string{"priority", "weight", "sni", "ips"} {
				if m[k] == nil {
					t.Errorf("%s: %v has no %s", host, m, k)
				}
			}
			if m["port"] != nil && m["sni"] != sni {
				t.Errorf("%s: the name is %v", host, m["sni"])
			}
		}
		want := map[string]any{"urn:xmpp:alt-connections:websocket": nil, "urn:xmpp:alt-connections:tls": 5223.0, "urn:xmpp:alt-connections:s2s-tls": 5270.0}
		if !reflect.DeepEqual(ports, want) {
			t.Errorf("%s: %v", host, ports)
		}
	}
	d.ServerTLS, d.Pins = 0, nil
	doc := get(t, Options{Domains: []string{"a.example"}, Directory: d}, "a.example")
	if len(doc["links"].([]any)) != 2 || doc["xmpp"].(map[string]any)["public-key-pins-sha-256"] != nil {
		t.Errorf("no other servers: %v", doc)
	}
}

type hosts struct{}

func (hosts) LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	return "", nil, &net.DNSError{IsNotFound: true}
}

func (hosts) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("192.0.2.7")}, nil
}

// TestReadBack reads what is served with the eyes of another server.
func TestReadBack(t *testing.T) {
	d := &Directory{IPs: []string{"192.0.2.1", "2001:db8::1"}, TTL: time.Hour, ClientTLS: 5223, ServerTLS: 5270}
	srv := httptest.NewTLSServer(New(Options{Domains: []string{"example.com"}, Directory: d, Socket: http.NotFoundHandler(), Log: slog.New(slog.DiscardHandler)}))
	defer srv.Close()
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	dialer := &dial.Dialer{Resolver: hosts{}, Connect: func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", srv.Listener.Addr().String())
	}}
	dir, err := dialer.Directory(t.Context(), dial.Server(), "example.com", &tls.Config{RootCAs: pool})
	if err != nil || dir.TTL != time.Hour || len(dir.Targets) != 1 || dir.Targets[0].String() != "tls://example.com:5270" || len(dir.Targets[0].Addrs) != 2 {
		t.Errorf("%+v %v", dir, err)
	}
}
