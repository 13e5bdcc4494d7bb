package interop

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"sabir/internal/dnstest"
)

// newForeign starts a server of others, prosody or ejabberd, with accounts u0 and u1, and tells DNS where it is. It is for a
// network namespace of the test's own.
func newForeign(t *testing.T, zone *dnstest.Zone, name, domain, c2s, s2s string) *world {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} { // it runs as a user of its own
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(root, "bench", "peers", "peer.sh")
	if out, err := exec.Command(script, "start", name, "--dir", dir, "--port", c2s, "--accounts", "2", "--password", foreignPassword, "--domain", domain, "--s2s-port", s2s).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command(script, "stop", "--dir", dir).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	})
	for _, d := range []string{domain, "conference." + domain} {
		zone.Point(t, d, net.JoinHostPort("127.0.0.1", s2s), "")
	}
	return &world{foreign: true, Local: &Local{Domain: domain, CAFile: filepath.Join(dir, "cert.pem"), Addresses: map[string]string{"c2s": net.JoinHostPort("127.0.0.1", c2s), "s2s": net.JoinHostPort("127.0.0.1", s2s)}}}
}

const foreignPassword = "secret"

// user returns an account of a server of others.
func (w *world) user(local string) Account {
	return Account{JID: local + "@" + w.Domain, Password: foreignPassword}
}
