package linking

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/docket-orders/docket/eventstore"
)

// limits of a follower; tests make them small.
type limits struct {
	// records and bytes bound what is linked in one step, and what is held in
	// memory: records that are looked at, and bytes of links.
	records, bytes int
	// checkpoint is how many records are looked at between checkpoints, and
	// about how many have to be looked at again after a kill.
	checkpoint int
	// targets is how many target streams are remembered.
	targets int
}

var usualLimits = limits{records: 2048, bytes: 1 << 20, checkpoint: 4096, targets: 4096}

const (
	// appendsAtOnce lets links of many streams share the store's commits.
	appendsAtOnce = 16

	backoffFirst = 50 * time.Millisecond
	backoffLast  = 5 * time.Second
)

const typeCheckpoint = "$ProjectionCheckpoint"

// checkpointStream is where a system projection keeps how far it is.
func checkpointStream(name string) string { return "$projections-" + name + "-checkpoint" }

func isCheckpoint(stream string) bool {
	name, ours := strings.CutPrefix(stream, "$projections-")
	return ours && strings.HasSuffix(name, "-checkpoint")
}

// follower reads the log and writes the links of one system projection.
type follower struct {
	store  eventstore.Store
	logger *slog.Logger
	kind   *kind
	epoch  int64
	limits limits

	cancel context.CancelFunc
	ended  chan struct{}

	// Of the goroutine of run.
	position eventstore.Position // everything up to here is linked
	settled  bool                // and the outcome of every append is known
	looked   int                 // records looked at since the last checkpoint
	linked   int                 // links written since
	targets  map[string]*target

	mu   sync.Mutex
	seen progress
}

// progress is what is told about a follower.
type progress struct {
	position   eventstore.Position
	checkpoint eventstore.Position
	events     int64 // linked since it was started
	fault      error // nil: all is well
}

// target is a stream that links are written to, used by one goroutine at a time.
type target struct {
	name     string
	looked   bool // the end of the stream was read
	expected eventstore.Expected
	// through is the last record that is linked here, as far as was seen.
	through eventstore.Position
	closed  bool // tombstoned: nobody can read it, so nothing is written
}

// follow starts a follower.
func follow(o Options, k *kind, epoch int64) *follower {
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{
		store: o.Store, logger: o.Logger, kind: k, epoch: epoch, limits: o.limits,
		cancel: cancel, ended: make(chan struct{}),
	}
	go func() {
		defer close(f.ended)
		f.run(ctx)
	}()
	return f
}

// stop ends the follower, after a step that it is in the middle of, and with a
// checkpoint when there is something to keep.
func (f *follower) stop(checkpoint bool) {
	f.cancel()
	<-f.ended
	if !checkpoint || f.linked == 0 || !f.mayCheckpoint() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), backoffLast)
	defer cancel()
	if err := f.checkpoint(ctx); err != nil {
		f.logger.Warn("projection keeps no checkpoint: what follows the last one is looked at again", "projection", f.kind.name, "err", err)
	}
}

// progress may be asked by any goroutine.
func (f *follower) progress() progress {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen
}

func (f *follower) tell(change func(*progress)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.seen)
}

// run follows the log until ctx ends. What fails is tried again from the last
// checkpoint, for ever: the store may come back.
func (f *follower) run(ctx context.Context) {
	backoff := backoffFirst
	for {
		err := f.resume(ctx)
		for err == nil {
			if err = f.step(ctx); err == nil {
				backoff = backoffFirst
				f.tell(func(p *progress) { p.fault = nil })
			}
		}
		if ctx.Err() != nil {
			return
		}
		f.tell(func(p *progress) { p.fault = err })
		f.logger.Warn("projection stands still and will try again", "projection", f.kind.name, "after", backoff, "err", err)
		if !pause(ctx, backoff) {
			return
		}
		backoff = min(2*backoff, backoffLast)
	}
}

// pause is false when ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// resume finds out what is linked: everything up to the checkpoint, and what
// was written to the log after it.
func (f *follower) resume(ctx context.Context) error {
	f.targets = map[string]*target{}
	f.settled, f.looked, f.linked = false, 0, 0
	position, written, err := f.lastCheckpoint(ctx)
	if err != nil {
		return err
	}
	f.position = position
	for r, err := range f.store.ReadAll(ctx, written, eventstore.Forwards, eventstore.Filter{Prefixes: []string{f.kind.to}}, 0) {
		if err != nil {
			return fmt.Errorf("read links of %s after %s: %w", f.kind.name, written, err)
		}
		if source, ok := sourceOf(r); ok {
			t := f.target(r.Stream)
			t.saw(source)
			f.linked++
		}
	}
	f.settled = true
	f.tell(func(p *progress) { p.position, p.checkpoint, p.fault = position, position, nil })
	return nil
}

