package eventstoretest

import (
	"testing"

	"github.com/docket-orders/docket/eventstore"
)

func TestReference(t *testing.T) {
	opened := map[string]*Reference{}
	Run(t, func(t *testing.T, dir string) eventstore.Store {
		if r := opened[dir]; r != nil {
			return r.Reopen()
		}
		opened[dir] = NewReference(uint64(len(opened)) + 1)
		return opened[dir]
	})
}
