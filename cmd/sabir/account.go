package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sabir/internal/admin"
	"sabir/internal/auth"
	"sabir/internal/config"
	"sabir/internal/db"
	"sabir/mod/all"
	"sabir/xmpp/jid"
)

// give runs a command: within the server where one runs with the configuration, otherwise in this process.
func give(ctx context.Context, path, command string, args, result any) error {
	cfg, err := loadConfig(path)
	if err != nil {
		return err
	}
	client, err := admin.Dial(ctx, cfg.DataDir)
	if err == nil {
		return client.Run(ctx, command, args, result)
	}
	if !errors.Is(err, admin.ErrNotRunning) {
		return err
	}
	return giveStopped(ctx, cfg, command, args, result)
}

func giveStopped(ctx context.Context, cfg *config.Config, command string, args, result any) error {
	b, err := openStopped(ctx, cfg)
	if err != nil {
		return err
	}
	err = admin.New(all.Extensions).Call(ctx, b, command, args, result)
	if cerr := b.db.Close(); !errors.Is(cerr, db.ErrClosed) {
		err = errors.Join(err, cerr)
	}
	return err
}

// address reads an argument of the form user@domain.
func address(s string) (jid.JID, error) {
	j, err := jid.Parse(s)
	if err == nil && (j.Local() == "" || j.IsFull()) {
		err = errors.New("it is not of the form user@domain")
	}
	if err != nil {
		return j, usageError{fmt.Errorf("%q: %w", s, err)}
	}
	return j, nil
}

func newAccount() *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "account",
		Short: "Keep accounts, of a running server or of a stopped one",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	configFlag(c, &path)
	c.PersistentFlags().BoolVar(&asJSON, "json", false, "print one line of JSON")
	c.AddCommand(
		passwordCommand("add USER@DOMAIN", "Make an account", "account add", "Account %s made.", &path, &asJSON),
		passwordCommand("passwd USER@DOMAIN", "Set the password of an account", "account passwd", "Password of %s set.", &path, &asJSON),
		accountCommand("disable USER@DOMAIN", "Close an account to logins and end its sessions", "account disable", "Account %s disabled.", &path, &asJSON),
		accountCommand("enable USER@DOMAIN", "Open a disabled account again", "account enable", "Account %s enabled.", &path, &asJSON),
		accountCommand("delete USER@DOMAIN", "Remove an account and all that is kept of it", "account delete", "Account %s deleted.", &path, &asJSON),
		newAccountList(&path, &asJSON),
		newAccountDevices(&path, &asJSON),
		newAccountRevoke(&path, &asJSON),
		newAccountImport(&path, &asJSON),
	)
	return c
}

// passwordCommand is a command that sets a password. It comes from standard input, so that it stands neither in the list of processes nor in the
// shell's history; or it is made.
func passwordCommand(use, short, command, done string, path *string, asJSON *bool) *cobra.Command {
	var fromInput bool
	c := &cobra.Command{
		Use:   use,
		Short: short,
		Long:  short + ". Without --password-stdin a random password is made and shown once.",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			j, err := address(args[0])
			if err != nil {
				return err
			}
			a := admin.PasswordArgs{JID: j}
			if fromInput {
				line, err := bufio.NewReader(c.InOrStdin()).ReadString('\n')
				if err != nil && !errors.Is(err, io.EOF) {
					return fmt.Errorf("reading the password: %w", err)
				}
				if line = strings.TrimRight(line, "\r\n"); line == "" {
					return errors.New("there is no password on standard input")
				}
				a.Password = admin.Secret(line)
			}
			var r admin.PasswordResult
			if err := give(c.Context(), *path, command, a, &r); err != nil {
				return err
			}
			if *asJSON {
				return printJSON(c.OutOrStdout(), r)
			}
			fmt.Fprintf(c.OutOrStdout(), done+"\n", r.JID)
			if r.Password != "" {
				fmt.Fprintf(c.OutOrStdout(), "Password (shown only now): %s\n", string(r.Password))
			}
			return nil
		},
	}
	c.Flags().BoolVar(&fromInput, "password-stdin", false, "read the password from the first line of standard input")
	return c
}

// accountCommand is a command about one account without a result.
func accountCommand(use, short, command, done string, path *string, asJSON *bool) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			j, err := address(args[0])
			if err != nil {
				return err
			}
			var r map[string]any
			if err := give(c.Context(), *path, command, admin.AccountArgs{JID: j}, &r); err != nil {
				return err
			}
			if *asJSON {
				return printJSON(c.OutOrStdout(), admin.AccountArgs{JID: j})
			}
			fmt.Fprintf(c.OutOrStdout(), done+"\n", j)
			return nil
		},
	}
}

func newAccountList(path *string, asJSON *bool) *cobra.Command {
	return &cobra.Command{
		Use:   "list [DOMAIN]",
		Short: "List accounts",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var a admin.ListArgs
			if len(args) > 0 {
				a.Domain = args[0]
			}
			var list []auth.Account
			if err := give(c.Context(), *path, "account list", a, &list); err != nil {
				return err
			}
			if *asJSON {
				return printJSON(c.OutOrStdout(), list)
			}
			for _, a := range list {
				state := ""
				if a.Disabled {
					state = "  disabled"
				}
				fmt.Fprintf(c.OutOrStdout(), "%s  %s%s\n", a.Created.UTC().Format(time.DateOnly), a.JID, state)
			}
			return nil
		},
	}
}

func newAccountImport(path *string, asJSON *bool) *cobra.Command {
	var a admin.ImportArgs
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Make accounts from CSV with lines jid,password; - reads standard input",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			text, err := readInput(c, args[0])
			if err != nil {
				return err
			}
			a.CSV = admin.Secret(text)
			var r auth.ImportResult
			if err := give(c.Context(), *path, "account import", a, &r); err != nil {
				return err
			}
			if *asJSON {
				err = printJSON(c.OutOrStdout(), r)
			} else {
				for _, p := range r.Problems {
					fmt.Fprintln(c.ErrOrStderr(), p)
				}
				fmt.Fprintf(c.OutOrStdout(), "%d accounts imported, %d existed and stay as they are, %d lines failed.\n", r.Imported, r.Existing, r.Failed)
			}
			if err == nil && r.Failed > 0 {
				return silentError{}
			}
			return err
		},
	}
	c.Flags().BoolVar(&a.Replace, "replace", false, "give accounts that exist the password of the file")
	c.Flags().IntVar(&a.Iterations, "scram-iterations", 0, "iterations of PBKDF2 instead of those of the configuration")
	return c
}

func readInput(c *cobra.Command, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(c.InOrStdin())
	}
	return os.ReadFile(name)
}
