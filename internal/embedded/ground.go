package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/internal/disk"
	"github.com/docket-orders/docket/projections"
	views "github.com/docket-orders/docket/projections/sqlite"
	"github.com/docket-orders/docket/query"
)

// ErrOtherFolder: the folder is one of the other kind: it has a log and one
// elsewhere was named, or it has only the views of a log elsewhere.
var ErrOtherFolder = errors.New("folder of another kind")

// ErrShorter: a log elsewhere does not reach what its views show.
var ErrShorter = errors.New("log is shorter than it was")

// elsewhere is a file in a folder that has no log of its own. It names the log
// whose views are there. Without it a docket that was started without its
// --eventstore would begin an empty log beside full views.
const elsewhere = "log-elsewhere"

// ground is what a docket stands on: the log, and a folder that is ours.
type ground struct {
	store     eventstore.Store
	snapshots command.Snapshots
	embedded  *sqlite.Store // nil with a Remote
	log       eventstore.LogIdentity
	release   func() error
}

func open(ctx context.Context, dir string, backend *views.Backend, o Options) (ground, error) {
	if o.Remote == nil {
		store, log, err := OpenLog(ctx, dir, o)
		if err != nil {
			return ground{}, err
		}
		return ground{store: store, snapshots: store.Snapshots(), embedded: store, log: log, release: store.Close}, nil
	}
	g := ground{store: o.Remote.Store, snapshots: o.Remote.Snapshots, release: o.Remote.Store.Close}
	var err error
	if g.log, err = g.store.Log(ctx); err != nil {
		return ground{}, errors.Join(fmt.Errorf("identify log: %w", err), g.release())
	}
	lock, err := takeFolder(or(o.Disk), dir, g.log)
	if err != nil {
		return ground{}, errors.Join(err, g.release())
	}
	g.release = func() error { return errors.Join(o.Remote.Store.Close(), lock.Close()) }
	if err := g.requireWhatViewsShow(ctx, dir, backend); err != nil {
		return ground{}, errors.Join(err, g.release())
	}
	return g, nil
}

// requireWhatViewsShow fails with ErrShorter when the log ends before an event
// that is in a view. Views that went on from there would never see the events
// that take the places of the lost ones. A view that cannot be read tells
// nothing: it is made anew.
func (g ground) requireWhatViewsShow(ctx context.Context, dir string, backend *views.Backend) error {
	shown, err := g.furthestShown(ctx, backend)
	if err != nil || shown == eventstore.Start {
		return err
	}
	head, err := g.store.Head(ctx)
	if err != nil {
		return fmt.Errorf("read the end of the log: %w", err)
	}
	if head.Before(shown) {
		return fmt.Errorf("%w: it ends at position %s, and the views in %s show an event at %s. If it was restored from a backup, say so with docket eventstore raise-epoch, and the next start makes the views anew", ErrShorter, head, dir, shown)
	}
	return nil
}

// furthestShown is the position of the last event in the newest document of any
// view of this log. Checkpoints would not do: they may be on something that is
// no event, past the end.
func (g ground) furthestShown(ctx context.Context, backend *views.Backend) (eventstore.Position, error) {
	furthest := eventstore.Start
	generations, err := backend.Generations(ctx)
	if err != nil {
		return furthest, err
	}
	for _, n := range generations {
		position, err := g.newest(ctx, backend, n)
		if ctx.Err() != nil {
			return furthest, ctx.Err()
		}
		if err == nil && furthest.Before(position) {
			furthest = position
		}
	}
	return furthest, nil
}

func (g ground) newest(ctx context.Context, backend *views.Backend, generation int) (at eventstore.Position, err error) {
	sink, err := backend.Open(ctx, generation)
	if err != nil {
		return at, err
	}
	defer sink.Close()
	lanes, err := sink.Checkpoints(ctx)
	if err != nil || len(lanes) == 0 || lanes[0].Log != g.log {
		return at, err
	}
	page, err := sink.(query.Views).Orders(ctx, query.Question{
		Sort: query.Sort{By: query.ByUpdatedAt, Desc: true}, Limit: 1, WithoutTotal: true,
	})
	if err != nil || len(page.Items) == 0 {
		return at, err
	}
	return at, at.UnmarshalText([]byte(page.Items[0].Position))
}

