package xmpptest_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"sabir/internal/xmpptest"
	"sabir/mod"
	"sabir/xmpp/jid"
)

// TestMain lets more scripts run at a time than there are processors: they mostly wait for nothing to come.
func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", "16"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// TestTranscripts runs the conversations of the core (RFC 6120, RFC 6121 §8), those with other servers, and those of every extension.
func TestTranscripts(t *testing.T) {
	without := func(features []string) []mod.Info { return lacking(func(jid.JID) []string { return features }) }
	xmpptest.RunTranscripts(t, without, "testdata/*.xt", "../s2s/testdata/*.xt", "../../mod/*/testdata/*.xt")
}
