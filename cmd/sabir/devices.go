package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sabir/internal/admin"
)

func newAccountDevices(path *string, asJSON *bool) *cobra.Command {
	return &cobra.Command{
		Use:   "devices USER@DOMAIN",
		Short: "List the clients with access to an account",
		Long:  "List the clients with access to an account: when each was last seen, its id, how it logs in, and what it says of itself.",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			j, err := address(args[0])
			if err != nil {
				return err
			}
			var list []admin.Device
			if err := give(c.Context(), *path, "account devices", admin.AccountArgs{JID: j}, &list); err != nil {
				return err
			}
			if *asJSON {
				return printJSON(c.OutOrStdout(), list)
			}
			for _, d := range list {
				fmt.Fprintf(c.OutOrStdout(), "%s  %s  %s\n", d.LastSeen.UTC().Format(time.DateTime), d.ID, describe(d))
			}
			return nil
		},
	}
}

// describe says what is known of a client. What it says of itself is quoted: it may say anything.
func describe(d admin.Device) string {
	var words []string
	for _, w := range []struct {
		is   bool
		text string
	}{{d.Connected, "connected"}, {d.Password, "password"}, {d.Token, "token"}, {d.Software != "", fmt.Sprintf("%q", d.Software)}, {d.Device != "", fmt.Sprintf("%q", d.Device)}} {
		if w.is {
			words = append(words, w.text)
		}
	}
	return strings.Join(words, " ")
}

func newAccountRevoke(path *string, asJSON *bool) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke USER@DOMAIN ID",
		Short: "Take the access of a client away and end its sessions",
		Long:  "Take the access of a client away and end its sessions. One that knows the password can come back with it: set a new one as well (sabir account passwd).",
		Args:  cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			j, err := address(args[0])
			if err != nil {
				return err
			}
			a := admin.DeviceArgs{JID: j, Device: args[1]}
			var r map[string]any
			if err := give(c.Context(), *path, "account revoke", a, &r); err != nil {
				return err
			}
			if *asJSON {
				return printJSON(c.OutOrStdout(), a)
			}
			fmt.Fprintf(c.OutOrStdout(), "The access of %s to %s was revoked.\n", args[1], j)
			return nil
		},
	}
}
