package codec

import "github.com/docket-orders/docket/domain/order"

// SubjectKind is a kind of thing that events are about.
type SubjectKind string

const (
	SubjectOrder    SubjectKind = "order"
	SubjectEdit     SubjectKind = "edit"
	SubjectHold     SubjectKind = "hold"
	SubjectPayment  SubjectKind = "payment"
	SubjectShipment SubjectKind = "shipment"
	SubjectReturn   SubjectKind = "return"
	SubjectRefund   SubjectKind = "refund"
)

// Subject is a thing within one order. ID is empty for the order itself.
type Subject struct {
	Kind SubjectKind
	ID   string
}

// Subjects names what an event is about, first, then what that belongs to; the
// order itself is always last. A read by business time takes as the event's
// effective time the latest of its own time and the effective times of the
// first events (by revision, before this one) of these subjects: a delivery
// never takes effect before the dispatch, nor anything before the order was
// placed. A subject without an earlier event sets no floor: this event begins
// it.
func Subjects(e order.Event) []Subject { return catalogue.rowOf(e).subjects(e) }

func ofOrder() []Subject { return []Subject{{Kind: SubjectOrder}} }

func of(kind SubjectKind, id string) []Subject {
	return []Subject{{kind, id}, {Kind: SubjectOrder}}
}
