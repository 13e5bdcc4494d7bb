package interop

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDino has a client with a window as the second device of an account (XEP-0313), and takes time and the server away from
// it (XEP-0198). testdata/dino.sh is the play.
func TestDino(t *testing.T) {
	if os.Getenv("SABIR_INTEROP") == "" {
		t.Skip("make interop runs it")
	}
	if os.Geteuid() != 0 {
		t.Skip("it makes namespaces, which root can")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	dir := t.TempDir()
	c := exec.CommandContext(ctx, "unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "bash", filepath.Join("testdata", "dino.sh"), filepath.Join(root, "bin", "sabir"), dir)
	out, err := c.CombinedOutput()
	for _, want := range []string{"history of own messages", "history", "live", "after a stop", "after a kill of the server", "resumed"} {
		if !strings.Contains(string(out), "STEP "+want+"\n") {
			t.Errorf("Dino has not come to: %s", want)
		}
	}
	if err == nil && !t.Failed() {
		return
	}
	t.Errorf("%v\n%s", err, out)
	for _, f := range []string{"server.log", "dino.log"} {
		b, err := os.ReadFile(filepath.Join(dir, f))
		if err != nil {
			t.Log(err)
			continue
		}
		t.Logf("%s:\n%s", f, b[max(0, len(b)-6000):])
	}
}