// OpenLog opens the log of a folder alone, and tells it what the views beside it
// have seen, so that it notices when it came back shorter. It fails with
// ErrOtherFolder when the folder's log is elsewhere. Of the options it takes
// Logger, VFS and Disk.
func OpenLog(ctx context.Context, dir string, o Options) (*sqlite.Store, eventstore.LogIdentity, error) {
	if err := RequireOwnLog(or(o.Disk), dir); err != nil {
		return nil, eventstore.LogIdentity{}, err
	}
	store, err := sqlite.Open(ctx, dir, sqlite.Options{Logger: o.Logger, VFS: o.VFS, Disk: o.Disk})
	if err != nil {
		return nil, eventstore.LogIdentity{}, err
	}
	log, err := store.Log(ctx)
	if err == nil {
		backend := views.NewBackend(dir, views.Options{VFS: o.VFS, Disk: o.Disk})
		err = RequireWhatViewsHold(ctx, store, log, backend, func(err error) {
			if o.Logger != nil {
				o.Logger.Warn("a view does not tell how long the log was", "error", err)
			}
		})
	}
	if err != nil {
		return nil, log, errors.Join(err, store.Close())
	}
	return store, log, nil
}

// RequireOwnLog fails with ErrOtherFolder when a folder is that of the views of
// a log elsewhere. One that holds nothing yet is anybody's.
func RequireOwnLog(d disk.FS, dir string) error {
	marker := filepath.Join(dir, elsewhere)
	log, err := d.ReadFile(marker)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look whose views are there: %w", err)
	}
	has, err := hasLog(d, dir)
	if err != nil {
		return err
	}
	if !has {
		return fmt.Errorf("%w: %s holds views of the log %.36q, which is in an EventStoreDB, and no log of its own: say --eventstore as before, or name another folder with --data", ErrOtherFolder, dir, log)
	}
	return d.Remove(marker) // a log was put here since
}

// takeFolder makes the folder that of the views of a log elsewhere, and locks it.
func takeFolder(d disk.FS, dir string, log eventstore.LogIdentity) (lock disk.File, err error) {
	if err := d.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder of views: %w", err)
	}
	if lock, err = disk.Lock(d, dir); err != nil {
		return nil, err
	}
	has, err := hasLog(d, dir)
	if err == nil && has {
		err = fmt.Errorf("%w: %s has a log of its own (events.db), which --eventstore would pass over: name another folder for the views with --data, or carry the log over first (docket eventstore export, docket eventstore import) and then put events.db away", ErrOtherFolder, dir)
	}
	if err == nil {
		err = note(d, filepath.Join(dir, elsewhere), log.ID.String())
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// note writes a small file. That it is there is what counts: a torn one does.
func note(d disk.FS, path, text string) error {
	f, err := d.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(text))
	return errors.Join(err, f.Sync(), f.Close())
}

// hasLog reports whether a folder has a log. A restore that was interrupted may
// have left one without its file.
func hasLog(d disk.FS, dir string) (bool, error) {
	for _, name := range []string{"events.db", "restore"} {
		if _, err := d.Stat(filepath.Join(dir, name)); err == nil {
			return true, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("look for a log: %w", err)
		}
	}
	return false, nil
}

func or(d disk.FS) disk.FS {
	if d == nil {
		return disk.OS()
	}
	return d
}

// RequireWhatViewsHold tells the store what the views have seen of its log, so
// that it notices when it has become shorter. A view that cannot be read tells
// nothing; unreadable hears of it.
func RequireWhatViewsHold(ctx context.Context, store *sqlite.Store, log eventstore.LogIdentity, backend *views.Backend, unreadable func(error)) error {
	seen, err := WhatViewsHold(ctx, backend, unreadable)
	furthest := eventstore.Start
	for _, s := range seen {
		if s.Log == log && furthest.Before(s.Position) {
			furthest = s.Position
		}
	}
	store.RequirePosition(furthest)
	return err
}

// WhatViewsHold is what the checkpoints of all generations say of the logs they
// were made from.
func WhatViewsHold(ctx context.Context, backend *views.Backend, unreadable func(error)) (seen []sqlite.Sighting, err error) {
	generations, err := backend.Generations(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range generations {
		checkpoints, err := func() (all []projections.Checkpoint, err error) {
			sink, err := backend.Open(ctx, n)
			if err != nil {
				return nil, err
			}
			all, err = sink.Checkpoints(ctx)
			return all, errors.Join(err, sink.Close())
		}()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			unreadable(fmt.Errorf("read checkpoints of generation %d: %w", n, err))
		}
		for _, c := range checkpoints {
			seen = append(seen, sqlite.Sighting{Log: c.Log, Position: c.Position})
		}
	}
	return seen, nil
}
