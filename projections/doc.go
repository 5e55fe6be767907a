// Package projections turns events into the documents that readers see.
//
// It promises: events of one order are applied in order, each once in effect,
// whatever is delivered twice, lost or broken on the way; an event that cannot
// be applied parks its own order and nothing else; a store that is down parks
// nothing; an event that this program is too old for stops it, with a message.
// A generation is fed only by the version that built it, and a rebuild never
// disturbs the live one before the switch.
//
// cmd runs a Manager over a Backend; query asks its live sink; reconcile inspects
// it and has orders written anew (Inspector, Manager.Reproject); adapters
// implement Backend and Sink and call Counters and AssembleStats.
//
// Apply (event to document), Contributions (document to counters) and Words
// are pure, written once, and shared by every store: together they are a Fold. The path of an event is
// feeder (reads ahead, deals into rounds) - applier (folds, writes, parks) -
// Sink. A rebuild spills the log to files by stream (spill, build) and lets the
// same applier and feeder do the rest. Which generation is live is the last
// event of the stream projection-orders:
//
//	ProjectionSwitched {"generation":2,"version":1,"at":"2024-05-01T09:00:00Z"}
//
// Dockets that share a log, each with a Backend of its own, share that stream
// too. No number is used twice, so none of them takes what it has under a number
// for what another has built: at its next start it makes that generation anew.
package projections
