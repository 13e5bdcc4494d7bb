// Package observe owns what the server tells about itself to its operator: the log (log/slog), the metrics (Prometheus) and the
// answers about health and readiness. Nothing here ever holds a password, a token or the body of a message, and no metric has an
// address for a label.
package observe

import (
	"encoding"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// redacted stands in for a secret wherever it would be shown.
const redacted = "[secret]"

// Secret is a string that shows itself to nobody: not to a log, not to fmt, not to JSON. Reveal gives it out.
type Secret string

var (
	_ slog.LogValuer         = Secret("")
	_ fmt.Formatter          = Secret("")
	_ encoding.TextMarshaler = Secret("")
)

// Reveal returns the secret itself, for the place where it is used.
func (s Secret) Reveal() string { return string(s) }

// String returns a placeholder.
func (s Secret) String() string { return redacted }

// LogValue returns a placeholder.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// Format writes a placeholder, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// MarshalText returns a placeholder.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// NewLogger returns a logger that writes to w. level is debug, info, warn or error; format is text or json. The level may be
// changed later through the returned variable.
func NewLogger(w io.Writer, level, format string) (*slog.Logger, *slog.LevelVar, error) {
	lv := new(slog.LevelVar)
	if err := lv.UnmarshalText([]byte(level)); err != nil {
		return nil, nil, fmt.Errorf("log level %q: use debug, info, warn or error", level)
	}
	o := &slog.HandlerOptions{Level: lv}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), lv, nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), lv, nil
	}
	return nil, nil, fmt.Errorf("log format %q: use text or json", format)
}

// SystemClock is the time of the machine.
type SystemClock struct{}

// Now returns the time.
func (SystemClock) Now() time.Time { return time.Now() }
