package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// neighbours starts two servers that talk with each other. Both have their certificates from one authority, and are told
// where the other is.
func neighbours(t *testing.T) (harbour, lagoon *world) {
	t.Helper()
	harbour = enter(t)
	dir := t.TempDir()
	certificates := filepath.Join(dir, "server", "certificates")
	if err := os.MkdirAll(certificates, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ca.crt", "ca.key"} {
		b, err := os.ReadFile(filepath.Join(filepath.Dir(harbour.CAFile), name))
		if err == nil {
			err = os.WriteFile(filepath.Join(certificates, name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	lagoon = serve(t, dir, "lagoon.test")
	harbour.meet(t, lagoon.Domain, lagoon.Addresses["s2s"])
	lagoon.meet(t, harbour.Domain, harbour.Addresses["s2s"])
	return harbour, lagoon
}

// meet tells the server where another domain and its services are, and how they prove who they are if not by certificate.
func (w *world) meet(t *testing.T, domain, address string, more ...string) {
	t.Helper()
	text := ""
	for _, d := range []string{domain, "*." + domain} {
		text += fmt.Sprintf("[[s2s.domain]]\ndomain = %q\naddress = [%q]\n", d, address)
		for _, line := range more {
			text += line + "\n"
		}
	}
	if err := w.Configure(t.Context(), text); err != nil {
		t.Fatal(err)
	}
}
