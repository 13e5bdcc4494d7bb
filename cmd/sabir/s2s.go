package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"sabir/internal/admin"
	"sabir/internal/s2s"
)

func newS2S() *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "s2s",
		Short: "See and keep the streams with other servers, of a running server",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	configFlag(c, &path)
	c.PersistentFlags().BoolVar(&asJSON, "json", false, "print one line of JSON")
	c.AddCommand(
		newS2SList(&path, &asJSON),
		newS2SCheck(&path, &asJSON),
		domainCommand("close DOMAIN", "End the streams with a domain; what waits is tried anew", "s2s close", &path, &asJSON),
		domainCommand("block DOMAIN", "Close a domain, or with *.DOMAIN all below one, until it is unblocked", "s2s block", &path, &asJSON),
		domainCommand("unblock DOMAIN", "Open a domain that was blocked", "s2s unblock", &path, &asJSON),
	)
	return c
}

func newS2SList(path *string, asJSON *bool) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the streams with other servers and what waits for them",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var f admin.Federation
			if err := give(c.Context(), *path, "s2s list", admin.NoArgs{}, &f); err != nil {
				return err
			}
			if *asJSON {
				return printJSON(c.OutOrStdout(), f)
			}
			for _, s := range f.Streams {
				fmt.Fprintln(c.OutOrStdout(), streamLine(s))
			}
			for _, d := range f.Blocked {
				fmt.Fprintf(c.OutOrStdout(), "blocked  %s\n", d)
			}
			return nil
		},
	}
}

// streamLine tells of a stream in one line.
func streamLine(s s2s.Status) string {
	line := fmt.Sprintf("%-4s  %s → %s", s.Direction, s.Local, s.Remote)
	if s.Direction == "in" {
		line = fmt.Sprintf("%-4s  %s → %s", s.Direction, s.Remote, s.Local)
	}
	if s.Address != "" {
		line += "  " + s.Address
	}
	if !s.Since.IsZero() {
		line += "  since " + s.Since.UTC().Format(time.DateTime)
	}
	if s.Direction == "in" && !s.Proved {
		line += "  not proved"
	}
	if s.BothWays {
		line += "  both ways"
	}
	if s.Waiting+s.Unacked > 0 {
		line += fmt.Sprintf("  %d waiting, %d not acknowledged, %d bytes", s.Waiting, s.Unacked, s.Bytes)
	}
	if s.Problem != "" {
		line += "  " + s.Problem
	}
	return line
}

func newS2SCheck(path *string, asJSON *bool) *cobra.Command {
	var from string
	c := &cobra.Command{
		Use:   "check DOMAIN",
		Short: "Look at the way to a domain: DNS, addresses, TLS, certificate, what its server offers",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var list []s2s.Finding
			if err := give(c.Context(), *path, "s2s check", admin.CheckArgs{Domain: args[0], From: from}, &list); err != nil {
				return err
			}
			failed := false
			for _, f := range list {
				failed = failed || f.Status == string(bad)
				if *asJSON {
					continue
				}
				fmt.Fprintf(c.OutOrStdout(), "%-7s  %-12s %s\n", f.Status, f.Check, f.Text)
				if f.Cure != "" {
					fmt.Fprintf(c.OutOrStdout(), "%-7s  %-12s → %s\n", "", "", f.Cure)
				}
			}
			if *asJSON {
				if err := printJSON(c.OutOrStdout(), map[string]any{"ok": !failed, "findings": list}); err != nil {
					return err
				}
			}
			if failed {
				return silentError{}
			}
			return nil
		},
	}
	c.Flags().StringVar(&from, "from", "", "the domain of ours from which to connect (default: the first)")
	return c
}

// domainCommand is a command about one remote domain.
func domainCommand(use, short, command string, path *string, asJSON *bool) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var r admin.Count
			if err := give(c.Context(), *path, command, admin.DomainArgs{Domain: args[0]}, &r); err != nil {
				return err
			}
			switch {
			case *asJSON:
				return printJSON(c.OutOrStdout(), r)
			case command == "s2s close":
				fmt.Fprintf(c.OutOrStdout(), "%d streams with %s ended.\n", r.Count, args[0])
			default:
				fmt.Fprintf(c.OutOrStdout(), "%s: %sed.\n", args[0], command[len("s2s "):])
			}
			return nil
		},
	}
}
