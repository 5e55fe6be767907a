// Package elastic keeps generations of the orders projection in Elasticsearch,
// and answers lists, search and facets from them.
//
// It promises that a document only moves forward; that a write which compared
// with something that has changed since is not done; that page, total and
// facets of one answer are of one instant (in an index of several shards: of
// one instant per shard); that Documents, checkpoints and parked orders are
// read in real time; and that no write makes an index: what was flushed is
// noticed (projections.ErrLost) and not quietly begun anew.
//
// It refuses a document above projections.MaxDocument or with an id above 512
// bytes, and what the mapping does not take. It counts nothing: facets are
// aggregations. What another program wrote is shown by Inspect and IDs, and put
// right by Replace; until then it is answered, except that a document which
// cannot be read counts as absent, so that the log answers and the next event
// writes it anew. The runner writes, through projections.Sink; the query service
// asks, through query.Search; reconciliation inspects.
//
// Layout, with every name after "<namespace>-" where there is a namespace. A
// generation is one index, docket-orders-<generation>-<incarnation>, where the
// incarnation is eight random hex digits: a generation that was lost and made
// again is another index. Its mapping (see mapping) is strict: the document
// itself is under doc, whole and not indexed, and beside it stands what
// questions use. Times are microseconds since 1970 UTC, money is in minor units.
// docket reaches it through an alias of the index's name and ".only", and says
// with every write that it wants an alias. An alias docket-orders-<generation>
// is for other programs.
//
// What moves beside the documents is in the index docket-orders-control-1,
// reached through the alias docket-orders-control in the same way: a record per
// generation (its incarnation, and whether it was dropped), a checkpoint per
// lane, the parked orders.
package elastic
