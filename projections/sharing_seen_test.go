package projections

import (
	"slices"
	"testing"
	"time"

	"github.com/docket-orders/docket/eventstore"
)

// TestStillForALease: a lane is free when it is nobody's, or when its record was
// seen not to change for a lease, by somebody who looked all the while.
func TestStillForALease(t *testing.T) {
	const lease = time.Second
	var now time.Time
	records := make([]Checkpoint, Lanes)
	for lane := range records {
		records[lane] = Checkpoint{Lane: lane, Owner: "other", Token: 1}
	}
	l := lanesSeen{lease: lease}
	look := func(after time.Duration) (free []int) {
		now = now.Add(after)
		l.look(now, now, slices.Clone(records))
		for lane, owner := range l.owners() {
			if owner == "" {
				free = append(free, lane)
			}
		}
		return free
	}
	is := func(what string, free, want []int) {
		t.Helper()
		if !slices.Equal(free, want) {
			t.Errorf("%s: free are %v, not %v", what, free, want)
		}
	}
	all := make([]int, Lanes)
	for lane := range all {
		all[lane] = lane
	}

	is("at the first look", look(0), nil)
	records[3].Owner = ""
	is("one is nobody's", look(lease/4), []int{3})
	records[3].Owner = "other"
	for lane := range 60 {
		records[lane].Beat++
	}
	records[60].Position = eventstore.At64(9)
	records[61].Token++
	is("still for three quarters", look(lease/2), nil)
	is("these were still for a lease", look(lease/4), []int{62, 63})
	is("all were", look(lease*3/4), all)
	for lane := range records {
		records[lane].Beat++
	}
	is("all have moved", look(lease/4), nil)
	is("nobody looked meanwhile", look(10*lease), nil)
	is("nor half the time", look(lease/2), nil)
	is("now somebody did", look(lease/2), all)
	if l.lying(5) {
		t.Error("lane 5 lies there too early")
	}
	if look(lease / 4); !l.lying(5) {
		t.Error("lane 5 does not lie there")
	}
	l.took(now, Checkpoint{Lane: 5, Owner: "me", Token: 2})
	if l.owners()[5] != "me" || l.lying(5) {
		t.Errorf("lane 5 after it was taken: %q", l.owners()[5])
	}
}
