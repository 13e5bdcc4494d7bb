package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"sabir/internal/config"
	"sabir/internal/server"
)

// sections describes the settings of all extensions.
func sections() []config.Section { return server.Sections(nil) }

func newConfig() *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Check, explain and compare configurations",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newConfigCheck(), newConfigExample(), newConfigDescribe(), newConfigDiff())
	return c
}

// fileArg returns the file that was named as an argument or by --config, or found.
func fileArg(args []string, flag string) (string, error) {
	if len(args) > 0 {
		if flag != "" {
			return "", usageError{errors.New("name the file once")}
		}
		return args[0], nil
	}
	return findConfig(flag)
}

func newConfigCheck() *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Tell what is wrong with a configuration",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			path, err := fileArg(args, path)
			if err != nil {
				return err
			}
			_, err = config.Load(path, sections())
			var es config.Errors
			if err != nil && !errors.As(err, &es) {
				return err
			}
			if asJSON {
				if es == nil {
					es = config.Errors{}
				}
				if err := printJSON(c.OutOrStdout(), map[string]any{"file": path, "ok": len(es) == 0, "errors": es}); err != nil {
					return err
				}
			} else if len(es) == 0 {
				fmt.Fprintf(c.OutOrStdout(), "%s is good.\n", path)
			}
			if len(es) == 0 {
				return nil
			}
			if !asJSON {
				fmt.Fprintln(c.ErrOrStderr(), es)
			}
			return silentError{}
		},
	}
	configFlag(c, &path)
	c.Flags().BoolVar(&asJSON, "json", false, "print one line of JSON")
	return c
}

func newConfigExample() *cobra.Command {
	return &cobra.Command{
		Use:   "example",
		Short: "Print a configuration file that explains every setting",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := io.WriteString(c.OutOrStdout(), config.Example(sections()))
			return err
		},
	}
}

func newConfigDescribe() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "describe [KEY]",
		Short: "Explain the settings whose names begin with KEY, or all",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			list := []config.Setting{}
			for _, s := range config.Describe(sections()) {
				if len(args) == 0 || s.Key == args[0] || strings.HasPrefix(s.Key, args[0]+".") || strings.HasPrefix(s.Key, args[0]+"[") {
					list = append(list, s)
				}
			}
			if len(list) == 0 {
				return fmt.Errorf("there is no setting %s", args[0])
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), list)
			}
			for _, s := range list {
				about := []string{s.Type}
				if s.Default != "" {
					about = append(about, "default "+s.Default)
				}
				if s.Bounds != "" {
					about = append(about, s.Bounds)
				}
				if s.Restart {
					about = append(about, "a change needs a restart")
				}
				fmt.Fprintf(c.OutOrStdout(), "%s: %s\n    %s\n", s.Key, strings.Join(about, "; "), s.Doc)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one line of JSON")
	return c
}

func newConfigDiff() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Tell in which settings two files differ, and which changes need a restart",
		Args:  cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			before, err := config.Load(args[0], sections())
			if err != nil {
				return err
			}
			now, err := config.Load(args[1], sections())
			if err != nil {
				return err
			}
			return showChanges(c.OutOrStdout(), config.Diff(before, now), asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one line of JSON")
	return c
}

func showChanges(w io.Writer, changes []config.Change, asJSON bool) error {
	if asJSON {
		if changes == nil {
			changes = []config.Change{}
		}
		return printJSON(w, changes)
	}
	if len(changes) == 0 {
		fmt.Fprintln(w, "Nothing differs.")
	}
	for _, c := range changes {
		fmt.Fprintln(w, c)
	}
	return nil
}
