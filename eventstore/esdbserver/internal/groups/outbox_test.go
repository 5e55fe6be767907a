package groups

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/groups/competing"
)

// letter is a delivery of so many bytes.
func letter(size int) delivery {
	return delivery{message: &competing.Message{}, body: &body{original: &eventstore.Record{Event: eventstore.Event{Data: make([]byte, size)}}}}
}

func TestOutboxKeepsFewBytes(t *testing.T) {
	o := newOutbox()
	var kept []bool
	for _, size := range []int{3 << 20, 1, 0, maxUnsentBytes / 2, maxUnsentBytes / 2} {
		o.put(letter(size))
	}
	for range 2 { // what is taken out makes room
		for len(o.queue) > 0 {
			d, ok, err := o.next(t.Context())
			if !ok || err != nil {
				t.Fatal(ok, err)
			}
			kept = append(kept, d.body != nil)
		}
		if o.bytes != 0 {
			t.Errorf("%d bytes in an empty outbox", o.bytes)
		}
		for range 4 {
			o.put(letter(maxUnsentBytes / 3))
		}
	}
	if want := []bool{true, false, false, false, false, true, true, false, false}; !slices.Equal(kept, want) {
		t.Errorf("kept %v, want %v", kept, want)
	}
}

func TestRevokedDeliveries(t *testing.T) {
	o := newOutbox()
	letters := []delivery{letter(1), letter(1), letter(1), letter(1)}
	for _, d := range letters {
		o.put(d)
	}
	first, _, _ := o.next(t.Context())
	o.revoke(first.message) // was sent: nothing to do
	o.revoke(letters[2].message)
	o.revoke(letters[1].message)
	if d, ok, err := o.next(t.Context()); d.message != letters[3].message || !ok || err != nil {
		t.Errorf("%v, %v, %v", d, ok, err)
	}
	if len(o.queue) != 0 || o.bytes != 0 {
		t.Errorf("%d deliveries, %d bytes", len(o.queue), o.bytes)
	}
}

func TestClosedOutbox(t *testing.T) {
	o, why := newOutbox(), errors.New("why")
	o.put(letter(1))
	o.close(why)
	o.close(nil)
	o.put(letter(1))
	if _, ok, err := o.next(t.Context()); ok || err != why {
		t.Errorf("%v, %v", ok, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, ok, err := newOutbox().next(ctx); ok || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", ok, err)
	}
}
