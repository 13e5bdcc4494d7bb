// Command xt runs conversation scripts against any XMPP server, writes down what a server answers, and makes load. The
// scripts are described in the package internal/transcript; `xt help run` says how to point it at a server.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// errFailed says that scripts did not go as written; all has been printed by then.
var errFailed = errors.New("some scripts failed")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := root().ExecuteContext(ctx)
	switch {
	case err == nil:
	case errors.Is(err, errFailed):
		os.Exit(1)
	default:
		fmt.Fprintln(os.Stderr, "xt:", err)
		os.Exit(2)
	}
}

func root() *cobra.Command {
	c := &cobra.Command{
		Use:   "xt",
		Short: "Conversations with XMPP servers: run them, record them, make load",
		Long: `xt runs conversation scripts (*.xt, and *.scs of Prosody's scansion) against any XMPP server.

With a Sabir of one's own:

  sabir local --dir demo --domain example.test --accounts 3 --json > demo.json &
  xt run --json demo.json mod/ping/testdata/*.xt

Against another server, with accounts made for tests (they are emptied before each script):

  xt run --domain example.org --account a@example.org:secret --account b@example.org:secret chat.xt

Exit codes: 0 all went as written, 1 a script failed, 2 something else was wrong.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
	}
	c.AddCommand(runCommand(), checkCommand(), recordCommand(), loadCommand())
	return c
}
