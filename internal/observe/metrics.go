package observe

import (
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"sabir/mod"
	"sabir/xmpp/stanza"
)

// outcomes are the label values of stanzas, in the order of the columns of Metrics.stanzas; the last one catches the rest.
var outcomes = [...]mod.Outcome{mod.Delivered, mod.Stored, mod.Forwarded, mod.Refused, mod.Dropped, "other"}

// Metrics are the figures of one server. Its methods may be called from any goroutine, and those of the way of a stanza cost an
// atomic addition: their counters are looked up once, here.
type Metrics struct {
	registry *prometheus.Registry

	stanzas     [3][len(outcomes)]prometheus.Counter
	sessions    *prometheus.GaugeVec
	connections *prometheus.GaugeVec
	accepted    *prometheus.CounterVec
	refused     *prometheus.CounterVec
	commit      prometheus.Histogram
	commitSize  prometheus.Histogram
	commitFails prometheus.Counter
	read        prometheus.Histogram
	readFails   prometheus.Counter
	logins      *prometheus.CounterVec
	panics      *prometheus.CounterVec
	streamErrs  *prometheus.CounterVec
	handshakes  prometheus.Histogram
	remote      *prometheus.GaugeVec
}

// NewMetrics returns metrics at zero with a registry of their own, which has the figures of the Go runtime and of the process too.
func NewMetrics() *Metrics {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m := &Metrics{registry: r}

	stanzas := counter(r, "stanzas_total", "Stanzas that ended their way, by kind and by what became of them.", "kind", "outcome")
	for k := range m.stanzas {
		for i, o := range outcomes {
			m.stanzas[k][i] = stanzas.WithLabelValues(stanza.Kind(k).String(), string(o))
		}
	}
	m.sessions = gauge(r, "sessions", "Bound resources, by transport.", "transport")
	m.connections = gauge(r, "connections", "Open connections, by the purpose of the socket.", "purpose")
	m.accepted = counter(r, "connections_accepted_total", "Connections that were accepted, by the purpose of the socket.", "purpose")
	m.refused = counter(r, "connections_refused_total", "Connections that were closed at once, by reason.", "reason")
	m.logins = counter(r, "logins_total", "Logins, by mechanism and outcome (success, or the SASL condition).", "mechanism", "outcome")
	m.panics = counter(r, "panics_total", "Panics that were caught, by the extension in which they happened.", "extension")
	m.streamErrs = counter(r, "stream_errors_total", "Streams that the server ended with an error, by condition.", "condition")

	m.remote = gauge(r, "s2s_streams", "Streams between servers whose domain was proved, by direction.", "direction")

	m.handshakes = histogram("handshake_wait_seconds", "Time that a client's TLS handshake has waited for its turns.", prometheus.ExponentialBuckets(0.0001, 4, 11))
	m.commitFails = prometheus.NewCounter(prometheus.CounterOpts(opts("store_commit_failures_total", "Group commits that failed.")))
	m.commit = histogram("store_commit_seconds", "Time of a group commit.", prometheus.ExponentialBuckets(0.0001, 2, 16))
	m.commitSize = histogram("store_commit_writes", "Writes in a group commit.", prometheus.ExponentialBuckets(1, 2, 12))
	m.read = histogram("store_read_seconds", "Time of a read.", prometheus.ExponentialBuckets(0.00001, 3, 12))
	m.readFails = prometheus.NewCounter(prometheus.CounterOpts(opts("store_read_failures_total", "Reads that failed.")))
	r.MustRegister(m.commitFails, m.commit, m.commitSize, m.read, m.readFails, m.handshakes)
	return m
}

func opts(name, help string) prometheus.GaugeOpts {
	return prometheus.GaugeOpts{Namespace: "sabir", Name: name, Help: help}
}

func counter(r *prometheus.Registry, name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts(opts(name, help)), labels)
	r.MustRegister(v)
	return v
}

func gauge(r *prometheus.Registry, name, help string, labels ...string) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(opts(name, help), labels)
	r.MustRegister(v)
	return v
}

func histogram(name, help string, buckets []float64) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "sabir", Name: name, Help: help, Buckets: buckets})
}

// Stanza counts a stanza that ended its way on one side.
func (m *Metrics) Stanza(k stanza.Kind, o mod.Outcome) {
	for i := range outcomes {
		if outcomes[i] == o {
			m.stanzas[k][i].Inc()
			return
		}
	}
	m.stanzas[k][len(outcomes)-1].Inc()
}

// Session counts bound resources: delta is 1 or -1, transport is tcp, tls or websocket.
func (m *Metrics) Session(transport string, delta int) {
	m.sessions.WithLabelValues(transport).Add(float64(delta))
}

