package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"sabir/internal/admin"
	"sabir/internal/config"
	"sabir/internal/db"
	"sabir/internal/listen"
	"sabir/internal/observe"
	"sabir/mod"
)

// status says how bad a finding is.
type status string

const (
	good    status = "ok"
	warning status = "warning"
	bad     status = "error"
)

// finding is what the doctor says about one thing.
type finding struct {
	Check  string `json:"check"` // config, port, certificate, database, disk, clock …
	Status status `json:"status"`
	Text   string `json:"text"`
	Cure   string `json:"cure,omitempty"`
}

// doctor looks at everything that a server of a configuration needs.
type doctor struct {
	cfg      *config.Config
	door     *admin.Client // of the server that runs, nil if none does
	now      time.Time
	findings []finding
}

func newDoctor() *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong: configuration, ports, certificates, database, disk, clock",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			d := &doctor{now: time.Now()}
			d.examine(c.Context(), path)
			failed := false
			for _, f := range d.findings {
				failed = failed || f.Status == bad
				if asJSON {
					continue
				}
				fmt.Fprintf(c.OutOrStdout(), "%-7s  %-12s %s\n", f.Status, f.Check, f.Text)
				if f.Cure != "" {
					fmt.Fprintf(c.OutOrStdout(), "%-7s  %-12s → %s\n", "", "", f.Cure)
				}
			}
			if asJSON {
				if err := printJSON(c.OutOrStdout(), map[string]any{"ok": !failed, "findings": d.findings}); err != nil {
					return err
				}
			}
			if failed {
				return silentError{}
			}
			return nil
		},
	}
	configFlag(c, &path)
	c.Flags().BoolVar(&asJSON, "json", false, "print one line of JSON")
	return c
}

func (d *doctor) say(check string, s status, cure, format string, args ...any) {
	d.findings = append(d.findings, finding{check, s, fmt.Sprintf(format, args...), cure})
}

func (d *doctor) examine(ctx context.Context, path string) {
	if !d.config(path) {
		d.clock()
		return
	}
	d.server(ctx)
	d.federation(ctx)
	d.ports(ctx)
	d.certificates(ctx)
	d.database(ctx)
	d.disk()
	d.descriptors()
	d.clock()
}

func (d *doctor) config(path string) bool {
	path, err := findConfig(path)
	if err != nil {
		d.say("config", bad, "`sabir config example` prints one to start from", "there is no configuration file")
		return false
	}
	d.cfg, err = config.Load(path, sections())
	var es config.Errors
	switch {
	case errors.As(err, &es):
		for _, e := range es {
			d.say("config", bad, e.Cure, "%s:%d: %s: %s", e.File, e.Line, e.Key, e.Problem)
		}
		return false
	case err != nil:
		d.say("config", bad, "", "%v", err)
		return false
	}
	d.say("config", good, "", "%s is good", path)
	if d.cfg.Insecure {
		d.say("config", warning, "remove `insecure` unless this is for tests", "TLS is optional and passwords may travel in the clear")
	}
	if fi, err := os.Stat(path); err == nil && fi.Mode().Perm()&0o022 != 0 {
		d.say("config", warning, "chmod go-w "+path, "others than its owner may change %s", path)
	}
	return true
}

// federation asks the running server which others it cannot reach.
func (d *doctor) federation(ctx context.Context) {
	if d.door == nil || !d.cfg.S2S.Enabled {
		return
	}
	var f admin.Federation
	if err := d.door.Run(ctx, "s2s list", admin.NoArgs{}, &f); err != nil {
		d.say("federation", warning, "look at the log of the server", "asking for the streams with other servers: %v", err)
		return
	}
	open := 0
	for _, s := range f.Streams {
		if s.Problem != "" || s.Direction == "none" && s.Waiting > 0 {
			d.say("federation", warning, "sabir s2s check "+s.Remote+" --from "+s.Local, "%s cannot be reached from %s: %d messages wait. %s", s.Remote, s.Local, s.Waiting, s.Problem)
		} else if s.Proved {
			open++
		}
	}
	d.say("federation", good, "", "%d streams with other servers are open", open)
}

func (d *doctor) server(ctx context.Context) {
	door, err := admin.Dial(ctx, d.cfg.DataDir)
	switch {
	case errors.Is(err, admin.ErrNotRunning):
		d.say("server", good, "", "no server is running with this configuration")
		return
	case err != nil:
		d.say("server", warning, "look at admin.json in "+d.cfg.DataDir, "asking the running server: %v", err)
		return
	}
	d.door = door
	var r observe.Report
	if err := door.Run(ctx, "health", admin.NoArgs{}, &r); err != nil {
		d.say("server", bad, "look at its log", "the server does not answer: %v", err)
		return
	}
	if !r.Ready {
		d.say("server", bad, "look at its log", "the server (pid %d) is not ready: %s %v", door.Door().PID, r.Reason, r.Checks)
		return
	}
	d.say("server", good, "", "the server (pid %d) is running and ready", door.Door().PID)
}

