// Command room10k fills one room of a Sabir with occupants over connections of their own, and prints what that costs: an entry
// as the room grows, memory, a message to all, and many who come at once.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"sabir/bench/load"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "room10k:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	size := load.Crowd{}
	flag.IntVar(&size.Occupants, "n", 10_000, "`occupants`")
	flag.BoolVar(&size.Everybody, "everybody", false, "the room tells all of everybody's coming, which grows with the square of the occupants")
	flag.IntVar(&size.Steps, "steps", 10, "`steps` in which they enter")
	flag.IntVar(&size.Messages, "messages", 20, "`messages` that are said")
	flag.IntVar(&size.AtOnce, "at-once", 1000, "`occupants` that leave and come back at once")
	flag.IntVar(&size.Workers, "workers", 32, "`occupants` that enter at a time otherwise")
	sabir := flag.String("sabir", "bin/sabir", "Sabir's `command`, further arguments for \"sabir local\" after it")
	port := flag.Int("port", 15222, "first `port` to use, on loopback")
	flag.Parse()
	if size.AtOnce >= size.Occupants || size.Steps < 1 || size.Messages < 1 {
		return errors.New("there must be more occupants than come at once, a step and a message")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if limit.Cur < uint64(size.Occupants)+200 {
		return fmt.Errorf("%d occupants need as many descriptors in each of two processes, and there are %d: raise ulimit -n", size.Occupants, limit.Cur)
	}
	dir, err := os.MkdirTemp("", "room10k-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	servers := load.Servers("", "", strings.Fields(*sabir))
	i := slices.IndexFunc(servers, func(s load.Server) bool { return s.Name == "sabir" })
	s, err := servers[i].Start(ctx, load.Setup{Dir: dir, Port: *port, Accounts: size.Occupants, Password: "bench-password", Archive: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	return load.FillRoom(ctx, s, size, load.Defaults, os.Stdout)
}
