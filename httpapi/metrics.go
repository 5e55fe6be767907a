package httpapi

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/docket-orders/docket/audit"
	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/reconcile"
)

// metrics are counted in a registry of their own, so that several servers may
// live in one process.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
	commands *prometheus.CounterVec
	// reconciled is what the last whole reconciliation of this process found.
	reconciled reconciled
	handler    http.Handler
}

func newMetrics(o Options, kept []*projection, gates *gates) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "docket_http_requests_total", Help: "Requests answered, by route, method and status.",
		}, []string{"route", "method", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "docket_http_request_duration_seconds", Help: "Time to the end of the answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"route", "method"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "docket_http_requests_in_flight", Help: "Requests being answered.",
		}),
		commands: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "docket_commands_total", Help: "Commands, by name and outcome.",
		}, []string{"command", "outcome"}),
		reconciled: newReconciled(),
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		m.requests, m.duration, m.inFlight, m.commands,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		parts{o.Orders, o.Refusals, o.Store}, viewMetrics(kept), rebuildMetrics(kept), gates,
		m.reconciled.verdict, m.reconciled.findings, m.reconciled.repaired, m.reconciled.ended,
	)
	m.handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
	return m
}

func (m *metrics) observe(method, route string, status int, took time.Duration) {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions:
	default:
		method = "other" // a label that callers cannot fill
	}
	if route == "" {
		route = "none"
	}
	m.requests.WithLabelValues(route, method, strconv.Itoa(status)).Inc()
	m.duration.WithLabelValues(route, method).Observe(took.Seconds())
}

// reconciled are gauges. Before the first run since the start there are none: a
// look for older ones would read the whole log.
type reconciled struct {
	verdict, findings, repaired, ended *prometheus.GaugeVec
}

func newReconciled() reconciled {
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "docket_reconcile_" + name, Help: help}, labels)
	}
	return reconciled{
		verdict:  gauge("verdict", "1 for the verdict of the last whole reconciliation, 0 for the others.", "verdict"),
		findings: gauge("findings", "Differences that the last whole reconciliation found, by class.", "class"),
		repaired: gauge("repaired", "Differences that the last whole reconciliation repaired."),
		ended:    gauge("ended_timestamp_seconds", "When the last whole reconciliation ended."),
	}
}

// set takes the report of a run that ended. One of a single order says nothing
// about the rest.
func (g reconciled) set(report reconcile.Report) {
	if report.OrderID != "" || report.EndedAt == nil {
		return
	}
	for _, v := range []reconcile.Verdict{reconcile.Clean, reconcile.Drift, reconcile.Unknown} {
		is := 0.0
		if v == report.Verdict {
			is = 1
		}
		g.verdict.WithLabelValues(string(v)).Set(is)
	}
	for _, class := range []reconcile.Class{
		reconcile.Missing, reconcile.Orphan, reconcile.Stale, reconcile.Ahead, reconcile.Content, reconcile.Aggregate, reconcile.Parked, reconcile.Structure,
	} {
		g.findings.WithLabelValues(string(class)).Set(float64(report.Counts[class]))
	}
	g.repaired.WithLabelValues().Set(float64(report.Repaired))
	g.ended.WithLabelValues().Set(float64(report.EndedAt.UnixMilli()) / 1000)
}

// parts asks the write side when metrics are collected.
type parts struct {
	orders   *command.Orders
	refusals *audit.Refusals
	log      eventstore.Store
}

type partMetric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(c command.Metrics) int64
}

func commandMetric(name, help string, of func(c command.Metrics) int64) partMetric {
	return partMetric{prometheus.NewDesc("docket_command_"+name+"_total", help, nil, nil), prometheus.CounterValue, of}
}

var (
	commandMetrics = []partMetric{
		commandMetric("replays", "Repeated commands that got their first answer.", func(c command.Metrics) int64 { return c.Replays }),
		commandMetric("conflicts", "Appends that found the order changed.", func(c command.Metrics) int64 { return c.Conflicts }),
		commandMetric("retries", "Appends repeated because the outcome was unknown.", func(c command.Metrics) int64 { return c.Retries }),
		commandMetric("together", "Commands appended in one with another of their order.", func(c command.Metrics) int64 { return c.Together }),
		commandMetric("cache_hits", "Orders found folded in memory.", func(c command.Metrics) int64 { return c.CacheHits }),
		commandMetric("cache_misses", "Orders not found folded in memory.", func(c command.Metrics) int64 { return c.CacheMisses }),
		commandMetric("snapshot_hits", "Loads that began with a snapshot.", func(c command.Metrics) int64 { return c.SnapshotHits }),
		commandMetric("snapshot_misses", "Loads of long orders without a usable snapshot.", func(c command.Metrics) int64 { return c.SnapshotMisses }),
		commandMetric("snapshots_written", "Snapshots written.", func(c command.Metrics) int64 { return c.SnapshotsWritten }),
		commandMetric("snapshot_failures", "Snapshots that could not be written.", func(c command.Metrics) int64 { return c.SnapshotFailures }),
		commandMetric("snapshots_skipped", "Snapshots left out because the worker was behind.", func(c command.Metrics) int64 { return c.SnapshotsSkipped }),
		commandMetric("snapshot_audits", "Snapshots compared with a full replay.", func(c command.Metrics) int64 { return c.Audits }),
		commandMetric("snapshot_audit_differences", "Snapshots that a full replay proved wrong.", func(c command.Metrics) int64 { return c.AuditDifferences }),
	}
	recorded   = prometheus.NewDesc("docket_refusals_recorded_total", "Refused commands that were recorded.", nil, nil)
	unrecorded = prometheus.NewDesc("docket_refusals_unrecorded_total", "Refused commands that came too fast to be recorded, or while the store failed.", nil, nil)
	reachable  = prometheus.NewDesc("docket_event_store_reachable", "0 while the event store, behind a network, does not answer; else 1.", nil, nil)
)

// Describe implements prometheus.Collector.
func (p parts) Describe(out chan<- *prometheus.Desc) {
	for _, m := range commandMetrics {
		out <- m.desc
	}
	out <- reachable
	out <- recorded
	out <- unrecorded
}

// Collect implements prometheus.Collector.
func (p parts) Collect(out chan<- prometheus.Metric) {
	counted := p.orders.Metrics()
	for _, m := range commandMetrics {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, float64(m.of(counted)))
	}
	refused := p.refusals.Metrics()
	out <- prometheus.MustNewConstMetric(recorded, prometheus.CounterValue, float64(refused.Recorded))
	out <- prometheus.MustNewConstMetric(unrecorded, prometheus.CounterValue, float64(refused.Unrecorded))
	answers := 1.0
	if eventstore.UnreachableOf(p.log) != nil {
		answers = 0
	}
	out <- prometheus.MustNewConstMetric(reachable, prometheus.GaugeValue, answers)
}
