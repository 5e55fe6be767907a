// Package sqlite keeps a generation of the orders projection in one SQLite
// file, <dir>/views/orders-<generation>.db: documents, full text, counters,
// customers, parked orders and checkpoints together.
//
// It promises that a batch is one transaction, so that a question sees all of
// it or nothing; that the answer to one question (page, total, facets) belongs
// to one instant; and that another program may write the same file between two
// batches: nothing stored is believed from memory. The file is synced at WAL
// checkpoints only (synchronous=NORMAL). A crash may lose the last batches,
// documents and checkpoints alike, and the runner applies those events again.
//
// It refuses a document above projections.MaxDocument, a file that a newer
// docket wrote, and one that is damaged; the views can always be rebuilt from
// the log, and the errors say so. What another program changed is shown by
// Inspect and Figures, and put right by Replace and Recount; until then it is
// answered, except that a single document that cannot be read counts as absent,
// so that the log answers and the next event writes it anew. What hides from
// them because an index or the full text leads astray is told by Sound, and
// cured by a rebuild. The runner writes, through projections.Sink; the query
// service asks, through query.Views; reconciliation inspects.
//
// Layout. orders has one narrow row per document, with what lists sort and
// filter by; docs has the document itself (JSON) beside what it contributes to
// the counters. The ten values that facets count are in shapes: one row per
// combination in use, with the number of orders that have it, so that totals
// and facets of most questions never touch the orders. In the same way sums
// has a row per combination of counted groups (groupsets) and day, and one per
// combination over all days. fts is a contentless FTS5 index with rowid equal
// to orders.n; skus names the orders of each SKU. Times are microseconds since
// 1970 UTC, money is in minor units, rounding in millionths, products in whole units and millionths.
package sqlite
