package order

import (
	"slices"
	"time"

	"github.com/docket-orders/docket/domain/money"
)

// StateSchema numbers the meaning of State's JSON: a snapshot of another schema
// is not read.
const StateSchema = 1

// State is what the rules read of an order's past; it survives JSON. Its zero
// value is the order that does not exist. A State and what it points to never
// change: it may be cached and shared between goroutines.
type State struct {
	Kind      Kind              `json:"k,omitempty"`
	Status    Status            `json:"s,omitempty"`
	Currency  money.Currency    `json:"c,omitempty"`
	PlacedAt  time.Time         `json:"at,omitzero"`
	Placing   content           `json:"p,omitempty"`
	Lines     []*LineState      `json:"l,omitempty"` // in force, in order
	Shipping  money.Amount      `json:"sh,omitempty"`
	Discount  money.Amount      `json:"d,omitempty"`
	Tax       money.Amount      `json:"tx,omitempty"`
	Address   *Address          `json:"a,omitempty"` // for parcels
	Tags      []string          `json:"tg,omitempty"`
	Metadata  map[string]string `json:"m,omitempty"`
	Edits     []*EditState      `json:"e,omitempty"`
	Holds     []*HoldState      `json:"h,omitempty"`
	Payments  []*PaymentState   `json:"pm,omitempty"`
	Refunds   []*RefundState    `json:"rf,omitempty"`
	Shipments []*ShipmentState  `json:"sp,omitempty"`
	Returns   []*ReturnState    `json:"rt,omitempty"`
	Notes     []Used            `json:"n,omitempty"`
	Cancels   []Used            `json:"cn,omitempty"` // cancellations of lines
	Adoption  Adoption          `json:"ad,omitzero"`
}

// Used is an id that was given away, and for what.
type Used struct {
	ID      string  `json:"i"`
	Content content `json:"c"`
}

// LineState is a line in force and what happened to its units.
type LineState struct {
	Line
	Shipped   int64 `json:"s,omitempty"`
	Delivered int64 `json:"d,omitempty"`
	Asked     int64 `json:"a,omitempty"` // in returns not yet received or rejected
	Returned  int64 `json:"r,omitempty"`
}

// unshipped is how many units of the line may still leave. Adopted counts below
// nothing make no more units than there are.
func (l *LineState) unshipped() int64 { return max(0, l.Quantity-max(0, l.Shipped)) }

// returnable is how many units of the line may still be asked back.
func (l *LineState) returnable() int64 { return max(0, l.Delivered-max(0, l.Asked)-max(0, l.Returned)) }

// progress of a thing that ends in one of two ways.
type progress string

const (
	pending progress = ""
	done    progress = "done"    // confirmed, released, received, completed
	refused progress = "refused" // declined, rejected, failed
	voided  progress = "voided"  // a payment given up
)

type EditState struct {
	ID       string       `json:"i"`
	Changes  []LineChange `json:"ch,omitempty"` // while open
	Progress progress     `json:"p,omitempty"`
	Content  content      `json:"c"`
}

type HoldState struct {
	ID       string   `json:"i"`
	Progress progress `json:"p,omitempty"`
	Content  content  `json:"c"`
}

// PaymentState: Progress says how the authorisation ended; a payment captured
// at once has none, nor anything Authorised.
type PaymentState struct {
	ID         string       `json:"i"`
	Progress   progress     `json:"p,omitempty"`
	Authorised money.Amount `json:"a,omitempty"`
	Captured   money.Amount `json:"cp,omitempty"`
	Granted    money.Amount `json:"g,omitempty"` // refunds granted and neither done nor failed
	Refunded   money.Amount `json:"r,omitempty"`
	Captures   []Used       `json:"cs,omitempty"`
	Content    content      `json:"c"`
}

// rest is what is left of the authorisation.
func (p *PaymentState) rest() money.Amount {
	rest := p.Authorised.Sub(p.Captured)
	if p.Progress != pending || rest.Sign() < 0 {
		return rest.Sub(rest)
	}
	return rest
}

// refundable is what was captured, less what went back or was promised back.
func (p *PaymentState) refundable() money.Amount {
	return p.Captured.Sub(p.Refunded).Sub(p.Granted)
}

type RefundState struct {
	ID        string       `json:"i"`
	PaymentID string       `json:"pm"`
	Amount    money.Amount `json:"a"`
	Progress  progress     `json:"p,omitempty"`
	Content   content      `json:"c"`
}

// ShipmentState: on adopted history a parcel may arrive before it leaves, or
// without leaving; then SentAt is zero, and Told says that the delivery named
// the units.
type ShipmentState struct {
	ID        string         `json:"i"`
	Lines     []LineQuantity `json:"l,omitempty"` // until it arrives
	Carrier   string         `json:"cr,omitempty"`
	Tracking  string         `json:"tn,omitempty"`
	SentAt    time.Time      `json:"sa,omitzero"`
	ArrivedAt time.Time      `json:"aa,omitzero"`
	Told      bool           `json:"t,omitempty"`
	Parcel    content        `json:"pc,omitempty"` // carrier and tracking number as dispatched
	Units     content        `json:"uc,omitempty"` // lines as dispatched
}

