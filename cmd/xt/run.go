package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"sabir/internal/transcript"
)

func runCommand() *cobra.Command {
	var f targetFlags
	var keep bool
	c := &cobra.Command{
		Use:   "run [flags] FILE...",
		Short: "Run scripts",
		Long: `Runs scripts one after the other. The users of a script are played by the accounts that are given, in order; before
each script these accounts are emptied: roster, block list, waiting messages, vCard, PEP nodes. Without accounts the users of
the script are taken as it writes them.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, files []string) error {
			t, accounts, err := f.target()
			if err != nil {
				return err
			}
			r := runner{t: t, accounts: accounts, keep: keep, out: c.OutOrStdout()}
			return r.all(c.Context(), files)
		},
	}
	f.add(c)
	c.Flags().BoolVar(&keep, "keep", false, "do not empty the accounts")
	return c
}

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE...",
		Short: "Read scripts and say whether they are well written",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, files []string) error {
			bad := false
			for _, name := range files {
				if _, err := transcript.ReadFile(name); err != nil {
					fmt.Fprintln(c.OutOrStdout(), err)
					bad = true
				}
			}
			if bad {
				return errFailed
			}
			return nil
		},
	}
}

// runner runs files and counts.
type runner struct {
	t                   *transcript.Target
	accounts            []transcript.Account
	keep                bool
	out                 io.Writer
	ran, failed, missed int
}

func (r *runner) all(ctx context.Context, files []string) error {
	for _, name := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		r.file(ctx, name)
	}
	fmt.Fprintf(r.out, "%d passed, %d failed, %d skipped\n", r.ran-r.failed, r.failed, r.missed)
	if r.failed > 0 {
		return errFailed
	}
	return nil
}

func (r *runner) file(ctx context.Context, name string) {
	start := time.Now()
	s, err := transcript.ReadFile(name)
	if err == nil {
		if why := r.skip(s); why != "" {
			r.missed++
			fmt.Fprintf(r.out, "skip  %s: %s\n", name, why)
			return
		}
	}
	r.ran++
	if err == nil {
		err = r.run(ctx, s)
	}
	if err != nil {
		r.failed++
		fmt.Fprintf(r.out, "FAIL  %s\n%v\n", name, err)
		return
	}
	fmt.Fprintf(r.out, "ok    %s (%v)\n", name, time.Since(start).Round(time.Millisecond))
}

func (r *runner) skip(s *transcript.Script) string {
	if why := s.Skip(r.t); why != "" {
		return why
	}
	if c := s.Config(); len(c) > 0 {
		return fmt.Sprintf("it needs a server with the settings %q", c)
	}
	if w := s.Without(); len(w) > 0 {
		return fmt.Sprintf("it needs a server without the features %q", w)
	}
	if n := s.Needs(); len(r.accounts) > 0 && n > len(r.accounts) {
		return fmt.Sprintf("it needs %d accounts, and %d were given", n, len(r.accounts))
	}
	return ""
}

func (r *runner) run(ctx context.Context, s *transcript.Script) error {
	if len(r.accounts) > 0 && !r.keep {
		if err := transcript.Clean(ctx, s, r.t, r.accounts[:s.Needs()]); err != nil {
			return err
		}
	}
	return transcript.Run(ctx, s, r.t)
}

func recordCommand() *cobra.Command {
	var f targetFlags
	var to string
	var keep bool
	c := &cobra.Command{
		Use:   "record [flags] FILE",
		Short: "Do what a script does and write down what comes",
		Long: `Does what a script does, not minding what it expects, and writes the script anew with everything that came as what is to
be received: addresses by their names, {any} for ids and stamps of the server's choice. Read it before you believe it.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			t, accounts, err := f.target()
			if err != nil {
				return err
			}
			s, err := transcript.ReadFile(args[0])
			if err != nil {
				return err
			}
			r := runner{t: t, accounts: accounts}
			if why := r.skip(s); why != "" {
				return fmt.Errorf("%s cannot be recorded: %s", args[0], why)
			}
			if len(accounts) > 0 && !keep {
				if err := transcript.Clean(c.Context(), s, t, accounts[:s.Needs()]); err != nil {
					return err
				}
			}
			text, err := transcript.Record(c.Context(), s, t)
			if err != nil {
				return err
			}
			if to == "" {
				_, err = io.WriteString(c.OutOrStdout(), text)
				return err
			}
			return os.WriteFile(to, []byte(text), 0o644)
		},
	}
	f.add(c)
	c.Flags().StringVarP(&to, "output", "o", "", "file to write; without it standard output")
	c.Flags().BoolVar(&keep, "keep", false, "do not empty the accounts")
	return c
}
