package elastic

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/docket-orders/docket/projections"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// State of a generation, as its record says.
const (
	making  = "making"  // its index may not be there yet
	ready   = "ready"   // its index was there
	dropped = "dropped" // its index may still be there
)

// record says which index is a generation. It decides: an index without it is
// what a crash left, and where the index is gone, it tells a dropped generation
// from a lost one.
type record struct {
	Generation  int    `json:"generation"`
	Incarnation string `json:"incarnation"`
	State       string `json:"state"`
}

// controlRecord is a document of the control index.
type controlRecord struct {
	Kind  string         `json:"kind"`            // generation, lane, parked
	Of    string         `json:"of"`              // the index of orders; for a generation its number
	Order string         `json:"order,omitempty"` // that is parked
	Data  jsontext.Value `json:"data"`
}

func (r controlRecord) encode() []byte {
	data, err := json.Marshal(r)
	if err != nil {
		panic(fmt.Sprintf("elastic: encode a record: %v", err)) // Data was encoded, the rest are texts
	}
	return data
}

func newIncarnation() string { return fmt.Sprintf("%08x", rand.Uint32()) }

func recordID(generation int) string { return fmt.Sprintf("generation-%d", generation) }

// record reads that of a generation; the zero record where there is none.
func (b *Backend) record(ctx context.Context, generation int) (record, *place, error) {
	docs, err := b.cluster.get(ctx, []wanted{{Index: b.names.control(), ID: recordID(generation)}})
	if err != nil {
		return record{}, nil, err
	}
	r, at := readRecord(docs[0])
	return r, at, nil
}

// readRecord of one that another program made unreadable is the zero record,
// too.
func readRecord(doc got) (record, *place) {
	if !doc.Found {
		return record{}, nil
	}
	var stored struct {
		Data record `json:"data"`
	}
	if json.Unmarshal(doc.Source, &stored) != nil {
		return record{}, &doc.place
	}
	return stored.Data, &doc.place
}

// decide changes the record of a generation; false when it changed meanwhile.
func (b *Backend) decide(ctx context.Context, r record, at *place) (bool, error) {
	op := operation{id: recordID(r.Generation), at: at, source: controlRecord{
		Kind: "generation", Of: fmt.Sprint(r.Generation), Data: encoded(r),
	}.encode()}
	outcomes, err := b.cluster.bulk(ctx, b.names.control(), []operation{op})
	if err != nil {
		return false, err
	}
	if o := outcomes[0]; o != nil && o.kind != conflict {
		return false, o
	}
	return outcomes[0] == nil, nil
}

// gone says what it means that something of an open generation is not there: a
// dropped generation is closed, another is lost. nil where the generation is
// what it should be.
func (b *Backend) gone(ctx context.Context, generation int, incarnation string) error {
	r, _, err := b.record(ctx, generation)
	switch {
	case missing(err):
		return projections.ErrLost
	case err != nil:
		return err
	case r.State == dropped:
		return projections.ErrClosed
	case r.Incarnation != incarnation || r.State != ready:
		return projections.ErrLost
	}
	there, err := b.cluster.hasAlias(ctx, b.names.only(generation, incarnation))
	if err == nil && !there {
		return projections.ErrLost
	}
	return err
}

// removeRecords removes what is kept beside the documents of an incarnation.
func (b *Backend) removeRecords(ctx context.Context, generation int, incarnation string) error {
	of := b.names.index(generation, incarnation)
	var all []wanted
	for lane := range projections.Lanes {
		all = append(all, wanted{Index: b.names.control(), ID: laneID(of, lane), Fields: []string{"kind"}})
	}
	parked, err := b.parked(ctx, of)
	if err != nil {
		return err
	}
	for _, p := range parked {
		all = append(all, wanted{Index: b.names.control(), ID: parkedID(of, p.OrderID), Fields: []string{"kind"}})
	}
	docs, err := b.cluster.get(ctx, all)
	if err != nil {
		return err
	}
	var ops []operation
	for _, doc := range docs {
		if doc.Found {
			ops = append(ops, operation{id: doc.ID, at: &doc.place})
		}
	}
	if len(ops) == 0 {
		return nil
	}
	// One that changed meanwhile belongs to who is not closed yet, and is of no
	// use any more.
	_, err = b.cluster.bulk(ctx, b.names.control(), ops)
	return err
}
