package projections

import (
	"context"
	"hash/fnv"
	"hash/maphash"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/view"
)

// Inspector lets reconciliation look at everything a sink keeps, and put right
// what does not follow from the log. Whatever wrote to the store, docket or
// another program, Inspect, IDs and Figures tell what is there now. Methods may
// be called from many goroutines, beside the feeder.
type Inspector interface {
	// Inspect compares what is kept of each change's order with what writing
	// that change to an empty store would keep: document, contribution, and
	// the store's own columns and index entries. One answer per change, in
	// their order. Documents are read in real time; an answer is of one
	// instant, two answers need not be of the same. Something kept that cannot
	// be read is no error: Kept says so.
	Inspect(ctx context.Context, want []Change) ([]Kept, error)

	// IDs lists the ids of kept orders above after, ascending by their bytes,
	// at most limit. After "" it begins with the very first, be its id empty:
	// another program may have left such an order.
	IDs(ctx context.Context, after string, limit int) ([]string, error)

	// Prints takes fingerprints of what is kept of these orders, in real time, one
	// per id, in their order. It costs about as much as reading without decoding.
	Prints(ctx context.Context, ids []string) ([]Print, error)

	// Read returns what Prints takes fingerprints of, decoded; each answer is of
	// one instant. Its callers ask for few at a time: documents may be large.
	Read(ctx context.Context, ids []string) ([]Stored, error)

	// Figures hands over every figure that is kept, in any order, and returns
	// the lanes' checkpoints of the same instant. Figures of nothing may be
	// left out. When yield fails the walk ends with its error.
	Figures(ctx context.Context, yield func(Figure) error) ([]Checkpoint, error)

	// Replace makes what is kept of an order what change says, whatever is
	// kept and at whatever revision; a nil change removes all of it. Counters
	// change by the new contribution minus the kept one; where the kept one
	// was wrong or cannot be read, Recount puts them right. ErrRefused, and
	// nothing changed, when the store will not have the document. Only the
	// feeder of the generation, or whoever stands in for it, may call it.
	Replace(ctx context.Context, orderID string, change *Change) error

	// Recount makes every figure what the kept contributions add up to, and
	// says how many rows it changed. It does so in one step for readers and
	// for the feeder.
	Recount(ctx context.Context) (changed int, err error)

	// Sound looks whether the store's own structures, as lists, searches and
	// customers use them, agree with what they are made of, and says in words
	// what does not; nothing when they do. Such damage may hide orders from
	// every other method. It is not repaired order by order but by a rebuild.
	// It may take seconds, and holds up nobody meanwhile.
	Sound(ctx context.Context) ([]string, error)
}

// SelfCounting is a sink whose figures cannot be read at one instant, since they
// lie in parts that change apart, or which keeps none. Its Figures hands over
// what is there and promises no instant. Instead it compares each part itself,
// at an instant of that part, with what the contributions kept there add up to;
// Inspect tells whether these are right.
type SelfCounting interface {
	// Miscounted hands over every figure that is not the sum of the kept
	// contributions, and returns how many were compared. A row that belongs to
	// nothing has a should of zeros. When yield fails it ends with its error.
	Miscounted(ctx context.Context, yield func(kept, should Figure) error) (compared int64, err error)
}

// Kept is what a store keeps of one order, beside what it should keep.
type Kept struct {
	Found bool // something is kept of the order
	// Same: what is kept is, to the last column, what writing the change would
	// keep. The fields below are then zero.
	Same bool
	// NoDocument: other rows of the order are kept, its document is not.
	NoDocument bool
	// Document and Contribution as kept.
	Document     view.Order
	Contribution Contribution
	// Rows names the store's own columns and index entries that do not follow
	// from the change, with what is kept and what should be: "total: 12, not
	// 13", "sku A1: not indexed". Where Document is at another revision than
	// the change, it is empty.
	Rows []string
	// Unreadable is why document or contribution cannot be read; empty when
	// they can.
	Unreadable string
}

// Print is a fingerprint of what is kept of one order, byte for byte: what is
// the same in two generations of a store has the same one, and what is equal
// though written otherwise has another. Prints can be compared only within one
// process. The zero value is of an order of which nothing is kept, but for
// Revision, which is then -1.
type Print struct {
	Revision     int64  // of the document; -1 where there is none that can be read
	Document     uint64 // 0: none
	Contribution uint64 // 0 where the store keeps none
	Words        uint64 // WordsPrint of the full text; 0 where the store keeps none
}

// Stored is what is kept of one order, with its fingerprint.
type Stored struct {
	Print
	Document     view.Order
	Contribution Contribution // zero where the store keeps none
	Words        string       // the full text, where the store can tell
}

var seed = maphash.MakeSeed()

// PrintOf is the fingerprint of what is kept as these bytes; never 0.
func PrintOf(kept []byte) uint64 { return max(1, maphash.Bytes(seed, kept)) }

// WordsPrint is the fingerprint of a full text: FNV-1a, which stores may keep.
func WordsPrint(words string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(words))
	return h.Sum64()
}

// Figure is one row of what is counted, as questions see it.
type Figure struct {
	FigureKey
	Values [8]int64 // in the order that FigureOf says; the rest is zero
}

// FigureKey names a figure. Fields that its kind has no use for are empty.
type FigureKey struct {
	Of        FigureOf
	Currency  money.Currency
	Dimension string
	Key       string
	Day       string // EveryDay: over all days
}

// EveryDay is the Day of sums over all days.
const EveryDay = "*"

// DimensionUnlisted is the dimension of strays that are orders.
const DimensionUnlisted = "unlisted"

// FigureOf is a kind of figure.
type FigureOf string

const (
	// FigureSums: orders, lines, units, items, shipping, grand, paid, rounding,
	// as in Sums; per currency, dimension, key and day. Dimension all has days
	// only; every other dimension has days and EveryDay.
	FigureSums FigureOf = "sums"
	// FigureMethod: payments, captured; per currency, key (the method) and day.
	FigureMethod FigureOf = "method"
	// FigureProduct: units, whole amount, millionths (0 to 999,999); per
	// currency and key (the SKU).
	FigureProduct FigureOf = "product"
	// FigureCustomer: orders, items, grand, paid, rounding; per currency and
	// key (the customer).
	FigureCustomer FigureOf = "customer"
	// FigureFacet: documents; per dimension and key. The dimensions are those
	// that lists can be counted by. Documents that were never placed count.
	FigureFacet FigureOf = "facet"
	// FigureStray: rows of the store's own that belong to no order, or counts
	// that contradict the rows they count; per key, which says what. No order
	// adds to it: a healthy store has none. Recount removes them. With dimension
	// DimensionUnlisted it is an order, whose id is the key: it is kept, and IDs
	// does not list it. Recount lists it.
	FigureStray FigureOf = "stray"
)
