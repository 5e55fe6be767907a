// Package projections turns events into the documents that readers see.
//
// Apply (event to document) and Contributions (document to counters) are pure,
// written once, and shared by every store. The runner carries the log into
// sinks: one order always in order, each event once in effect, a poisoned order
// parked alone, catching up and live by the same code. A sink is one generation
// of the projection in one store; the switch between generations is one append
// to the stream projection-<name>.
package projections