// ports tries each socket that the configuration wants.
func (d *doctor) ports(ctx context.Context) {
	for _, l := range d.cfg.Listen {
		_, port, err := net.SplitHostPort(l.Address)
		if err != nil || port == "0" {
			continue
		}
		ln, err := listen.Open(ctx, l, listen.Options{})
		switch {
		case err == nil:
			d.say("port", good, "", "%s is free for %s", l.Address, l.Purpose)
			if err := ln.Close(); err != nil {
				d.say("port", warning, "", "closing %s: %v", l.Address, err)
			}
		case d.door != nil && errors.Is(err, syscall.EADDRINUSE):
			d.say("port", good, "", "%s is in use, and the server is running", l.Address)
		default:
			d.say("port", bad, "", "%v", err)
		}
	}
}

func (d *doctor) database(ctx context.Context) {
	url := d.cfg.Database.URL.Reveal()
	path, sqlite := strings.CutPrefix(url, "sqlite:")
	if sqlite && d.door != nil {
		return // the server has it open, and has told above whether it is well
	}
	if sqlite {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			d.say("database", good, "", "%s is made at the first start", path)
			return
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	x, err := db.Open(ctx, url, db.Options{})
	if err != nil {
		cure := "check the path and its owner"
		if !sqlite {
			cure = "check that PostgreSQL runs, and the host, user and password in database.url"
		}
		d.say("database", bad, cure, "%v", err)
		return
	}
	var one int
	if err := x.QueryRow(ctx, `SELECT 1`).Scan(&one); err != nil {
		d.say("database", bad, "look at the database's log", "it does not answer: %v", err)
	} else {
		d.say("database", good, "", "%s answers", x.Dialect())
	}
	if x.Dialect() == mod.SQLite {
		if err := x.Check(ctx); err != nil {
			d.say("database", bad, "restore a backup, and check the disk", "%s is damaged: %v", path, err)
		}
	}
	if err := x.Close(); err != nil {
		d.say("database", warning, "", "closing it: %v", err)
	}
}

// The room on the disk below which the doctor warns and complains.
const (
	littleDisk = 1 << 30
	noDisk     = 100 << 20
)

func (d *doctor) disk() {
	dir := d.cfg.DataDir
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	free, files, err := room(dir)
	if err != nil {
		d.say("disk", warning, "", "asking for the room in %s: %v", dir, err)
		return
	}
	text := fmt.Sprintf("%d MiB are free in %s", free>>20, dir)
	switch {
	case free < noDisk:
		d.say("disk", bad, "make room: without it nothing can be stored, and messages are refused", "%s", text)
	case free < littleDisk:
		d.say("disk", warning, "make room", "%s", text)
	default:
		d.say("disk", good, "", "%s", text)
	}
	if files < 1000 {
		d.say("disk", warning, "remove files", "only %d more files fit in %s", files, dir)
	}
	if fi, err := os.Stat(d.cfg.DataDir); err == nil && fi.Mode().Perm()&0o077 != 0 {
		d.say("disk", warning, "chmod 0700 "+d.cfg.DataDir, "others than its owner may look into the data folder")
	}
}

// fewDescriptors is less than a server for an organisation should have.
const fewDescriptors = 8192

func (d *doctor) descriptors() {
	most, err := descriptors()
	if err != nil {
		d.say("descriptors", warning, "", "asking for the limit: %v", err)
		return
	}
	if most < fewDescriptors {
		d.say("descriptors", warning, "raise LimitNOFILE in the unit, or `ulimit -n`", "only %d connections fit", most)
		return
	}
	d.say("descriptors", good, "", "up to %d connections fit", most)
}

// clock looks for signs of a wrong time. There is nobody to ask: what is known is when the program was built, and what the kernel
// says of its synchronisation.
func (d *doctor) clock() {
	if built, err := time.Parse(time.RFC3339, programVersion().Time); err == nil && d.now.Before(built.Add(-24*time.Hour)) {
		d.say("clock", bad, "set the clock", "it shows %s, before this program was built", d.now.UTC().Format(time.RFC3339))
		return
	}
	shown := d.now.UTC().Format(time.RFC3339)
	switch synchronised() {
	case yes:
		d.say("clock", good, "", "it shows %s and is synchronised", shown)
	case no:
		d.say("clock", warning, "run chrony or systemd-timesyncd (timedatectl set-ntp true)", "it shows %s and nothing keeps it right", shown)
	default:
		d.say("clock", good, "", "it shows %s; the system does not tell whether it is synchronised", shown)
	}
}

// answer is one that the operating system may not have.
type answer uint8

const (
	unknown answer = iota
	yes
	no
)