// lastCheckpoint is the position up to which all is linked, and where in the
// log that is said: links for what comes after stand behind it.
func (f *follower) lastCheckpoint(ctx context.Context) (position, written eventstore.Position, err error) {
	stream := checkpointStream(f.kind.name)
	for r, err := range f.store.ReadStream(ctx, stream, eventstore.EndRevision, eventstore.Backwards, 1) {
		switch {
		case errors.Is(err, eventstore.ErrStreamNotFound), errors.Is(err, eventstore.ErrDeleted):
			return eventstore.Start, eventstore.Start, nil
		case err != nil:
			return eventstore.Start, eventstore.Start, fmt.Errorf("read checkpoint of %s: %w", f.kind.name, err)
		}
		var md linkMetadata
		if r.Type != typeCheckpoint || json.Unmarshal(r.Metadata, &md) != nil {
			f.logger.Warn("checkpoint is not readable: the projection looks at the whole log", "projection", f.kind.name)
			return eventstore.Start, eventstore.Start, nil
		}
		return eventstore.Position{Commit: md.Commit, Prepare: md.Prepare}, r.Position, nil
	}
	return eventstore.Start, eventstore.Start, nil
}

// mayCheckpoint: a checkpoint stands in the log before every link to what comes
// after its position. So there is none while such a link may be written already.
func (f *follower) mayCheckpoint() bool {
	if !f.settled {
		return false
	}
	for _, t := range f.targets {
		if f.position.Before(t.through) {
			return false
		}
	}
	return true
}

// checkpoint says that everything up to f.position is linked.
func (f *follower) checkpoint(ctx context.Context) error {
	if err := writeCheckpoint(ctx, f.store, f.kind, f.epoch, f.position); err != nil {
		return err
	}
	f.looked, f.linked = 0, 0
	f.tell(func(p *progress) { p.checkpoint = f.position })
	return nil
}

func writeCheckpoint(ctx context.Context, store eventstore.Store, k *kind, epoch int64, position eventstore.Position) error {
	metadata := fmt.Appendf(nil, `{"$v":"%d:%d:1:1","$c":%d,"$p":%d}`, k.id, epoch, position.Commit, position.Prepare)
	// Whatever else is in the stream, this is the last event.
	_, err := store.Append(ctx, checkpointStream(k.name), eventstore.Any, []eventstore.Event{
		{ID: uuid.New(), Type: typeCheckpoint, JSON: true, Data: []byte("{}"), Metadata: metadata},
	})
	if err != nil {
		return fmt.Errorf("write checkpoint of %s: %w", k.name, err)
	}
	return nil
}

// step links what follows in the log, or waits until something does.
func (f *follower) step(ctx context.Context) error {
	f.forget()
	var (
		pending = map[*target][]link{}
		looked  int
		links   int
		bytes   int
		through eventstore.Position
	)
	for r, err := range f.store.ReadAll(ctx, f.position, eventstore.Forwards, eventstore.Filter{}, f.limits.records+1) {
		if err != nil {
			return fmt.Errorf("read the log at %s: %w", f.position, err)
		}
		if !f.position.Before(r.Position) {
			continue // a read includes where it begins
		}
		looked++
		through = r.Position
		if group, l, ok := f.kind.rule(r); ok {
			t := f.target(f.kind.to + group)
			pending[t] = append(pending[t], l)
			links++
			bytes += len(t.name) + len(l.data) + len(l.original) + len(l.correlation)
		}
		if bytes > f.limits.bytes {
			break
		}
	}
	if looked == 0 {
		return f.wait(ctx)
	}
	// An append that was begun is waited for, so that its outcome is known
	// before anything is decided upon it.
	f.settled = false
	appending, whole := errgroup.WithContext(ctx)
	appending.SetLimit(appendsAtOnce)
	for t, links := range pending {
		appending.Go(func() error { return f.append(whole, t, links) })
	}
	if err := appending.Wait(); err != nil {
		return err
	}
	f.position, f.settled = through, true
	f.looked += looked
	f.linked += links
	f.tell(func(p *progress) { p.position = through; p.events += int64(links) })
	if f.looked >= f.limits.checkpoint && f.mayCheckpoint() {
		return f.checkpoint(context.WithoutCancel(ctx))
	}
	return nil
}

