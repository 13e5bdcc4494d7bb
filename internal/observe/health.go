package observe

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"
)

// checkTimeout bounds one check of readiness.
const checkTimeout = 3 * time.Second

// Health answers whether the process lives and whether it is ready for clients. The zero value is alive and not ready.
type Health struct {
	mu     sync.Mutex
	ready  bool
	why    string
	checks []check
}

type check struct {
	name string
	f    func(ctx context.Context) error
}

// SetReady says whether clients are welcome; why tells people the reason where they are not, such as "draining".
func (h *Health) SetReady(ready bool, why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ready, h.why = ready, why
}

// Check adds a check that readiness asks each time, such as whether the store answers. f obeys its context.
func (h *Health) Check(name string, f func(ctx context.Context) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks = append(h.checks, check{name, f})
}

// Report is an answer about readiness: the name of each check with "ok" or its error.
type Report struct {
	Ready  bool              `json:"ready"`
	Reason string            `json:"reason,omitempty"`
	Checks map[string]string `json:"checks,omitempty"`
}

// Report runs the checks.
func (h *Health) Report(ctx context.Context) Report {
	h.mu.Lock()
	r := Report{Ready: h.ready, Reason: h.why}
	checks := slices.Clone(h.checks)
	h.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	for _, c := range checks {
		if r.Checks == nil {
			r.Checks = make(map[string]string)
		}
		r.Checks[c.name] = "ok"
		if err := c.f(ctx); err != nil {
			r.Ready = false
			r.Checks[c.name] = err.Error()
		}
	}
	return r
}

// Live answers 200 as long as the process can answer at all.
func (h *Health) Live(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Write([]byte("ok\n"))
}

// Ready answers 200 where the server is ready and each check is content, otherwise 503; the body is a Report in JSON.
func (h *Health) Ready(w http.ResponseWriter, r *http.Request) {
	rep := h.Report(r.Context())
	w.Header().Set("Content-Type", "application/json")
	if !rep.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	if err := json.NewEncoder(w).Encode(rep); err != nil {
		return // the client went away; there is nobody to tell
	}
}
