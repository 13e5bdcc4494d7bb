package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sabir/mod"
	"sabir/xmpp/stanza"
)

// TestSecret shows that a secret is shown by nothing but Reveal.
func TestSecret(t *testing.T) {
	const word = "hunter2"
	s := Secret(word)
	var log bytes.Buffer
	for _, format := range []string{"text", "json"} {
		l, _, err := NewLogger(&log, "debug", format)
		if err != nil {
			t.Fatal(err)
		}
		l.Info("x", "secret", s, "inside", struct{ S Secret }{s}, "list", []Secret{s}, "pointer", &s)
	}
	if err := json.NewEncoder(&log).Encode(map[string]any{"a": s, "b": []any{&s, struct{ S Secret }{s}}}); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%10s"} {
		fmt.Fprintf(&log, verb+verb+verb, s, struct{ S Secret }{s}, []Secret{s})
	}
	fmt.Fprint(&log, s, s.String(), errors.New("e "+s.String()))
	if strings.Contains(log.String(), word) || strings.Contains(log.String(), fmt.Sprintf("%x", word)) {
		t.Errorf("it is shown in %s", log.String())
	}
	if s.Reveal() != word {
		t.Error("it is lost")
	}
}

func TestNewLogger(t *testing.T) {
	var b bytes.Buffer
	l, level, err := NewLogger(&b, "warn", "json")
	if err != nil {
		t.Fatal(err)
	}
	l.Info("quiet")
	if err := level.UnmarshalText([]byte("info")); err != nil {
		t.Fatal(err)
	}
	l.Info("loud")
	if got := b.String(); strings.Contains(got, "quiet") || !strings.Contains(got, `"msg":"loud"`) {
		t.Errorf("log is %s", got)
	}
	for _, bad := range [][2]string{{"loud", "text"}, {"info", "xml"}, {"", ""}} {
		if _, _, err := NewLogger(&b, bad[0], bad[1]); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}
}

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	b, err := io.ReadAll(w.Body)
	if err != nil || w.Code != http.StatusOK {
		t.Fatal(w.Code, err)
	}
	return string(b)
}

func TestMetrics(t *testing.T) {
	m := NewMetrics()
	m.Stanza(stanza.Message, mod.Delivered)
	m.Stanza(stanza.Message, mod.Delivered)
	m.Stanza(stanza.IQ, mod.Refused)
	m.Stanza(stanza.Presence, "unheard of")
	m.Session("tcp", 1)
	m.Session("tcp", 1)
	m.Session("tcp", -1)
	closed := m.Connection("c2s")
	m.Connection("c2s")
	closed()
	m.Refused("limit")
	m.QueueFunc(func() int64 { return 400 })
	m.HoldFunc(func() (int64, int64, int64) { return 7, 2, 500 })
	m.CertificatesFunc(func(tell func(string, time.Time, bool)) {
		tell("example.org", time.Unix(1800000000, 0), false)
		tell("example.com", time.Unix(1700000000, 0), true)
	})
	m.Commit(time.Millisecond, 7, nil)
	m.Commit(time.Millisecond, 1, errors.New("x"))
	m.Query(time.Microsecond, nil)
	m.Query(time.Microsecond, mod.ErrNoRows)
	m.Query(time.Microsecond, errors.New("x"))
	m.Login("SCRAM-SHA-256", "success")
	m.Panic("ping")
	m.StreamError("host-unknown")
	got := scrape(t, m)
	for _, want := range []string{
		`sabir_stanzas_total{kind="message",outcome="delivered"} 2`,
		`sabir_stanzas_total{kind="iq",outcome="refused"} 1`,
		`sabir_stanzas_total{kind="presence",outcome="other"} 1`,
		`sabir_stanzas_total{kind="iq",outcome="stored"} 0`,
		`sabir_sessions{transport="tcp"} 1`,
		`sabir_connections{purpose="c2s"} 1`,
		`sabir_connections_accepted_total{purpose="c2s"} 2`,
		`sabir_connections_refused_total{reason="limit"} 1`,
		`sabir_queue_bytes 400`,
		`sabir_held_stanzas_total 7`,
		`sabir_held_flushes_total 2`,
		`sabir_held_saved_bytes_total 500`,
		`sabir_certificate_expiry_timestamp_seconds{domain="example.org"} 1.8e+09`,
		`sabir_certificate_refused{domain="example.org"} 0`,
		`sabir_certificate_refused{domain="example.com"} 1`,
		`sabir_store_commit_seconds_count 2`,
		`sabir_store_commit_writes_sum 8`,
		`sabir_store_commit_failures_total 1`,
		`sabir_store_read_seconds_count 3`,
		`sabir_store_read_failures_total 1`,
		`sabir_logins_total{mechanism="SCRAM-SHA-256",outcome="success"} 1`,
		`sabir_panics_total{extension="ping"} 1`,
		`sabir_stream_errors_total{condition="host-unknown"} 1`,
		"go_goroutines ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is missing", want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { m.Stanza(stanza.Message, mod.Stored) }); n != 0 {
		t.Errorf("counting a stanza makes %v allocations", n)
	}
}

func BenchmarkStanza(b *testing.B) {
	m := NewMetrics()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			m.Stanza(stanza.Message, mod.Delivered)
		}
	})
}

func TestHealth(t *testing.T) {
	h := new(Health)
	get := func(f http.HandlerFunc) (int, Report) {
		t.Helper()
		w := httptest.NewRecorder()
		f(w, httptest.NewRequest(http.MethodGet, "/", nil))
		var r Report
		if w.Header().Get("Content-Type") == "application/json" {
			if err := json.NewDecoder(w.Body).Decode(&r); err != nil {
				t.Fatal(err)
			}
		}
		return w.Code, r
	}
	if code, _ := get(h.Live); code != 200 {
		t.Errorf("alive: %d", code)
	}
	if code, _ := get(h.Ready); code != 503 {
		t.Errorf("ready before it is said: %d", code)
	}
	var down error
	h.Check("store", func(context.Context) error { return down })
	h.SetReady(true, "")
	if code, r := get(h.Ready); code != 200 || !r.Ready || r.Checks["store"] != "ok" {
		t.Errorf("ready: %d %+v", code, r)
	}
	down = errors.New("it is down")
	if code, r := get(h.Ready); code != 503 || r.Ready || r.Checks["store"] != "it is down" {
		t.Errorf("with a failed check: %d %+v", code, r)
	}
	down = nil
	h.SetReady(false, "draining")
	if code, r := get(h.Ready); code != 503 || r.Reason != "draining" {
		t.Errorf("draining: %d %+v", code, r)
	}
}