// wait blocks until the log has grown.
func (f *follower) wait(ctx context.Context) error {
	sub, err := f.store.Subscribe(ctx, f.position, eventstore.Filter{})
	if err != nil {
		return fmt.Errorf("wait for the log: %w", err)
	}
	defer sub.Close()
	for {
		switch notice, err := sub.Next(ctx); {
		case err != nil:
			return fmt.Errorf("wait for the log: %w", err)
		case notice.Kind == eventstore.Delivered:
			return nil
		}
	}
}

// target is what is known about a stream of links.
func (f *follower) target(name string) *target {
	t := f.targets[name]
	if t == nil {
		t = &target{name: name}
		f.targets[name] = t
	}
	return t
}

// forget keeps the targets few: what is forgotten is read again. A target that
// is ahead of the position is not forgotten, since its end may be hidden.
func (f *follower) forget() {
	if len(f.targets) <= f.limits.targets {
		return
	}
	for name, t := range f.targets {
		if !f.position.Before(t.through) {
			delete(f.targets, name)
		}
	}
}

// append writes the links that are not yet in t, in order, with explicit
// expectations: an append repeated after an unknown outcome has one effect.
func (f *follower) append(ctx context.Context, t *target, links []link) error {
	backoff := backoffFirst
	for {
		if err := f.look(ctx, t); err != nil {
			return err
		}
		for len(links) > 0 && !t.through.Before(links[0].source) {
			links = links[1:]
		}
		if len(links) == 0 || t.closed {
			return nil
		}
		events, taken := f.events(t, links)
		out, err := f.store.Append(context.WithoutCancel(ctx), t.name, t.expected, events)
		conflict := new(eventstore.ConflictError)
		switch {
		case err == nil:
			t.expected = eventstore.At(out.Revision)
			t.saw(links[taken-1].source)
		case errors.As(err, &conflict):
			// Somebody else writes here, and none of these links is there.
			t.expected = conflict.Current
		case errors.Is(err, eventstore.ErrDeleted):
			t.closed = true
		case errors.Is(err, eventstore.ErrTooLarge) && taken == 1:
			f.logger.Warn("link does not fit into an append and is left out", "projection", f.kind.name, "position", links[0].source.String())
			t.saw(links[0].source)
		case errors.Is(err, eventstore.ErrOutcomeUnknown), errors.Is(err, eventstore.ErrOverloaded), errors.Is(err, eventstore.ErrUnavailable):
			f.tell(func(p *progress) { p.fault = err })
			if !pause(ctx, backoff) {
				return ctx.Err()
			}
			backoff = min(2*backoff, backoffLast)
		default:
			return fmt.Errorf("append %d links to %s: %w", len(events), t.name, err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// events are as many of the links as one append takes.
func (f *follower) events(t *target, links []link) (events []eventstore.Event, taken int) {
	size := 0
	for _, l := range links {
		e := l.event(f.kind, f.epoch, t.name)
		size += eventstore.AppendSize([]eventstore.Event{e})
		if size > eventstore.MaxAppendSize && taken > 0 {
			break
		}
		events = append(events, e)
		taken++
	}
	return events, taken
}

// look reads the end of the stream once. A stream that cannot be read may
// stand anywhere: the first append tells.
func (f *follower) look(ctx context.Context, t *target) error {
	if t.looked {
		return nil
	}
	t.expected = eventstore.NoStream
	for r, err := range f.store.ReadStream(ctx, t.name, eventstore.EndRevision, eventstore.Backwards, 1) {
		switch {
		case errors.Is(err, eventstore.ErrStreamNotFound):
		case errors.Is(err, eventstore.ErrDeleted):
			t.closed = true
		case err != nil:
			return fmt.Errorf("read the end of %s: %w", t.name, err)
		default:
			t.expected = eventstore.At(r.Revision)
			if source, ok := sourceOf(r); ok {
				t.saw(source)
			}
		}
	}
	t.looked = true
	return nil
}

// saw notes that a link to source is in the stream.
func (t *target) saw(source eventstore.Position) {
	if t.through.Before(source) {
		t.through = source
	}
}