// Connection counts a connection that was accepted on a socket of this purpose. The function that it returns counts its end; it is
// to be called once.
func (m *Metrics) Connection(purpose string) (closed func()) {
	m.accepted.WithLabelValues(purpose).Inc()
	g := m.connections.WithLabelValues(purpose)
	g.Inc()
	return g.Dec
}

// Refused counts a connection that was closed at once. reason is one of a few words: address-limit, limit, descriptors, proxy, busy.
func (m *Metrics) Refused(reason string) { m.refused.WithLabelValues(reason).Inc() }

// QueueFunc gives the bytes that wait for clients to read them. It is called once.
func (m *Metrics) QueueFunc(f func() int64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(opts("queue_bytes", "Bytes that wait for clients to read them."), func() float64 { return float64(f()) }))
}

// HoldFunc gives what holding back from inactive clients (XEP-0352) has done. It is called once.
func (m *Metrics) HoldFunc(f func() (held, flushes, saved int64)) {
	figure := func(name, help string, pick func(held, flushes, saved int64) int64) {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts(opts(name, help)), func() float64 { return float64(pick(f())) }))
	}
	figure("held_stanzas_total", "Stanzas that waited because the client is inactive.", func(h, _, _ int64) int64 { return h })
	figure("held_flushes_total", "How often what had waited was sent.", func(_, n, _ int64) int64 { return n })
	figure("held_saved_bytes_total", "Bytes of stanzas that were never sent to inactive clients, because a newer one took their place.", func(_, _, b int64) int64 { return b })
}

// CertificatesFunc gives the certificates of the hosts: each is told with its end, and with whether files that would replace it are
// refused. It is called once.
func (m *Metrics) CertificatesFunc(each func(tell func(domain string, notAfter time.Time, refused bool))) {
	m.registry.MustRegister(certificates(each))
}

// certificates is a prometheus.Collector.
type certificates func(tell func(domain string, notAfter time.Time, refused bool))

var (
	certificateEnd     = prometheus.NewDesc("sabir_certificate_expiry_timestamp_seconds", "When the certificate of a host that is in use ends, as a Unix time.", []string{"domain"}, nil)
	certificateRefused = prometheus.NewDesc("sabir_certificate_refused", "1 where the files of a host's certificate are not taken into use, because they are bad.", []string{"domain"}, nil)
)

// Describe implements prometheus.Collector.
func (certificates) Describe(to chan<- *prometheus.Desc) {
	to <- certificateEnd
	to <- certificateRefused
}

// Collect implements prometheus.Collector.
func (each certificates) Collect(to chan<- prometheus.Metric) {
	each(func(domain string, notAfter time.Time, refused bool) {
		bad := 0.0
		if refused {
			bad = 1
		}
		to <- prometheus.MustNewConstMetric(certificateEnd, prometheus.GaugeValue, float64(notAfter.Unix()), domain)
		to <- prometheus.MustNewConstMetric(certificateRefused, prometheus.GaugeValue, bad, domain)
	})
}

// WaitingFunc gives the number of TLS handshakes that wait for their turn. It is called once.
func (m *Metrics) WaitingFunc(f func() int) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(opts("handshakes_waiting", "TLS handshakes of clients that wait for their turn."), func() float64 { return float64(f()) }))
}

// HandshakeWait records how long a TLS handshake has waited for its turns.
func (m *Metrics) HandshakeWait(d time.Duration) { m.handshakes.Observe(d.Seconds()) }

// Commit records a group commit: its time, the writes within, and its error. With Query it makes Metrics a db.Observer.
func (m *Metrics) Commit(d time.Duration, writes int, err error) {
	m.commit.Observe(d.Seconds())
	m.commitSize.Observe(float64(writes))
	if err != nil {
		m.commitFails.Inc()
	}
}

// Query records a read of the store: the time until its first row was there, and its error.
func (m *Metrics) Query(d time.Duration, err error) {
	m.read.Observe(d.Seconds())
	if err != nil && !errors.Is(err, mod.ErrNoRows) {
		m.readFails.Inc()
	}
}

// Login counts a login. outcome is "success" or the SASL condition; mechanism is one that the server knows, not what a client
// has sent.
func (m *Metrics) Login(mechanism, outcome string) {
	m.logins.WithLabelValues(mechanism, outcome).Inc()
}

// Panic counts a panic that was caught in an extension, or in "core".
func (m *Metrics) Panic(extension string) { m.panics.WithLabelValues(extension).Inc() }

// StreamError counts a stream that the server ended with an error of RFC 6120 §4.9.3.
func (m *Metrics) StreamError(condition string) { m.streamErrs.WithLabelValues(condition).Inc() }

// RemoteStream counts streams between servers: direction is in or out, delta is 1 or -1.
func (m *Metrics) RemoteStream(direction string, delta int) {
	m.remote.WithLabelValues(direction).Add(float64(delta))
}

// Handler answers requests of a Prometheus server.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}
