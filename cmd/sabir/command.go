package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"sabir/internal/admin"
	"sabir/mod"
)

// newExtensionCommands makes subcommands of the commands of extensions: "room list" is `sabir room list`. They are for a running
// server. Arguments that are required stand behind the command in their order, a list at the end; the others are flags. A secret is read
// from standard input.
func newExtensionCommands(extensions []mod.Info) []*cobra.Command {
	var groups []*cobra.Command
	for _, e := range extensions {
		for _, c := range e.Commands {
			first, rest, _ := strings.Cut(c.Name, " ")
			if c.Name == "" || rest == "" {
				continue
			}
			i := slices.IndexFunc(groups, func(g *cobra.Command) bool { return g.Use == first })
			if i < 0 {
				i = len(groups)
				groups = append(groups, newGroup(first, e.Name))
			}
			groups[i].AddCommand(newExtensionCommand(rest, c))
		}
	}
	return groups
}

func newGroup(name, extension string) *cobra.Command {
	g := &cobra.Command{
		Use: name, Short: "Commands of the extension " + extension + ", to a running server", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	g.PersistentFlags().StringP("config", "c", "", "the configuration file (default: sabir.toml here, sabir-local/sabir.toml, /etc/sabir/sabir.toml)")
	g.PersistentFlags().Bool("json", false, "print one line of JSON")
	g.PersistentFlags().String("host", "", "the domain of the host, where no address tells and there are several")
	return g
}

// positional are the arguments that stand behind the command.
func positional(c mod.Command) (all []mod.Arg) {
	for _, a := range c.Args {
		if a.Required && a.Type != mod.ArgSecret {
			all = append(all, a)
		}
	}
	return all
}

func isList(a mod.Arg) bool { return a.Type == mod.ArgLines || a.Type == mod.ArgAddresses }

func newExtensionCommand(name string, command mod.Command) *cobra.Command {
	args := positional(command)
	use, check := name, cobra.ExactArgs(len(args))
	for _, a := range args {
		use += " " + strings.ToUpper(a.Name)
		if isList(a) {
			use += "..."
			check = cobra.MinimumNArgs(len(args))
		}
	}
	long := command.Doc
	for _, a := range args {
		long += "\n\n" + strings.ToUpper(a.Name) + ": " + a.Doc
		if len(a.OneOf) > 0 {
			long += " One of " + strings.Join(a.OneOf, ", ") + "."
		}
	}
	c := &cobra.Command{Use: use, Short: strings.TrimSuffix(command.Doc, "."), Long: long, Args: check}
	for _, a := range command.Args {
		doc := strings.TrimSuffix(a.Doc, ".")
		switch {
		case a.Type == mod.ArgSecret:
			c.Flags().Bool(a.Name+"-stdin", false, "read from the first line of standard input: "+doc)
		case a.Required:
		case a.Type == mod.ArgFlag:
			c.Flags().Bool(a.Name, false, doc)
		case a.Type == mod.ArgNumber:
			c.Flags().Int(a.Name, 0, doc)
		case isList(a):
			c.Flags().StringArray(a.Name, nil, doc)
		default:
			c.Flags().String(a.Name, "", doc)
		}
	}
	c.RunE = func(c *cobra.Command, given []string) error {
		values, err := commandValues(c, command, given)
		if err != nil {
			return err
		}
		return runExtensionCommand(c, command, values)
	}
	return c
}

// commandValues reads the arguments from the command line.
func commandValues(c *cobra.Command, command mod.Command, given []string) (map[string]any, error) {
	values := make(map[string]any)
	for i, a := range positional(command) {
		switch {
		case isList(a):
			values[a.Name] = given[i:]
		case a.Type == mod.ArgNumber:
			n, err := strconv.Atoi(given[i])
			if err != nil {
				return nil, usageError{fmt.Errorf("%s is a whole number, not %q", a.Name, given[i])}
			}
			values[a.Name] = n
		default:
			values[a.Name] = given[i]
		}
	}
	for _, a := range command.Args {
		name := a.Name
		if a.Type == mod.ArgSecret {
			name += "-stdin"
		}
		f := c.Flags().Lookup(name)
		if f == nil || !f.Changed {
			continue
		}
		var err error
		switch {
		case a.Type == mod.ArgSecret:
			values[a.Name], err = bufio.NewReader(c.InOrStdin()).ReadString('\n')
			if errors.Is(err, io.EOF) {
				err = nil
			}
			values[a.Name] = strings.TrimRight(fmt.Sprint(values[a.Name]), "\r\n")
		case a.Type == mod.ArgFlag:
			values[a.Name], err = c.Flags().GetBool(name)
		case a.Type == mod.ArgNumber:
			values[a.Name], err = c.Flags().GetInt(name)
		case isList(a):
			values[a.Name], err = c.Flags().GetStringArray(name)
		default:
			values[a.Name], err = c.Flags().GetString(name)
		}
		if err != nil {
			return nil, err
		}
	}
	if host, err := c.Flags().GetString("host"); err != nil || host != "" {
		values["host"] = host
		return values, err
	}
	return values, nil
}

// runExtensionCommand gives the command to the running server and shows what it returns.
func runExtensionCommand(c *cobra.Command, command mod.Command, values map[string]any) error {
	path, err := c.Flags().GetString("config")
	if err != nil {
		return err
	}
	asJSON, err := c.Flags().GetBool("json")
	if err != nil {
		return err
	}
	if asJSON {
		var result json.RawMessage
		if err := giveRunning(c, path, command.Name, values, &result); err != nil {
			return err
		}
		fmt.Fprintln(c.OutOrStdout(), string(result))
		return nil
	}
	var t mod.Table
	if err := giveRunning(c, path, command.Name+admin.AsTable, values, &t); err != nil {
		return err
	}
	return showTable(c.OutOrStdout(), t)
}

// showTable prints the result of a command: what there is once as lines, a list as a table.
func showTable(out io.Writer, t mod.Table) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i, f := range t.Fields {
		value := strings.Join(t.Values[i], ", ")
		if len(t.Fields) == 1 && f.Name == "result" {
			fmt.Fprintln(w, value)
			continue
		}
		fmt.Fprintf(w, "%s\t%s\n", f.Name, value)
	}
	if len(t.Rows) > 0 {
		if len(t.Fields) > 0 {
			fmt.Fprintln(w)
		}
		var head []string
		for _, c := range t.Columns {
			head = append(head, strings.ToUpper(c.Name))
		}
		fmt.Fprintln(w, strings.Join(head, "\t"))
	}
	for _, row := range t.Rows {
		var cells []string
		for _, c := range row {
			cells = append(cells, strings.Join(c, ", "))
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}
