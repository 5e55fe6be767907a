package httpapi

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/docket-orders/docket/internal/guard"
)

// storeMetric describes a metric that every store of views has, with more labels
// perhaps.
func storeMetric(name, help string, more ...string) *prometheus.Desc {
	return prometheus.NewDesc("docket_"+name, help, append([]string{"store"}, more...), nil)
}

// viewMetric describes one that every projection has in every store.
func viewMetric(name, help string, more ...string) *prometheus.Desc {
	return prometheus.NewDesc("docket_"+name, help, append([]string{"projection", "store"}, more...), nil)
}

var (
	lagSeconds  = viewMetric("projection_lag_seconds", "Age of the first event that the store has not applied; absent while that is not known.")
	lagEvents   = viewMetric("projection_lag_events", "Events that the store has not applied, counted up to 1000; absent while that is not known.")
	wedged      = viewMetric("projection_wedged", "1 while the view stands still though there is something to apply.")
	parkedNow   = viewMetric("projection_parked", "Orders whose next event could not be applied.")
	laneCount   = viewMetric("projection_lanes", "Lanes of a shared store: fed here, elsewhere, or unowned.", "state")
	beatAge     = viewMetric("projection_beat_age_seconds", "Of a shared store: how long the most silent lane gave no sign of life.")
	storeUp     = viewMetric("store_up", "1 while questions to the store of views are answered.")
	breakerNow  = storeMetric("guard_breaker_state", "1 for the state of the circuit breaker before the store, 0 for the others.", "state")
	callsTotal  = storeMetric("guard_calls_total", "Calls to the store.")
	failedTotal = storeMetric("guard_failures_total", "Attempts of calls to the store that failed.")
	retryTotal  = storeMetric("guard_retries_total", "Attempts of calls to the store after the first.")
	turnedAway  = storeMetric("guard_rejected_total", "Calls that did not reach the store: the breaker was open, or too many were with it.")
	inFlightNow = storeMetric("guard_in_flight", "Calls that are with the store now.")
)

// breakerStates are those of guard.State.
var breakerStates = []string{"closed", "half-open", "open"}

// viewMetrics asks the stores of the projections when metrics are collected.
type viewMetrics []*projection

// Describe implements prometheus.Collector.
func (viewMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		lagSeconds, lagEvents, wedged, parkedNow, laneCount, beatAge, storeUp,
		breakerNow, callsTotal, failedTotal, retryTotal, turnedAway, inFlightNow, generationNow,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector. What a store does not tell in time is
// left out.
func (m viewMetrics) Collect(out chan<- prometheus.Metric) {
	for i, states := range each(m, func(p *projection) []storeState { return p.states(context.Background()) }) {
		for _, state := range states {
			collectView(out, m[i].name, state)
			if i == 0 && state.guard != nil { // one stands before a store, whatever is kept there
				collectGuard(out, *state.guard)
			}
		}
	}
}

func collectView(out chan<- prometheus.Metric, projection string, state storeState) {
	gauge := func(d *prometheus.Desc, v float64, more ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{projection, state.name}, more...)...)
	}
	gauge(storeUp, truth(state.up()))
	// Numbers of generations are labels; there are three at most at a time.
	for _, g := range state.status.Generations {
		if g.Generation > 0 {
			gauge(generationNow, 1, strconv.Itoa(g.Generation), strconv.Itoa(g.Version), g.State, strconv.FormatBool(state.serves(g)))
		}
	}
	g, ok := state.live()
	if !ok {
		return
	}
	gauge(parkedNow, float64(g.Parked))
	gauge(wedged, truth(g.Wedged))
	if state.err == nil {
		gauge(lagSeconds, g.Lag.Age.Seconds())
		gauge(lagEvents, float64(g.Lag.Events))
	}
	if len(g.Lanes) == 0 {
		return
	}
	n := countLanes(g.Lanes)
	gauge(laneCount, float64(n.Here), "here")
	gauge(laneCount, float64(n.Elsewhere), "elsewhere")
	gauge(laneCount, float64(n.Unowned), "unowned")
	var still int64
	for _, l := range g.Lanes {
		still = max(still, l.StillMs)
	}
	gauge(beatAge, (time.Duration(still) * time.Millisecond).Seconds())
}

func collectGuard(out chan<- prometheus.Metric, state guard.State) {
	for _, b := range breakerStates {
		out <- prometheus.MustNewConstMetric(breakerNow, prometheus.GaugeValue, truth(b == state.Breaker), state.Name, b)
	}
	for d, n := range map[*prometheus.Desc]int64{callsTotal: state.Calls, failedTotal: state.Failures, retryTotal: state.Retries, turnedAway: state.Rejected} {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), state.Name)
	}
	out <- prometheus.MustNewConstMetric(inFlightNow, prometheus.GaugeValue, float64(state.InFlight), state.Name)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
