package linking_test

import (
	"bytes"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
)

// Who waits for the state of a projection without a query, which never comes,
// keeps nobody from closing the server.
func TestCloseEndsTheWaitForAState(t *testing.T) {
	r := serve(t)
	r.must(r.projections.Create(t.Context(), "silent", "", esdb.CreateProjectionOptions{}))
	minutes := 10 * time.Minute
	asked := make(chan error, 1)
	go func() {
		_, err := r.projections.GetState(t.Context(), "silent", esdb.GetStateProjectionOptions{Deadline: &minutes})
		asked <- err
	}()
	eventually(t, func() error {
		stacks := make([]byte, 1<<20)
		if stacks = stacks[:runtime.Stack(stacks, true)]; !bytes.Contains(stacks, []byte("linking.(*Service).nothing")) {
			return errors.New("nobody waits for a state")
		}
		return nil
	})
	begin := time.Now()
	r.server.Stop()
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("close took %v", took)
	}
	if err := <-asked; err == nil {
		t.Error("there is a state")
	}
}
