package embedded_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/internal/disk"
	"github.com/docket-orders/docket/internal/embedded"
)

// elsewhere is a log that is not in the folder of its views; the docket that
// takes it closes it.
func elsewhere(t *testing.T, dir string) *embedded.Remote {
	t.Helper()
	store, err := sqlite.Open(t.Context(), dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &embedded.Remote{Store: store, Snapshots: store.Snapshots()}
}

// TestFoldersOfTwoKinds: a folder with a log is not taken for views alone, nor
// views alone for a folder whose log is to begin.
func TestFoldersOfTwoKinds(t *testing.T) {
	root := fastDir(t)
	own, views, log := filepath.Join(root, "own"), filepath.Join(root, "views"), filepath.Join(root, "log")
	a := open(t, own, nil)
	a.mustClose()
	before := names(t, own)
	_, err := openWith(t, own, embedded.Options{Remote: elsewhere(t, log)})
	if !errors.Is(err, embedded.ErrOtherFolder) || !strings.Contains(err.Error(), "--data") {
		t.Errorf("a folder with a log was taken for views: %v", err)
	}
	if after := names(t, own); after != before {
		t.Errorf("it left %s; there was %s", after, before)
	}

	a, err = openWith(t, views, embedded.Options{Remote: elsewhere(t, log)}) // the log was closed, or it would be locked
	if err != nil {
		t.Fatal(err)
	}
	if a.Embedded != nil {
		t.Error("a log elsewhere passes for one in the folder")
	}
	a.awaitReady()
	a.want("an order", a.place("there"), 201, "")
	other := filepath.Join(root, "other log")
	if _, err := openWith(t, views, embedded.Options{Remote: elsewhere(t, other)}); err == nil || !strings.Contains(err.Error(), "already open in process") {
		t.Errorf("two dockets have one folder: %v", err)
	}
	a.wantHealthy([]string{"there"}, nil)
	a.mustClose()
	before = names(t, views)
	if strings.Contains(before, "events.db") {
		t.Errorf("views have a log beside them: %s", before)
	}
	if _, err := tryOpen(t, views, nil); !errors.Is(err, embedded.ErrOtherFolder) || !strings.Contains(err.Error(), "--eventstore") {
		t.Errorf("an empty log was begun beside views: %v", err)
	}
	if _, _, err := embedded.OpenLog(t.Context(), views, embedded.Options{}); !errors.Is(err, embedded.ErrOtherFolder) {
		t.Errorf("an empty log was begun beside views: %v", err)
	}
	if after := names(t, views); after != before {
		t.Errorf("it left %s; there was %s", after, before)
	}

	// A log that was put into the folder by hand makes it one of the first kind.
	if err := os.CopyFS(views, os.DirFS(own)); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	if err := embedded.RequireOwnLog(disk.OS(), views); err != nil {
		t.Errorf("a log that was put there is not seen: %v", err)
	}
}

// names of what is in a folder, in order.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

// TestViewsOfAnotherLog are made anew from the log that is there now, and what
// callers hold from the other one is refused.
func TestViewsOfAnotherLog(t *testing.T) {
	root := fastDir(t)
	views := filepath.Join(root, "views")
	var tokens []string
	for i, log := range []string{"first", "second", "first"} {
		a, err := openWith(t, views, embedded.Options{Remote: elsewhere(t, filepath.Join(root, log))})
		if err != nil {
			t.Fatal(err)
		}
		a.awaitReady()
		id := log + "-" + string(rune('a'+i))
		token := a.want("an order", a.place(id), 201, "").header.Get("Consistency-Token")
		a.want("a list", a.get("/v1/orders", "Consistency-Token: "+token, "Prefer: wait=10"), 200, `"total":`+[]string{"1", "1", "3"}[i])
		for k, old := range tokens {
			a.want("a token of before", a.get("/v1/orders", "Consistency-Token: "+old), map[bool]int{true: 200, false: 409}[i == 2 && k == 0], "")
		}
		tokens = append(tokens, token)
		a.wantHealthy([]string{id}, nil)
		a.mustClose()
	}
}

// TestLogThatCannotBeIdentified: what was handed over is closed, and the folder
// is free.
func TestLogThatCannotBeIdentified(t *testing.T) {
	root := fastDir(t)
	away := elsewhere(t, filepath.Join(root, "log"))
	refusing := &refusingStore{Store: away.Store}
	_, err := openWith(t, filepath.Join(root, "views"), embedded.Options{Remote: &embedded.Remote{Store: refusing, Snapshots: away.Snapshots}})
	if !errors.Is(err, eventstore.ErrUnavailable) || !refusing.closed {
		t.Errorf("%v; closed: %v", err, refusing.closed)
	}
}

type refusingStore struct {
	eventstore.Store
	closed bool
}

func (s *refusingStore) Log(context.Context) (eventstore.LogIdentity, error) {
	return eventstore.LogIdentity{}, eventstore.ErrUnavailable
}

func (s *refusingStore) Close() error {
	s.closed = true
	return s.Store.Close()
}
