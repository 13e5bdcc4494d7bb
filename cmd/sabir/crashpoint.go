package main

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
)

// crashPointFile names the file that arms crash points, for tests of what survives. Whoever can set the environment of the
// process can end it anyhow; nothing but its end can be caused by this.
const crashPointFile = "SABIR_CRASH_POINT_FILE"

// crashPoint returns the function that ends the process at a named point (server.Options.CrashPoint), or nil where the
// environment does not ask for it. The file holds a name and a number n, and may be written while the server runs: the nth
// time that the point of this name is passed from then on, the process ends as by SIGKILL.
func crashPoint(log *slog.Logger) func(name string) {
	path := os.Getenv(crashPointFile)
	if path == "" {
		return nil
	}
	log.Warn("crash points are armed by a file: this is for tests", "file", path)
	var mu sync.Mutex
	var armed string
	var passed int
	return func(name string) {
		text, err := os.ReadFile(path)
		if err != nil || !strings.HasPrefix(string(text), name+" ") {
			return
		}
		var n int
		if _, err := fmt.Sscanf(string(text[len(name):]), "%d", &n); err != nil {
			log.Error("crash point", "file", path, "error", err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if armed != string(text) {
			armed, passed = string(text), 0
		}
		if passed++; passed < n {
			return
		}
		log.Warn("crash point reached", "name", name)
		self, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = os.Remove(path) // or the next start would end there too
		}
		if err == nil {
			err = self.Kill()
		}
		if err != nil {
			log.Error("crash point", "error", err)
			os.Exit(1)
		}
		select {} // the signal is on its way
	}
}
