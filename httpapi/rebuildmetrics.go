package httpapi

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/docket-orders/docket/projections"
)

func rebuildMetric(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("docket_rebuild_"+name, help, append([]string{"projection"}, labels...), nil)
}

var (
	generationNow    = viewMetric("projection_generation", "1 for every generation there is in the store, by what it is and whether it answers here.", "generation", "version", "state", "served")
	rebuildPhase     = rebuildMetric("phase", "1 for the phase of the newest rebuild, 0 for the others; absent when there never was one.", "phase")
	rebuildNumber    = rebuildMetric("generation", "Generation that the newest rebuild makes.")
	rebuildStarted   = rebuildMetric("started_timestamp_seconds", "When the newest rebuild was asked for.")
	rebuildEvents    = rebuildMetric("events", "Events that the rebuild has read, in the store that is least far; absent when none runs.")
	rebuildOrders    = rebuildMetric("orders", "Documents that the rebuild has written, in the store that is least far; absent when none runs.")
	rebuildUnwilling = rebuildMetric("failed", "1 when the newest rebuild failed, or has not switched though it was to.")
)

var allPhases = []projections.Phase{
	projections.PhaseReading, projections.PhaseFolding, projections.PhaseFollowing, projections.PhaseComparing,
	projections.PhaseReady, projections.PhaseSwitched, projections.PhaseFailed, projections.PhaseCancelled,
}

// rebuildMetrics asks the registry when metrics are collected.
type rebuildMetrics []*projection

// Describe implements prometheus.Collector.
func (rebuildMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{rebuildPhase, rebuildNumber, rebuildStarted, rebuildEvents, rebuildOrders, rebuildUnwilling} {
		out <- d
	}
}

// Collect implements prometheus.Collector. While the log does not answer there is
// nothing to tell.
func (m rebuildMetrics) Collect(out chan<- prometheus.Metric) {
	each(m, func(p *projection) struct{} {
		p.collectRebuild(out)
		return struct{}{}
	})
}

func (p *projection) collectRebuild(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeOf(p.log))
	defer cancel()
	list, err := p.views.Rebuilds(ctx)
	if err != nil || len(list) == 0 {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{p.name}, labels...)...)
	}
	rb := list[0]
	for _, phase := range allPhases {
		gauge(rebuildPhase, truth(phase == rb.Phase), string(phase))
	}
	gauge(rebuildNumber, float64(rb.Generation))
	gauge(rebuildStarted, float64(rb.StartedAt.UnixMilli())/1000)
	gauge(rebuildUnwilling, truth(rb.Failure != nil))
	if at := rb.Progress; at != nil && !rb.Phase.Over() {
		gauge(rebuildEvents, float64(at.Events))
		gauge(rebuildOrders, float64(at.Orders))
	}
}
