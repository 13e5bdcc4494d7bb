package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sabir/internal/admin"
	"sabir/mod"
)

func newTrace() *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "trace ID",
		Short: "Tell what became of a message",
		Long: `Tell what became of a message: where it came from, which extension refused or changed it, when it was on disk, in which archives and
stores it is, which sessions, servers and push services got it, when it was written and when the client has acknowledged it.

ID is that of the stanza, its origin-id, or the one that an archive gave. The server remembers the way of recent messages, as many as
log.trace has room for; of older ones it knows what archives and stores have. It shows no text of any message.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var t admin.Trace
			if err := giveRunning(c, path, "trace", admin.TraceArgs{ID: args[0]}, &t); err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), t)
			}
			showTrace(c.OutOrStdout(), t)
			return nil
		},
	}
	configFlag(c, &path)
	c.Flags().BoolVar(&asJSON, "json", false, "print one line of JSON")
	return c
}

func showTrace(w io.Writer, t admin.Trace) {
	if len(t.Also) > 0 {
		fmt.Fprintf(w, "also known as %s\n", strings.Join(t.Also, ", "))
	}
	for i, m := range t.Messages {
		if len(t.Messages) > 1 {
			fmt.Fprintf(w, "message %d of %d\n", i+1, len(t.Messages))
		}
		var last time.Time
		for _, e := range m {
			since := ""
			if !last.IsZero() {
				since = "+" + e.At.Sub(last).Round(time.Microsecond).String()
			}
			last = e.At
			fmt.Fprintf(w, "  %s %10s  %s\n", e.At.Format("2006-01-02T15:04:05.000000Z"), since, sentence(e))
		}
	}
	if len(t.Stored) > 0 {
		fmt.Fprintln(w, "stored now")
	}
	for _, e := range t.Stored {
		fmt.Fprintf(w, "  %s %10s  %s\n", e.At.Format("2006-01-02T15:04:05.000000Z"), "", sentence(e))
	}
}

// sentence puts an event into words.
func sentence(e mod.TraceEvent) string {
	var s string
	switch e.What {
	case mod.TraceReceived:
		s = "received from " + e.Who + " for " + e.Detail
	case mod.TraceID:
		s = "known to " + e.Who + " as " + e.Detail
	case mod.TraceArchived:
		s = "archived for " + e.Who + " as " + e.Detail
	case mod.TraceStored:
		s = "stored by " + e.Who + " for " + e.Detail
	case mod.TraceTaken:
		s = "taken from " + e.Who + " for " + e.Detail
	case mod.TraceCopied:
		s = "copied for " + e.Who
	case mod.TraceRefused, mod.TraceDropped, mod.TraceFailed:
		s = e.What + " by " + e.Who + ": " + e.Detail
	case mod.TraceBounced:
		s = "bounced to " + e.Who + ": " + e.Detail
	case mod.TraceChanged, mod.TraceAcked:
		s = e.What + " by " + e.Who
	case mod.TraceQueued, mod.TraceForwarded, mod.TraceWritten:
		s = e.What + " to " + e.Who
	case mod.TraceReturned:
		s = "returned by " + e.Who + ", which ended before"
	case mod.TraceCommitted:
		s = "committed: what had to be stored is on disk"
	default:
		s = e.What + " " + e.Who + " " + e.Detail
	}
	return strings.TrimSpace(s)
}
