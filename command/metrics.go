package command

import "sync/atomic"

// Metrics counts what the write side did since it started.
type Metrics struct {
	Commands     int64 // handled, refusals and failures included
	Replays      int64 // answered with the first answer of a repeated command
	Conflicts    int64 // appends that found the order changed
	Retries      int64 // appends repeated because the outcome was unknown
	Together     int64 // commands appended in one with another of their order
	CacheHits    int64
	CacheMisses  int64
	SnapshotHits int64
	// SnapshotMisses counts loads of orders long enough to have a snapshot that
	// had none, or none that could be used.
	SnapshotMisses   int64
	SnapshotsWritten int64
	SnapshotFailures int64
	SnapshotsSkipped int64 // the worker was behind
	Audits           int64 // snapshots compared with a full replay
	AuditDifferences int64 // of these, those that were wrong
}

type counters struct {
	commands, replays, conflicts, retries, together  atomic.Int64
	cacheHits, cacheMisses                           atomic.Int64
	snapshotHits, snapshotMisses                     atomic.Int64
	snapshotsWritten, snapshotFailures, snapshotSkip atomic.Int64
	audits, differences                              atomic.Int64
}

func (c *counters) metrics() Metrics {
	return Metrics{
		Commands: c.commands.Load(), Replays: c.replays.Load(),
		Conflicts: c.conflicts.Load(), Retries: c.retries.Load(), Together: c.together.Load(),
		CacheHits: c.cacheHits.Load(), CacheMisses: c.cacheMisses.Load(),
		SnapshotHits: c.snapshotHits.Load(), SnapshotMisses: c.snapshotMisses.Load(),
		SnapshotsWritten: c.snapshotsWritten.Load(), SnapshotFailures: c.snapshotFailures.Load(),
		SnapshotsSkipped: c.snapshotSkip.Load(),
		Audits:           c.audits.Load(), AuditDifferences: c.differences.Load(),
	}
}
