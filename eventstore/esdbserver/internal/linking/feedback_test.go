package linking_test

import (
	"strings"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
)

// A group on the log that got links to its own checkpoints would write a
// checkpoint for them, and so on without end.
func TestCheckpointsOfGroupsOnTheLogAreNotLinked(t *testing.T) {
	r := serve(t)
	r.must(r.projections.Enable(t.Context(), "$by_event_type", esdb.GenericProjectionOptions{}))
	settings := esdb.SubscriptionSettingsDefault()
	settings.CheckpointLowerBound, settings.CheckpointUpperBound = 1, 1
	r.must(r.client.CreatePersistentSubscriptionToAll(t.Context(), "g", esdb.PersistentAllSubscriptionOptions{Settings: &settings, StartFrom: esdb.Start{}}))
	consumer, err := r.client.SubscribeToPersistentSubscriptionToAll(t.Context(), "g", esdb.SubscribeToPersistentSubscriptionOptions{})
	r.must(err)
	defer consumer.Close()
	linked := 0
	for round := range 20 {
		r.append("placed", 1)
		for {
			e := consumer.Recv()
			if e.SubscriptionDropped != nil {
				t.Fatal(round, e.SubscriptionDropped.Error)
			}
			r.must(consumer.Ack(e.EventAppeared.Event))
			stream := e.EventAppeared.Event.OriginalEvent().StreamID
			if strings.HasSuffix(stream, "SubscriptionCheckpoint") {
				linked++
			}
			if stream == "$et-Placed" {
				break
			}
		}
	}
	if linked > 0 {
		t.Errorf("%d checkpoints were linked", linked)
	}
}
