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
// same applier and feeder do the rest.
//
// Which generation is in force, which one was before, and which one is made, says
// the stream projection-orders, the registry (registry.go, standing.go):
//
//	ProjectionBuilding {"generation":2,"version":1,"stores":["sqlite"],"then":"switch","owner":"9f0c","at":"2024-05-01T09:00:00Z"}
//	ProjectionReady    {"generation":2,"at":"2024-05-01T09:03:00Z"}
//	ProjectionSwitched {"generation":2,"version":1,"stores":["sqlite"],"previous":1,"reason":"switch","at":"2024-05-01T09:04:00Z"}
//	ProjectionDropped  {"generation":1,"why":"aged","at":"2024-05-02T09:04:00Z"}
//
// No number is used twice. Each Manager makes its store follow (keeping.go,
// opening.go, feeding.go): it feeds those generations whose version its program
// carries, and serves the one in force once that is complete. A process may keep
// several stores, as Stores: a rebuild makes one generation in all of them and
// switches them with one append. What is asked of it is in lifecycle.go and
// asking.go, what follows by itself in conducting.go. A store that processes share
// (Options.Lease above zero) is fed by all of them together, each its lanes
// (sharing.go), and may be down or lost at any time; what the registry gave up is
// swept there (sweep.go).
package projections
