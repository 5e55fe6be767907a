// Package redis keeps the orders projection in Redis, one server, a cluster or
// behind sentinels: orders by id, customers with their orders, and counters.
//
// It promises what projections.Sink and query.Hot promise. Every write is one Lua
// call per bucket that compares what is kept with what its writer saw and then
// writes all of it or nothing, so that repeats, late writers and lost answers
// change nothing. Sums are exact in 64 bits; a document that would take one
// beyond is refused. It refuses to answer from, or to write into, what was lost:
// every key carries the nonce of its generation, every call looks for it, and its
// absence is projections.ErrLost. It asks nothing of the server but memory:
// eviction and persistence are the operator's choice. cmd opens a Backend.
//
// Keys, with P for docket or docket.NAMESPACE, G the generation and B a bucket:
//
//	{P}:generations      hash: G to "making|made|dropping NONCE"
//	{P:G}:control        hash: per lane tN token, oN owner, bN beat, pN place in
//	                     the log, mN how often that was moved; k and an order's id: parked
//	{P:G:B}:docs         hash: order to its head and document
//	{P:G:B}:ids          sorted set, all of score 0: "o" and the order's id
//	{P:G:B}:sums         hash: rows over all days, and days over all documents
//	{P:G:B}:days         hash: the other rows of a day
//	{P:G:B}:products     hash: currency and SKU to units, amount, millionths
//	{P:G:cB}:members     hash: "m" customer 0 order to revision and sums, or a mark;
//	                     "t" customer 0 currency to the totals
//	{P:G:cB}:list        sorted set, all of score 0: customer 0 placed order
//	{P:G:cB}:counts      hash: currency to the number of customers with orders
//
// What is in braces decides the slot of a cluster: all that one call touches is in
// one. The field !docket, or a member that begins so, is the nonce. values.go has
// the layout of values, rows.go that of rows.
//
// An order's customers are written first and its bucket last, which decides: a
// repeat after a failure between them does all of it again. A customer whom an
// order left keeps a mark with the order's revision, so that a late writer does
// not bring it back.
//
// backend.go opens and drops generations; write.go and customers.go write; views.go
// and stats.go answer; bucket.go, recount.go, inspect.go and repair.go are for
// reconciliation; lua/ has the scripts.
package redis