type ReturnState struct {
	ID       string         `json:"i"`
	Lines    []LineQuantity `json:"l,omitempty"` // until it ends
	Progress progress       `json:"p,omitempty"`
	Content  content        `json:"c"`
	Received content        `json:"rc,omitempty"`
}

// Totals of the lines in force.
func (s State) Totals() (Totals, error) {
	return TotalsOf(plain(s.Lines), s.Shipping, s.Discount, s.Tax)
}

// PaymentStatus is the payment axis.
func (s State) PaymentStatus() PaymentStatus {
	captured, refunded := s.captured(), money.Zero(s.Currency)
	for _, r := range s.Refunds {
		if r.Progress == done {
			refunded = refunded.Add(r.Amount)
		}
	}
	authorised := slices.ContainsFunc(s.Payments, (*PaymentState).open)
	totals, err := s.Totals()
	if err != nil {
		panic("order: totals beyond their bounds were accepted: " + err.Error())
	}
	return PaymentStatusOf(captured, refunded, totals.Grand, authorised)
}

// FulfilmentStatus is the fulfilment axis.
func (s State) FulfilmentStatus() FulfilmentStatus {
	units := make([]Units, len(s.Lines))
	for i, l := range s.Lines {
		units[i] = Units{l.Quantity, l.Shipped, l.Delivered, l.Returned}
	}
	delivered := 0
	for _, sh := range s.Shipments {
		if !sh.ArrivedAt.IsZero() {
			delivered++
		}
	}
	return FulfilmentStatusOf(units, len(s.Shipments), delivered)
}

func (s State) captured() money.Amount {
	sum := money.Zero(s.Currency)
	for _, p := range s.Payments {
		sum = sum.Add(p.Captured)
	}
	return sum
}

func (s State) held() bool {
	return slices.ContainsFunc(s.Holds, (*HoldState).open)
}

func plain(lines []*LineState) []Line {
	out := make([]Line, len(lines))
	for i, l := range lines {
		out[i] = l.Line
	}
	return out
}

// identified are the things of an order that have an id of their own. There
// are at most MaxEntities of each: a slice of pointers is copied on every
// change, the things that stay as they are are shared.
type identified[T any] interface {
	*T
	key() string
}

func (l *LineState) key() string     { return l.ID }
func (e *EditState) key() string     { return e.ID }
func (h *HoldState) key() string     { return h.ID }
func (p *PaymentState) key() string  { return p.ID }
func (r *RefundState) key() string   { return r.ID }
func (s *ShipmentState) key() string { return s.ID }
func (r *ReturnState) key() string   { return r.ID }

func (e *EditState) open() bool         { return e.Progress == pending }
func (h *HoldState) open() bool         { return h.Progress == pending }
func (p *PaymentState) open() bool      { return p.rest().Sign() > 0 }
func (r *RefundState) open() bool       { return r.Progress == pending }
func (s *ShipmentState) underway() bool { return s.ArrivedAt.IsZero() }
func (r *ReturnState) open() bool       { return r.Progress == pending }

// index of the thing with this id, -1 when it is not there; the newest first,
// since that is what is asked for.
func index[P identified[T], T any](list []P, id string) int {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].key() == id {
			return i
		}
	}
	return -1
}

// find answers nil when the thing is not there.
func find[P identified[T], T any](list []P, id string) P {
	if i := index(list, id); i >= 0 {
		return list[i]
	}
	return nil
}

// added is list with one more at the end; list stays as it is.
func added[T any](list []T, one T) []T {
	return append(list[:len(list):len(list)], one)
}

// changed is list with a changed copy of the thing with this id.
func changed[P identified[T], T any](list []P, id string, change func(P)) []P {
	i := index(list, id)
	if i < 0 {
		return list
	}
	one := *list[i]
	change(&one)
	list = slices.Clone(list)
	list[i] = &one
	return list
}

// counted is lines with changed copies of those that units name; what is not
// there is passed over.
func counted(lines []*LineState, units []LineQuantity, change func(l *LineState, n int64)) []*LineState {
	if len(units) == 0 {
		return lines
	}
	lines = slices.Clone(lines)
	at := positions(lines)
	for _, u := range units {
		if i := at(u.LineID); i >= 0 {
			l := *lines[i]
			change(&l, u.Quantity)
			lines[i] = &l
		}
	}
	return lines
}

// positions finds lines by id: -1 when there is none. Long orders get an index.
func positions(lines []*LineState) func(id string) int {
	if len(lines) <= 8 {
		return func(id string) int { return index(lines, id) }
	}
	at := make(map[string]int, len(lines))
	for i, l := range lines {
		at[l.ID] = i
	}
	return func(id string) int {
		if i, ok := at[id]; ok {
			return i
		}
		return -1
	}
}

// used finds what an id was given away for.
func used(list []Used, id string) (content, bool) {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].ID == id {
			return list[i].Content, true
		}
	}
	return 0, false
}
