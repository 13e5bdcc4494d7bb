// Command bench measures what work costs a server and its peers, and prints the
// table of docs: rows of work by servers, with the thresholds that Sabir must
// hold. See bench/README.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"sabir/bench/load"
)

// password of every account; they live on loopback, for minutes.
const password = "bench-password"

// rowTimeout bounds one measurement, its logins included.
const rowTimeout = 10 * time.Minute

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// plan is what the flags ask for.
type plan struct {
	rows    []load.Row
	servers []load.Server
	options load.Options
	repeat  int
	port    int
	scratch string
	pg      string // path of the script that runs PostgreSQL
}

func run() error {
	var (
		rows    = flag.String("rows", "all", "comma-separated `keys`: chat,archive,archive-pg,rate,room,join,s2s,login,presence,pubsub,pep,idle1000,idle5000,empty")
		servers = flag.String("servers", "floor,ejabberd,prosody,sabir", "comma-separated `names`, prosody-shipped being one more")
		repeat  = flag.Int("repeat", 3, "measure each `n` times and take medians")
		sabir   = flag.String("sabir", "bin/sabir", "Sabir's `command`, further arguments for \"sabir local\" after it")
		floor   = flag.String("floor", "bin/floor", "`path` of the program in bench/floor")
		peers   = flag.String("peers", "bench/peers/peer.sh", "`path` of the script that runs the peers")
		pg      = flag.String("postgres", "scripts/postgres-test.sh", "`path` of the script that runs PostgreSQL")
		port    = flag.Int("port", 15222, "first `port` to use, on loopback")
		asJSON  = flag.String("json", "", "write all measurements to `file` too")
		o       = load.Defaults
	)
	flag.DurationVar(&o.Time, "time", o.Time, "`duration` of each timed measurement")
	flag.DurationVar(&o.Settle, "settle", o.Settle, "`duration` before memory is read")
	flag.IntVar(&o.Pairs, "pairs", o.Pairs, "`pairs` of clients that chat")
	flag.IntVar(&o.Rate, "rate", o.Rate, "messages per `second` in the row of fixed rate")
	flag.IntVar(&o.Logins, "logins", o.Logins, "`logins` to measure")
	flag.IntVar(&o.Subscribers, "subscribers", o.Subscribers, "`subscribers` of one node")
	flag.IntVar(&o.Items, "items", o.Items, "`items` that are published to the node, twenty times as many to the account")
	flag.IntVar(&o.Contacts, "contacts", o.Contacts, "`contacts` that follow one account")
	flag.IntVar(&o.Rounds, "rounds", o.Rounds, "changes of presence per contact")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if *repeat < 1 || *repeat > 99 {
		return errors.New("-repeat must be from 1 to 99")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	scratch, err := os.MkdirTemp("", "sabir-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	// The peers run as users of their own and keep their state below it.
	if err := os.Chmod(scratch, 0o755); err != nil {
		return err
	}
	p := plan{options: o, repeat: *repeat, port: *port, scratch: scratch}
	if p.pg, err = filepath.Abs(*pg); err != nil {
		return err
	}
	script, err := filepath.Abs(*peers)
	if err != nil {
		return err
	}
	if p.rows, err = choose(load.Rows(), *rows, func(r load.Row) string { return r.Key }); err != nil {
		return err
	}
	all := load.Servers(script, *floor, strings.Fields(*sabir))
	if p.servers, err = choose(all, *servers, func(s load.Server) string { return s.Name }); err != nil {
		return err
	}
	t := p.measure(ctx)
	if *asJSON != "" {
		b, err := json.MarshalIndent(t.All(), "", " ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(*asJSON, append(b, '\n'), 0o644); err != nil {
			return err
		}
	}
	if err := t.Write(os.Stdout); err != nil {
		return err
	}
	return ctx.Err()
}

// choose returns those of all whose key is in list.
func choose[T any](all []T, list string, key func(T) string) ([]T, error) {
	if list == "all" {
		return all, nil
	}
	wanted := strings.Split(list, ",")
	var out []T
	for _, x := range all {
		if i := slices.Index(wanted, key(x)); i >= 0 {
			out = append(out, x)
			wanted = slices.Delete(wanted, i, i+1)
		}
	}
	if len(wanted) > 0 {
		return nil, fmt.Errorf("there is no %q", wanted[0])
	}
	return out, nil
}

// measure fills a table. Servers take turns within a repetition, so that what
// disturbs the machine for a while disturbs all of them.
func (p plan) measure(ctx context.Context) *load.Table {
	t := &load.Table{Rows: p.rows}
	for _, s := range p.servers {
		t.Servers = append(t.Servers, s.Name)
	}
	for n := range p.repeat {
		for _, s := range p.servers {
			for _, group := range groups(p.rows, s.Floor) {
				if ctx.Err() != nil {
					return t
				}
				fmt.Fprintf(os.Stderr, "%d/%d %s:", n+1, p.repeat, s.Name)
				if err := p.measureGroup(ctx, t, s, group); err != nil {
					for _, row := range group {
						t.Fail(row.Key, s.Name, err)
					}
					fmt.Fprintf(os.Stderr, " %v", err)
				}
				fmt.Fprintln(os.Stderr)
			}
		}
	}
	return t
}

// groups are the rows that may share one run of a server, in turn.
func groups(rows []load.Row, floor bool) [][]load.Row {
	var alone, plain, archive [][]load.Row
	for _, r := range rows {
		switch {
		case floor && !r.Floor:
		case r.Alone || r.Two:
			alone = append(alone, []load.Row{r})
		case r.Archive:
			archive = append(archive, []load.Row{r})
		case len(plain) == 0:
			plain = append(plain, []load.Row{r})
		default:
			plain[0] = append(plain[0], r)
		}
	}
	return slices.Concat(alone, plain, archive)
}

// measureGroup runs one server for some rows.
func (p plan) measureGroup(ctx context.Context, t *load.Table, s load.Server, rows []load.Row) (err error) {
	dir, err := os.MkdirTemp(p.scratch, s.Name+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	setup := load.Setup{Dir: dir, Port: p.port, Password: password}
	for _, r := range rows {
		setup.Accounts = max(setup.Accounts, r.Accounts(p.options))
		setup.Archive = setup.Archive || r.Archive
		if r.Subscribers != nil {
			setup.Subscribers = r.Subscribers(p.options)
		}
	}
	if rows[0].Postgres {
		if setup.Database, err = load.StartDatabase(ctx, p.pg, filepath.Join(p.scratch, "pg")); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, setup.Database.Stop()) }()
	}
	start := s.Start
	if rows[0].Two {
		start = s.StartTwo
	}
	running, err := start(ctx, setup)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, running.Stop()) }()
	for _, row := range rows {
		rowCtx, cancel := context.WithTimeout(ctx, rowTimeout)
		r, err := row.Run(rowCtx, running, p.options)
		cancel()
		if err != nil {
			t.Fail(row.Key, s.Name, err)
			fmt.Fprintf(os.Stderr, " %s failed: %v;", row.Key, err)
			continue
		}
		t.Add(row.Key, s.Name, r)
		fmt.Fprintf(os.Stderr, " %s %s", row.Key, row.Unit.Format(r.Value))
		if r.PerSecond > 0 {
			fmt.Fprintf(os.Stderr, " (%.0f/s)", r.PerSecond)
		}
		fmt.Fprint(os.Stderr, ";")
	}
	return nil
}
