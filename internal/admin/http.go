package admin

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sabir/internal/disk"
	"sabir/mod"
	"sabir/xmpp/dial"
	"sabir/xmpp/stanza"
)

// AsTable behind the name of a command has Client.Run return its result as a mod.Table.
const AsTable = "?as=table"

const (
	prefix  = "/commands/"
	maxBody = 256 << 20 // bytes of a request: an import of millions of accounts
)

// problem is the body of an answer that is an error.
type problem struct {
	Condition string `json:"condition"` // one of RFC 6120 §8.3.3, or "internal-server-error"
	Text      string `json:"error"`
}

// Handler serves the commands of a registry over HTTP: POST /commands/NAME, in which the words of the name are joined by a point,
// with a JSON object of arguments, answers 200 with the result, or with ?as=table with its mod.Table; GET /commands lists them; GET /debug/pprof/ has the profiles of the process.
// Who has the token may do everything.
func Handler(r *Registry, b Backend, token string, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /commands", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, log, http.StatusOK, r.Commands())
	})
	mux.HandleFunc("POST "+prefix+"{name}", func(w http.ResponseWriter, q *http.Request) {
		name := strings.ReplaceAll(q.PathValue("name"), ".", " ")
		args, err := io.ReadAll(http.MaxBytesReader(w, q.Body, maxBody))
		if err != nil {
			answer(w, log, http.StatusBadRequest, problem{"bad-request", "reading the request: " + err.Error()})
			return
		}
		level := slog.LevelInfo
		if name == "health" { // each start of the command line asks
			level = slog.LevelDebug
		}
		log.Log(q.Context(), level, "command", "name", name)
		result, err := r.Run(q.Context(), b, name, args)
		if err != nil {
			status, p := describe(err)
			if status == http.StatusInternalServerError {
				log.Error("command failed", "name", name, "error", err)
			}
			answer(w, log, status, p)
			return
		}
		if q.URL.Query().Get("as") == "table" {
			result = mod.Tabulate(result)
		}
		answer(w, log, http.StatusOK, result)
	})
	// Profiles of the running process, for go tool pprof.
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return guard(token, mux)
}

// guard lets only requests with the token through, and none that a web page could have made a browser send: a name that a page has
// bound to a loopback address is refused (DNS rebinding).
func guard(token string, next http.Handler) http.Handler {
	want := sha256.Sum256([]byte("Bearer " + token))
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		host := q.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		if ip := net.ParseIP(strings.Trim(host, "[]")); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, "the admin listener has no such name", http.StatusMisdirectedRequest)
			return
		}
		got := sha256.Sum256([]byte(q.Header.Get("Authorization")))
		if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="sabir"`)
			http.Error(w, "a token is needed: see admin.json in the data folder", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, q)
	})
}

// describe makes the answer to an error.
func describe(err error) (int, problem) {
	var e *stanza.Error
	if !errors.As(err, &e) {
		return http.StatusInternalServerError, problem{string(stanza.InternalServerError), err.Error()}
	}
	status := http.StatusBadRequest
	switch e.Condition {
	case stanza.ItemNotFound, stanza.FeatureNotImplemented:
		status = http.StatusNotFound
	case stanza.Conflict:
		status = http.StatusConflict
	case stanza.InternalServerError:
		status = http.StatusInternalServerError
	}
	return status, problem{string(e.Condition), e.Text}
}

func answer(w http.ResponseWriter, log *slog.Logger, status int, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		log.Error("encoding the result of a command", "error", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store") // results may hold a password
	w.WriteHeader(status)
	if _, err := w.Write(append(text, '\n')); err != nil {
		log.Debug("an answer was not taken", "error", err)
	}
}

// Door is how to reach the admin listener of a running server. It stands in the server's data folder, readable for its owner only.
type Door struct {
	Address string `json:"address"` // of the admin listener, "" if it has none
	Token   string `json:"token"`
	PID     int    `json:"pid"`
}

func doorFile(dataDir string) string { return filepath.Join(dataDir, "admin.json") }

// OpenDoor makes a new token and keeps it with the address in the data folder.
func OpenDoor(files disk.FS, dataDir, address string) (Door, error) {
	b := make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		return Door{}, err
	}
	d := Door{Address: address, Token: hex.EncodeToString(b), PID: os.Getpid()}
	text, err := json.Marshal(d)
	if err != nil {
		return d, err
	}
	if err := files.MkdirAll(dataDir, 0o700); err != nil {
		return d, fmt.Errorf("data folder: %w", err)
	}
	return d, disk.Replace(files, doorFile(dataDir), text, 0o600)
}

// CloseDoor removes what OpenDoor has kept.
func (d Door) CloseDoor(dataDir string) error {
	if now, err := FindDoor(dataDir); err != nil || now != d {
		return err // another server has taken the folder over
	}
	return os.Remove(doorFile(dataDir))
}

// FindDoor returns how to reach the server that uses a data folder; the error wraps fs.ErrNotExist where there is none.
func FindDoor(dataDir string) (Door, error) {
	var d Door
	text, err := os.ReadFile(doorFile(dataDir))
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal(text, &d); err != nil {
		return d, fmt.Errorf("%s: %w", doorFile(dataDir), err)
	}
	return d, nil
}

// ErrNotRunning is returned where no server answers behind a Door.
var ErrNotRunning = errors.New("no server is running with this configuration")

// Client gives commands to a running server.
type Client struct {
	door Door
	http http.Client
}

// Dial finds the server that uses a data folder. The error is ErrNotRunning where there is none: the file of a server that was killed
// stays, but nobody answers there.
func Dial(ctx context.Context, dataDir string) (*Client, error) {
	d, err := FindDoor(dataDir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && d.Address == "" {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, err
	}
	c := &Client{door: d, http: http.Client{Transport: &http.Transport{DialContext: new(dial.Dialer).DialContext, DisableKeepAlives: true}}}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var health json.RawMessage
	if err := c.Run(ctx, "health", NoArgs{}, &health); err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) {
			return nil, ErrNotRunning
		}
		return nil, err
	}
	return c, nil
}

// Door returns how the server is reached.
func (c *Client) Door() Door { return c.door }

// Run gives a command. result is a pointer to what the command returns. An error that the command itself returns is a *stanza.Error.
func (c *Client) Run(ctx context.Context, name string, args, result any) error {
	text, err := json.Marshal(args)
	if err != nil {
		return err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.door.Address+prefix+strings.ReplaceAll(name, " ", "."), bytes.NewReader(text))
	if err != nil {
		return err
	}
	q.Header.Set("Authorization", "Bearer "+c.door.Token)
	q.Header.Set("Content-Type", "application/json")
	r, err := c.http.Do(q)
	if err != nil {
		return fmt.Errorf("asking the server: %w", err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return fmt.Errorf("asking the server: %w", err)
	}
	if r.StatusCode != http.StatusOK {
		var p problem
		if err := json.Unmarshal(body, &p); err != nil || p.Condition == "" {
			return fmt.Errorf("the server answers %s: %s", r.Status, strings.TrimSpace(string(body)))
		}
		return stanza.Err(stanza.Condition(p.Condition), p.Text)
	}
	return json.Unmarshal(body, result)
}
