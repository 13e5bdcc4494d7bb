package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"sabir/internal/admin"
	"sabir/internal/config"
	"sabir/internal/disk"
	"sabir/internal/observe"
	"sabir/internal/server"
)

func newServe() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long:  "Run the server until it gets SIGINT or SIGTERM. SIGHUP, or `sabir reload`, makes it read its configuration again; a wrong one is never put in force.",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig(path)
			if err != nil {
				return err
			}
			return serve(c.Context(), cfg, c.ErrOrStderr(), nil)
		},
	}
	configFlag(c, &path)
	return c
}

// serve runs a server until ctx ends, a command stops it or it fails. ready, which may be nil, is called before the first connection is
// accepted; its error ends the server.
func serve(ctx context.Context, cfg *config.Config, stderr io.Writer, ready func(ctx context.Context, s *server.Server) error) error {
	log, level, err := observe.NewLogger(stderr, cfg.Log.Level, cfg.Log.Format)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	if c, err := admin.Dial(ctx, cfg.DataDir); err == nil {
		return fmt.Errorf("a server (pid %d) is running with the data folder %s already: stop it, or choose another folder", c.Door().PID, cfg.DataDir)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	handler := new(lateHandler)
	s, err := server.New(ctx, cfg, server.Options{Log: log, Level: level, CrashPoint: crashPoint(log), Stop: stop, Admin: func(*server.Server) http.Handler { return handler }})
	if err != nil {
		return err
	}
	b := s.Backend()
	door, err := admin.OpenDoor(disk.OS{}, cfg.DataDir, s.Addr(config.Admin))
	if err == nil {
		handler.Handler = admin.Handler(s.Registry(), b, door.Token, log)
		if ready != nil {
			err = ready(ctx, s)
		}
	}
	if err != nil {
		stop()
		return errors.Join(err, s.Serve(ctx)) // which closes what New has opened
	}
	go reloadOnHangup(ctx, b, log)
	log.Info("serving", "pid", os.Getpid(), "version", programVersion().Version, "config", cfg.Path())
	err = s.Serve(ctx)
	if cerr := door.CloseDoor(cfg.DataDir); !errors.Is(cerr, fs.ErrNotExist) {
		err = errors.Join(err, cerr)
	}
	log.Info("stopped")
	return err
}

// lateHandler stands in for the commands until the token is known. It is set before the server serves.
type lateHandler struct{ http.Handler }

// reloadOnHangup reloads at each SIGHUP.
func reloadOnHangup(ctx context.Context, b admin.Backend, log *slog.Logger) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
		}
		changes, err := b.Reload(ctx)
		if err != nil {
			log.Error("the configuration before stays in force", "error", err)
			continue
		}
		for _, c := range changes {
			log.Info("changed", "setting", c.Key, "from", c.Old, "to", c.New)
		}
		log.Info("configuration read again", "changes", len(changes))
	}
}
