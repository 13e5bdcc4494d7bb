package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"sabir/internal/admin"
	"sabir/internal/config"
	"sabir/xmpp/jid"
)

// giveRunning runs a command in the server that runs with the configuration.
func giveRunning(c *cobra.Command, path, command string, args, result any) error {
	cfg, err := loadConfig(path)
	if err != nil {
		return err
	}
	client, err := admin.Dial(c.Context(), cfg.DataDir)
	if err != nil {
		return err
	}
	return client.Run(c.Context(), command, args, result)
}

func newReload() *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "reload",
		Short: "Make the running server read its configuration again",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var changes []config.Change
			if err := giveRunning(c, path, "reload", admin.NoArgs{}, &changes); err != nil {
				return err
			}
			return showChanges(c.OutOrStdout(), changes, asJSON)
		},
	}
	configFlag(c, &path)
	c.Flags().BoolVar(&asJSON, "json", false, "print one line of JSON")
	return c
}

func newStop() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "stop",
		Short: "Stop the running server; its clients are told",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var r struct{}
			if err := giveRunning(c, path, "stop", admin.NoArgs{}, &r); err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), "The server stops.")
			return nil
		},
	}
	configFlag(c, &path)
	return c
}

func newSession() *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "session",
		Short: "List and end the sessions of the running server",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	configFlag(c, &path)
	c.PersistentFlags().BoolVar(&asJSON, "json", false, "print one line of JSON")
	c.AddCommand(&cobra.Command{
		Use:   "list [USER@DOMAIN]",
		Short: "List sessions",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var a admin.SessionArgs
			if len(args) > 0 {
				j, err := address(args[0])
				if err != nil {
					return err
				}
				a.JID = j
			}
			var list []admin.Session
			if err := giveRunning(c, path, "session list", a, &list); err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), list)
			}
			for _, s := range list {
				waits := ""
				if s.Waiting {
					waits = "  waits for its client"
				}
				fmt.Fprintf(c.OutOrStdout(), "%s  %s  priority %d%s\n", s.LastActive.UTC().Format(time.RFC3339), s.JID, s.Priority, waits)
			}
			return nil
		},
	}, &cobra.Command{
		Use:   "close USER@DOMAIN[/RESOURCE]",
		Short: "End one session, or all of an account",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			j, err := jid.Parse(args[0])
			if err != nil {
				return usageError{fmt.Errorf("%q: %w", args[0], err)}
			}
			var r admin.Count
			if err := giveRunning(c, path, "session close", admin.CloseArgs{JID: j}, &r); err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), r)
			}
			fmt.Fprintf(c.OutOrStdout(), "%d sessions ended.\n", r.Count)
			return nil
		},
	})
	return c
}
