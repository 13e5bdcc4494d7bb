package xmpptest

import (
	"cmp"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sabir/internal/db/dbtest"
	"sabir/internal/transcript"
	"sabir/mod"
)

// Transports are the ways on which scripts run.
func Transports() []string { return []string{"tcp", "websocket"} }

// RunTranscripts runs every script that one of the patterns of filepath.Glob names, over TCP and WebSocket, on SQLite and
// PostgreSQL, with the hooks of each phase in random order. Scripts that share settings share a server and run in
// parallel, each with accounts of its own. A pattern that names no file fails the test.
//
// A script asks for settings by tags: "## config: auth.plain = true". Tags "## only: tcp" and such are obeyed. For one that asks for a
// server without features, "## without: urn:example", lacking returns the extensions without them.
func RunTranscripts(t *testing.T, lacking func(features []string) []mod.Info, patterns ...string) {
	t.Helper()
	groups := readGroups(t, patterns)
	dbtest.EachURL(t, func(t *testing.T, url string) {
		for i, g := range groups {
			o := Options{Config: g.config, Database: url}
			if i > 0 {
				o.Database = another(t, url)
			}
			if len(g.without) > 0 {
				o.Extensions = lacking(g.without)
			}
			t.Run(g.name(), func(t *testing.T) { runGroup(t, o, g.scripts) })
		}
	})
}

// another returns an empty database on the same engine.
func another(t *testing.T, url string) string {
	if strings.HasPrefix(url, "postgres") {
		return dbtest.PostgresURL(t)
	}
	return dbtest.SQLiteURL(t)
}

// group are scripts that want the same settings, and the same features missing.
type group struct {
	config, without []string
	scripts         []*transcript.Script
}

// name is for the output of tests.
func (g *group) name() string {
	wants := slices.Clone(g.config)
	for _, f := range g.without {
		wants = append(wants, "without "+path.Base(f)) // a slash would make a test below it
	}
	return cmp.Or(strings.Join(wants, ","), "default")
}

func readGroups(t *testing.T, patterns []string) []*group {
	t.Helper()
	var groups []*group
	by := map[string]*group{}
	for _, p := range patterns {
		files, err := filepath.Glob(p)
		if err != nil {
			t.Fatal(err)
		}
		if len(files) == 0 {
			t.Errorf("no transcript is named by %s", p)
		}
		for _, f := range files {
			s, err := transcript.ReadFile(f)
			if err != nil {
				t.Error(err)
				continue
			}
			g := &group{config: s.Config(), without: s.Without()}
			key := strings.Join(g.config, "\n") + "\n\n" + strings.Join(g.without, "\n")
			if by[key] == nil {
				by[key] = g
				groups = append(groups, g)
			}
			by[key].scripts = append(by[key].scripts, s)
		}
	}
	return groups
}

func runGroup(t *testing.T, o Options, scripts []*transcript.Script) {
	srv := NewServer(t, o)
	for _, transport := range Transports() {
		t.Run(transport, func(t *testing.T) {
			for _, s := range scripts {
				t.Run(name(s.File), func(t *testing.T) {
					t.Parallel()
					target := srv.Target(transport)
					if why := s.Skip(target); why != "" {
						t.Skip(why)
					}
					if err := transcript.Run(t.Context(), s, target); err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
}

// name is short and tells whose script it is: ping/host for mod/ping/testdata/host.xt, core/order for a
// folder testdata beside the test.
func name(file string) string {
	short := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
	if owner := filepath.Base(filepath.Dir(filepath.Dir(file))); owner != "." {
		return owner + "/" + short
	}
	return "core/" + short
}
