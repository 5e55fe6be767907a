package groups

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/groups/competing"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

// Names of the streams that groups write, and types of their events.
const (
	configStream     = "$persistentSubscriptionConfig"
	ownPrefix        = "$persistentsubscription-"
	checkpointSuffix = "-checkpoint"
	parkedSuffix     = "-parked"

	typeConfig     = "$PersistentConfig"
	typeCheckpoint = "$SubscriptionCheckpoint"
)

func (k key) checkpoints() string { return ownPrefix + k.String() + checkpointSuffix }
func (k key) parked() string      { return ownPrefix + k.String() + parkedSuffix }

// config is the document of all definitions.
type config struct {
	Version   string       `json:"version"`
	Updated   time.Time    `json:"updated"`
	UpdatedBy string       `json:"updatedBy"`
	Entries   []definition `json:"entries"`
}

// configVersion is EventStoreDB's of the time of groups on the log.
const configVersion = "2"

func (s *Service) readConfig(ctx context.Context) ([]definition, error) {
	var c config
	_, err := s.lastOf(ctx, configStream, typeConfig, func(data []byte) error {
		c = config{}
		return json.Unmarshal(data, &c)
	})
	return c.Entries, err
}

// lastOf decodes the last event of a type that can be decoded, and reports
// whether there is one. Anybody who may write to the stream can put something
// else there, and must not keep groups from starting with it.
func (o Options) lastOf(ctx context.Context, stream, typ string, decode func(data []byte) error) (found bool, err error) {
	for r, err := range o.Store.ReadStream(ctx, stream, eventstore.EndRevision, eventstore.Backwards, 0) {
		switch {
		case errors.Is(err, eventstore.ErrStreamNotFound), errors.Is(err, eventstore.ErrDeleted):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("read the end of %s: %w", stream, err)
		case r.Type == typ && decode(r.Data) == nil:
			return true, nil
		}
		o.Logger.Error("an event is passed over that no persistent subscription wrote", "stream", stream, "revision", int64(r.Revision))
	}
	return false, nil
}

func writeConfig(ctx context.Context, store eventstore.Store, c config) error {
	data, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("write the definitions: %w", err)
	}
	_, err = store.Append(ctx, configStream, eventstore.Any, []eventstore.Event{{ID: uuid.New(), Type: typeConfig, JSON: true, Data: data}})
	return err
}

// book is where one group keeps its progress.
type book struct {
	store eventstore.Store
	def   *definition
	now   func() time.Time
}

// checkpointOf reads the place that was written last; 0 for none.
func (o Options) checkpointOf(ctx context.Context, d *definition) (competing.Place, error) {
	var place competing.Place
	found, err := o.lastOf(ctx, d.key().checkpoints(), typeCheckpoint, func(data []byte) (err error) {
		var text string
		if err = json.Unmarshal(data, &text); err == nil {
			place, err = d.parse(text)
		}
		return err
	})
	if !found || err != nil {
		return 0, err
	}
	return place, nil
}

func (b *book) writeCheckpoint(ctx context.Context, p competing.Place) error {
	data, err := json.Marshal(b.def.text(p))
	if err == nil {
		_, err = b.store.Append(ctx, b.def.key().checkpoints(), eventstore.Any, []eventstore.Event{{ID: uuid.New(), Type: typeCheckpoint, JSON: true, Data: data}})
	}
	if err != nil {
		return fmt.Errorf("write the checkpoint %s of %s: %w", b.def.text(p), b.def.key(), err)
	}
	return nil
}

// parkedEntry is the metadata of a parked link.
type parkedEntry struct {
	Added    time.Time           `json:"added"`
	Reason   string              `json:"reason"`
	Revision eventstore.Revision `json:"subscriptionEventNumber"`
}

// maxReason bounds what is kept of a reason, in bytes.
const maxReason = 4 << 10

// park writes links to events, and answers how many of them, from the first
// on, it has written.
func (b *book) park(ctx context.Context, parks []competing.Park) (written int, err error) {
	stream := b.def.key().parked()
	events := make([]eventstore.Event, len(parks))
	for i, p := range parks {
		e := p.Message.Event.(*event)
		metadata, err := json.Marshal(parkedEntry{Added: b.now().UTC(), Reason: cut(p.Reason), Revision: e.revision})
		if err != nil {
			return 0, fmt.Errorf("park in %s: %w", stream, err)
		}
		events[i] = eventstore.Event{ID: uuid.New(), Type: wire.TypeLink, Data: []byte(e.link), Metadata: metadata}
	}
	for written < len(events) {
		end := written + 1
		for end < len(events) && eventstore.AppendSize(events[written:end+1]) <= eventstore.MaxAppendSize {
			end++
		}
		if _, err := b.store.Append(ctx, stream, eventstore.Any, events[written:end]); err != nil {
			return written, fmt.Errorf("park %d events in %s: %w", end-written, stream, err)
		}
		written = end
	}
	return written, nil
}

func cut(reason string) string {
	if len(reason) <= maxReason {
		return reason
	}
	n := maxReason
	for !utf8.RuneStart(reason[n]) {
		n--
	}
	return reason[:n]
}

// parkedRange is which revisions of the parked stream are not replayed yet:
// from first (inclusive) to end (exclusive).
func (b *book) parkedRange(ctx context.Context) (first, end eventstore.Revision, err error) {
	stream := b.def.key().parked()
	md, _, err := b.store.StreamMetadata(ctx, stream)
	if err == nil {
		end, err = lastRevision(ctx, b.store, stream)
		end++
	}
	if err != nil && !errors.Is(err, eventstore.ErrDeleted) {
		return 0, 0, fmt.Errorf("look at %s: %w", stream, err)
	}
	return min(md.TruncateBefore, end), end, nil
}

// letGo hides the parked entries below a revision.
func (b *book) letGo(ctx context.Context, before eventstore.Revision) error {
	stream := b.def.key().parked()
	md, _, err := b.store.StreamMetadata(ctx, stream)
	if err == nil && !md.SoftDeleted() {
		md.TruncateBefore = max(md.TruncateBefore, before)
		_, err = b.store.SetStreamMetadata(ctx, stream, eventstore.Any, md)
	}
	if err != nil {
		return fmt.Errorf("hide what was replayed of %s below %d: %w", stream, before, err)
	}
	return nil
}

// forget removes what a group of this name has left.
func forget(ctx context.Context, store eventstore.Store, k key) error {
	for _, stream := range []string{k.checkpoints(), k.parked()} {
		last, err := lastRecord(ctx, store, stream)
		if err == nil && last != nil {
			_, err = store.Delete(ctx, stream, eventstore.Any)
		}
		if err != nil {
			return fmt.Errorf("forget %s: %w", stream, err)
		}
	}
	return nil
}
