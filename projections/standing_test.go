package projections

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/eventstore"
)

// given makes what the registry says of lines "ProjectionSwitched {...}".
func given(t *testing.T, lines ...string) registered {
	t.Helper()
	r := registered{end: eventstore.NoStream}
	for i, line := range lines {
		kind, data, _ := strings.Cut(line, " ")
		fact, err := decodeFact(kind, []byte(data))
		if err != nil {
			t.Fatal(err)
		}
		r.facts, r.end = append(r.facts, fact), eventstore.At(eventstore.Revision(i))
	}
	return r
}

// stands is a store in one line: in force, previous, candidate.
func stands(r registered, store string) string {
	s := r.store(store)
	told := fmt.Sprintf("%d v%d, before %d, making %d", s.inForce.number, s.inForce.version, s.previous.number, s.candidateHere().number)
	if s.candidate != nil && s.candidate.ready != nil {
		told += " ready"
	}
	return told
}

// What dockets wrote before there were candidates.
const (
	oldFirst    = `ProjectionSwitched {"generation":1,"version":1,"at":"2024-05-01T09:00:00Z"}`
	oldBuilding = `ProjectionBuilding {"generation":2,"owner":"9f0c","at":"2024-05-01T09:00:00Z"}`
	oldSwitched = `ProjectionSwitched {"generation":2,"version":1,"stores":["sqlite"],"at":"2024-05-01T09:04:00Z"}`
)

