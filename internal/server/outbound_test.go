package server

import (
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"sabir/internal/config"
	"sabir/xmpp/dial"
)

// TestOutbound: what is not public is beyond reach, by whatever name or redirect, unless the configuration opens it.
func TestOutbound(t *testing.T) {
	hits := 0
	target := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			http.Redirect(w, r, "https://127.0.0.2:1/", http.StatusTemporaryRedirect)
			return
		}
		hits++
	}))
	defer target.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: target.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	get := func(c config.Outbound, path string) error {
		var s Server
		if err := s.openOutbound(c); err != nil {
			t.Fatal(err)
		}
		defer s.http.CloseIdleConnections()
		r, err := s.http.Get(target.URL + path)
		if err == nil {
			err = r.Body.Close()
		}
		return err
	}
	var denied *dial.DeniedError
	if err := get(config.Outbound{CA: ca}, "/"); !errors.As(err, &denied) || hits != 0 {
		t.Errorf("loopback was reached: %v, %d requests", err, hits)
	}
	if err := get(config.Outbound{CA: ca, Allow: []string{"127.0.0.1"}}, "/"); err != nil || hits != 1 {
		t.Errorf("what is open was not reached: %v, %d requests", err, hits)
	}
	if err := get(config.Outbound{CA: ca, Allow: []string{"127.0.0.1"}}, "/away"); !errors.As(err, &denied) {
		t.Errorf("a redirect led away: %v", err)
	}
	if err := get(config.Outbound{Allow: []string{"127.0.0.1"}}, "/"); err == nil || errors.As(err, &denied) {
		t.Errorf("an unknown authority was trusted: %v", err)
	}
}
