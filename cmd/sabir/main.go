// Command sabir is the whole server: it serves, makes a set-up for one machine, checks configurations, keeps accounts and looks
// for what is wrong. This folder holds flags and subcommands only.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"sabir/internal/config"
	"sabir/mod/all"
	"sabir/xmpp/stanza"
)

// Exit codes: 1 where something failed, 2 where the command was not understood.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	// A second signal ends the program at once: NotifyContext gives up the signals with its context.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop()
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the program with everything that it touches.
func run(ctx context.Context, args []string, in io.Reader, out, err io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(err)
	e := root.ExecuteContext(ctx)
	var silent silentError
	var usage usageError
	switch {
	case e == nil:
		return 0
	case errors.As(e, &silent):
		return exitFailed
	case errors.As(e, &usage):
		fmt.Fprintf(err, "sabir: %v\nSee `sabir --help`.\n", e)
		return exitUsage
	}
	var st *stanza.Error
	if errors.As(e, &st) && st.Text != "" {
		e = errors.New(st.Text)
	}
	fmt.Fprintf(err, "sabir: %v\n", e)
	return exitFailed
}

// usageError is a mistake in the command line.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

// silentError is a failure that was shown already.
type silentError struct{}

func (silentError) Error() string { return "failed" }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "sabir",
		Short:         "An XMPP messaging server for organisations",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(newLocal(), newServe(), newConfig(), newAccount(), newSession(), newTrace(), newS2S(), newCertificate(), newReload(), newStop(), newDoctor(), newVersion())
	root.AddCommand(newExtensionCommands(all.Extensions)...)
	wrapArgs(root)
	return root
}

// wrapArgs makes mistakes in positional arguments usage errors.
func wrapArgs(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usageError{err}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		wrapArgs(sub)
	}
}

// version is set by the linker for releases.
var version = ""

// versionInfo says which program this is.
type versionInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Time     string `json:"time,omitempty"`
	Go       string `json:"go"`
}

func programVersion() versionInfo {
	v := versionInfo{Version: version, Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if v.Version == "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.time":
			v.Time = s.Value
		}
	}
	return v
}

func newVersion() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Print which version this is",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			v := programVersion()
			if asJSON {
				return printJSON(c.OutOrStdout(), v)
			}
			fmt.Fprintf(c.OutOrStdout(), "sabir %s (%s)\n", v.Version, v.Go)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one line of JSON")
	return c
}

// printJSON prints one line.
func printJSON(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }

// configFlag adds the flag --config.
func configFlag(c *cobra.Command, path *string) {
	c.PersistentFlags().StringVarP(path, "config", "c", "", "the configuration file (default: sabir.toml here, sabir-local/sabir.toml, /etc/sabir/sabir.toml)")
}

// findConfig returns the file that was named, or else the first one that exists.
func findConfig(path string) (string, error) {
	if path != "" {
		return path, nil
	}
	for _, p := range []string{"sabir.toml", "sabir-local/sabir.toml", "/etc/sabir/sabir.toml"} {
		if _, err := os.Stat(p); err == nil {
			return p, nil
		}
	}
	return "", usageError{errors.New("no configuration: name the file by --config, or start with `sabir config example > sabir.toml`")}
}

// loadConfig reads the configuration that was named or found.
func loadConfig(path string) (*config.Config, error) {
	path, err := findConfig(path)
	if err != nil {
		return nil, err
	}
	return config.Load(path, sections())
}
