package arch

import (
	"fmt"
	"path"
	"strings"
	"testing"
)

// may is the import table of docs/architecture.md: a package, or with a trailing /* all below a folder, and what it may
// import of ours. Tiers look down only. Tests may import anything that does not import what they test.
var may = []struct {
	pkg     string
	imports string // separated by spaces; "library" is every package of xmpp/
}{
	// The library knows nothing of the server.
	{"xmpp/jid", ""},
	{"xmpp/xmlstream", ""},
	{"xmpp/stanza", "xmpp/jid xmpp/xmlstream"},
	{"xmpp/payload/*", "xmpp/jid xmpp/xmlstream xmpp/stanza xmpp/payload/*"},
	{"xmpp/sasl", ""},
	{"xmpp/stream", "xmpp/jid xmpp/xmlstream xmpp/stanza xmpp/sasl"},
	{"xmpp/certname", "xmpp/jid"},
	{"xmpp/dial", "xmpp/jid xmpp/xmlstream"},
	{"xmpp/sm", "xmpp/jid xmpp/xmlstream xmpp/stanza xmpp/stream"},
	{"xmpp/client", "library"},
	{"xmpp/component", "library"},

	// Extensions see their surface, the engines and the library, never one another.
	{"mod", "xmpp/jid xmpp/xmlstream xmpp/stanza xmpp/payload/*"},
	{"mod/modtest", "mod library"},
	{"mod/all", "mod mod/*"},
	{"mod/*", "mod engine/* library"},
	{"engine/mam", "mod engine/archive engine/lru library"},
	{"engine/pubsub", "mod engine/lru engine/mam library"}, // archives of nodes (XEP-0442)
	{"engine/*", "mod engine/lru library"},

	// The server.
	{"internal/observe", "xmpp/jid xmpp/stanza mod"},
	{"internal/disk", ""},
	{"internal/disk/disktest", "internal/disk"},
	{"internal/config", "xmpp/jid xmpp/sasl mod internal/disk internal/observe"},
	{"internal/db", "mod internal/db/*"},
	{"internal/db/*", "mod internal/db internal/db/*"},
	{"internal/auth", "xmpp/sasl xmpp/jid xmpp/stanza mod internal/config internal/observe internal/db internal/disk xmpp/certname"},
	{"internal/conn", ""},
	{"internal/session", "library mod"},
	{"internal/resume", "library mod internal/session"},
	{"internal/host", "library mod internal/session"},
	{"internal/route", "library mod internal/session internal/host"},
	{"internal/intake", "library mod internal/session internal/route"},
	{"internal/listen", "internal/config internal/observe internal/disk xmpp/certname"},
	{"internal/resolve", "xmpp/dial"},
	{"internal/incoming", "xmpp/sasl xmpp/stanza xmpp/stream xmpp/xmlstream internal/config internal/conn internal/listen"},
	{"internal/c2s", "library mod engine/lru internal/auth internal/config internal/conn internal/incoming internal/intake internal/host internal/listen internal/route internal/session internal/resume"},
	{"internal/s2s", "library mod internal/config internal/conn internal/incoming internal/listen internal/route"},
	{"internal/web", "web xmpp/certname xmpp/dial xmpp/jid internal/listen internal/c2s internal/host"},
	{"internal/admin", "library mod internal/listen internal/s2s internal/host internal/auth internal/config internal/observe internal/session internal/disk"},
	{"internal/server", "library mod mod/all internal/*"},
	{"web", ""},
	{"cmd/sabir", "library mod mod/all internal/s2s internal/server internal/admin internal/config internal/auth internal/observe internal/listen internal/db internal/disk"},

	// Tools and tests.
	{"internal/transcript", "library"},
	{"internal/pushtest", ""},
	{"internal/dnstest", ""},
	{"internal/wiretest", ""},
	{"internal/xmpptest", "library mod mod/all internal/*"},
	{"internal/badinput", "library internal/*"},
	{"internal/interop", "library internal/*"},
	{"internal/interop/ledger", "library internal/interop"},
	{"internal/interop/federation", "library internal/interop"},
	{"internal/interop/fault", "library internal/interop/*"},
	{"internal/arch", ""},
	{"internal/specref", ""},
	{"cmd/xt", "library internal/transcript"},
	{"bench", "library bench/*"},
	{"bench/storm", "library bench/load"},
	{"bench/room10k", "library bench/load"},
	{"bench/*", "library"},
}

// beyond lists what library packages import besides the standard library and golang.org/x: each with the record that
// allows it.
var beyond = map[string]string{
	"xmpp/stream github.com/coder/websocket": "docs/adr/0002-websocket-library.md",
}

// rule returns the imports that a package may have, by the most exact line of the table.
func rule(pkg string) (string, bool) {
	for _, r := range may {
		if r.pkg == pkg {
			return r.imports, true
		}
	}
	for _, r := range may {
		if matches(r.pkg, pkg) {
			return r.imports, true
		}
	}
	return "", false
}

func matches(pattern, pkg string) bool {
	if pattern == "library" {
		pattern = "xmpp/*"
	}
	if dir, ok := strings.CutSuffix(pattern, "/*"); ok {
		return strings.HasPrefix(pkg, dir+"/")
	}
	return pattern == pkg
}

func TestImports(t *testing.T) {
	for _, f := range tree(t) {
		if f.test {
			continue
		}
		allowed, ok := rule(f.pkg)
		if !ok {
			t.Errorf("%s: the package %s has no line in the table of internal/arch", f.path, f.pkg)
			continue
		}
		for _, imp := range f.imports() {
			if err := checkImport(f.pkg, imp, allowed); err != nil {
				t.Errorf("%s: %v", f.path, err)
			}
		}
	}
}

func checkImport(pkg, imp, allowed string) error {
	ours, isOurs := strings.CutPrefix(imp, "sabir/")
	if !isOurs {
		first, _, _ := strings.Cut(imp, "/")
		if strings.HasPrefix(pkg, "xmpp/") && strings.Contains(first, ".") && first != "golang.org" && beyond[pkg+" "+imp] == "" {
			return fmt.Errorf("the library imports the standard library and golang.org/x only, not %s (a decision record may allow it)", imp)
		}
		return nil
	}
	if strings.HasPrefix(pkg, "mod/") && pkg != "mod/all" && path.Dir(ours) == "mod" && ours != pkg {
		return fmt.Errorf("an extension never imports another one (%s): what both need is an engine or a payload", ours)
	}
	for _, a := range strings.Fields(allowed) {
		if matches(a, ours) {
			return nil
		}
	}
	return fmt.Errorf("%s may not import %s", pkg, ours)
}

// TestRecords checks that the exceptions are written down.
func TestRecords(t *testing.T) {
	for what, record := range beyond {
		if !exists(t, record) {
			t.Errorf("%s: there is no %s", what, record)
		}
	}
}