func TestStanding(t *testing.T) {
	const (
		begun2     = `ProjectionBuilding {"generation":2,"version":2,"stores":["search","cache"],"then":"ask","onError":"stop","owner":"a","at":"2024-05-02T09:00:00Z"}`
		begun3     = `ProjectionBuilding {"generation":3,"version":3,"stores":["search","cache"],"then":"switch","owner":"b","at":"2024-05-03T09:00:00Z"}`
		ready2     = `ProjectionReady {"generation":2,"at":"2024-05-02T09:05:00Z"}`
		switched2  = `ProjectionSwitched {"generation":2,"version":2,"stores":["search","cache"],"previous":1,"reason":"switch","at":"2024-05-02T09:10:00Z"}`
		back1      = `ProjectionSwitched {"generation":1,"version":1,"stores":["search","cache"],"previous":2,"reason":"rollback","at":"2024-05-02T09:20:00Z"}`
		switched3  = `ProjectionSwitched {"generation":3,"version":3,"stores":["search","cache"],"previous":1,"reason":"switch","at":"2024-05-03T09:10:00Z"}`
		unkept3    = `ProjectionSwitched {"generation":3,"version":3,"stores":["search","cache"],"reason":"switch","at":"2024-05-03T09:10:00Z"}`
		cancelled2 = `ProjectionDropped {"generation":2,"why":"cancelled","at":"2024-05-02T09:07:00Z"}`
		failed2    = `ProjectionDropped {"generation":2,"why":"failed","failure":{"message":"no such currency","orderId":"o"},"at":"2024-05-02T09:07:00Z"}`
		aged1      = `ProjectionDropped {"generation":1,"why":"aged","at":"2024-05-03T09:10:00Z"}`
		newer2     = `ProjectionDropped {"generation":2,"why":"superseded","at":"2024-05-03T09:00:00Z"}`
	)
	for name, c := range map[string]struct {
		given []string
		then  map[string]string // by store
	}{
		"nothing":                   {nil, map[string]string{"search": "0 v0, before 0, making 0"}},
		"an old stream":             {[]string{oldFirst, oldBuilding}, map[string]string{"sqlite": "1 v1, before 0, making 0", "search": "1 v1, before 0, making 0"}},
		"an old switch of one":      {[]string{oldFirst, oldBuilding, oldSwitched}, map[string]string{"sqlite": "2 v1, before 0, making 0", "search": "1 v1, before 0, making 0"}},
		"a first that names others": {[]string{oldSwitched}, map[string]string{"search": "2 v1, before 0, making 0"}},
		"begun":                     {[]string{oldFirst, begun2}, map[string]string{"search": "1 v1, before 0, making 2", "sqlite": "1 v1, before 0, making 0"}},
		"ready":                     {[]string{oldFirst, begun2, ready2}, map[string]string{"cache": "1 v1, before 0, making 2 ready"}},
		"switched":                  {[]string{oldFirst, begun2, ready2, switched2}, map[string]string{"search": "2 v2, before 1, making 0", "sqlite": "1 v1, before 0, making 0"}},
		"cancelled":                 {[]string{oldFirst, begun2, cancelled2}, map[string]string{"search": "1 v1, before 0, making 0"}},
		"failed":                    {[]string{oldFirst, begun2, failed2}, map[string]string{"search": "1 v1, before 0, making 0"}},
		"cancelled too late":        {[]string{oldFirst, begun2, switched2, cancelled2}, map[string]string{"search": "2 v2, before 1, making 0"}},
		"switched after a cancel":   {[]string{oldFirst, begun2, cancelled2, begun3}, map[string]string{"search": "1 v1, before 0, making 3"}},
		"superseded":                {[]string{oldFirst, begun2, newer2, begun3}, map[string]string{"search": "1 v1, before 0, making 3"}},
		"two at once":               {[]string{oldFirst, begun2, begun3}, map[string]string{"search": "1 v1, before 0, making 3"}},
		"the slower of two":         {[]string{oldFirst, begun2, begun3, switched2}, map[string]string{"search": "2 v2, before 1, making 3"}},
		"a number is taken":         {[]string{oldFirst, begun2, `ProjectionBuilding {"generation":3,"owner":"old"}`}, map[string]string{"search": "1 v1, before 0, making 2"}},
		"rolled back":               {[]string{oldFirst, begun2, switched2, back1}, map[string]string{"search": "1 v1, before 2, making 0"}},
		"and rebuilt":               {[]string{oldFirst, begun2, switched2, back1, begun3, switched3}, map[string]string{"search": "3 v3, before 1, making 0"}},
		"and there again":           {[]string{oldFirst, begun2, switched2, back1, switched2}, map[string]string{"search": "2 v2, before 1, making 0"}},
		"aged":                      {[]string{oldFirst, begun2, switched2, aged1}, map[string]string{"search": "2 v2, before 0, making 0"}},
		"dropped while in force":    {[]string{oldFirst, begun2, aged1}, map[string]string{"search": "1 v1, before 0, making 2"}},
		"nothing is kept":           {[]string{oldFirst, begun2, switched2, begun3, unkept3}, map[string]string{"search": "3 v3, before 0, making 0"}},
		"two steps":                 {[]string{oldFirst, begun2, switched2, begun3, switched3}, map[string]string{"search": "3 v3, before 2, making 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := given(t, c.given...)
			for store, want := range c.then {
				if got := stands(r, store); got != want {
					t.Errorf("%s: %s, not %s", store, got, want)
				}
			}
		})
	}

	t.Run("history", func(t *testing.T) {
		all := given(t, oldFirst, oldBuilding, begun2, ready2, failed2, begun3, switched3).rebuilds()
		if len(all) != 2 || all[0].Generation != 3 || all[1].Generation != 2 {
			t.Fatalf("rebuilds %+v", all)
		}
		at := time.Date(2024, 5, 3, 9, 10, 0, 0, time.UTC)
		if r := all[0]; r.Phase != PhaseSwitched || r.Then != ThenSwitch || r.EndedAt == nil || !r.EndedAt.Equal(at) || r.Failure != nil {
			t.Errorf("the last %+v", r)
		}
		if r := all[1]; r.Phase != PhaseFailed || r.Owner != "a" || r.Failure == nil || *r.Failure != (Failure{Message: "no such currency", OrderID: "o"}) {
			t.Errorf("the first %+v", r)
		}
		if r := given(t, oldFirst, begun2, ready2).rebuilds()[0]; r.Phase != PhaseReady || r.EndedAt != nil {
			t.Errorf("one that waits %+v", r)
		}
		if r := given(t, oldFirst, begun2, switched2, back1, cancelled2).rebuilds()[0]; r.Phase != PhaseSwitched {
			t.Errorf("one that was in force %+v", r)
		}
		if n := given(t, oldFirst, oldBuilding, begun3).highest(); n != 3 {
			t.Errorf("highest %d", n)
		}
	})

	t.Run("what is written is read", func(t *testing.T) {
		want := given(t, oldFirst, begun2, ready2, switched2, failed2).facts
		var lines []string
		for _, fact := range want {
			lines = append(lines, typeOf(fact)+" "+string(encoded(fact)))
		}
		if got := given(t, lines...).facts; !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, not %+v", got, want)
		}
		if _, err := decodeFact("ProjectionTeleported", []byte(`{}`)); err == nil || !strings.Contains(err.Error(), "newer docket") {
			t.Errorf("an unknown event: %v", err)
		}
	})
}

// A generation that was made beside another was complete in its stores when it was
// switched to, also when it is returned to; the first of all, and one that a
// store takes over from others, were not.
func TestWhatWasBuilt(t *testing.T) {
	const (
		begun2    = `ProjectionBuilding {"generation":2,"version":2,"stores":["search"],"then":"ask","owner":"a","at":"2024-05-02T09:00:00Z"}`
		switched2 = `ProjectionSwitched {"generation":2,"version":2,"stores":["search"],"previous":1,"reason":"switch","at":"2024-05-02T09:10:00Z"}`
		back1     = `ProjectionSwitched {"generation":1,"version":1,"stores":["search"],"previous":2,"reason":"rollback","at":"2024-05-02T09:20:00Z"}`
	)
	for name, c := range map[string]struct {
		given []string
		store string
		want  bool
	}{
		"nothing":         {nil, "search", false},
		"the first":       {[]string{oldFirst, begun2}, "search", false},
		"switched":        {[]string{oldFirst, begun2, switched2}, "search", true},
		"of others":       {[]string{begun2, switched2}, "cache", false},
		"back":            {[]string{oldFirst, begun2, switched2, back1}, "search", false},
		"and there again": {[]string{oldFirst, begun2, switched2, back1, switched2}, "search", true},
	} {
		if got := given(t, c.given...).store(c.store).built; got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
