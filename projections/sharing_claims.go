package projections

import (
	"cmp"
	"maps"
	"slices"
)

// claims are the lanes that me should claim now, given the owner of each lane,
// which is empty where the lane is free: never owned, released, or its owner has
// shown no sign of life for a lease. In the end all lanes are owned and every
// living owner, me among them, has as many as all others, give or take one. An
// owner is one that has a lane.
//
// I take free lanes until I have a share, rounded up; those that others have left
// lying for too long, which may be as dead, I take all. I take from the richest
// when I have less than a share rounded down, or when it has more than one
// rounded up: of two that are one lane apart neither takes from the other, and
// it comes to rest.
func claims(owners []string, lying func(lane int) bool, me string) []int {
	has := map[string]int{me: 0}
	for _, owner := range owners {
		if owner != "" {
			has[owner]++
		}
	}
	living := slices.Sorted(maps.Keys(has))
	floor, ceil := len(owners)/len(living), (len(owners)+len(living)-1)/len(living)

	var want []int
	// For free lanes each begins elsewhere: several that look at the same time want
	// different ones.
	begin := slices.Index(living, me) * len(owners) / len(living)
	for i := range owners {
		if lane := (begin + i) % len(owners); owners[lane] == "" && (has[me] < ceil || lying(lane)) {
			want = append(want, lane)
			has[me]++
		}
	}
	// For those of others all begin with the same: of several that look at the same
	// time one gets it, and the rest look again, rather than that all of them
	// together take too many.
	next := map[string]int{} // by owner: from where its lanes are left
	for {
		richest := slices.MaxFunc(living, func(a, b string) int { return cmp.Compare(has[a], has[b]) })
		most := has[richest]
		if (has[me] >= floor || most <= floor) && (has[me] >= ceil || most <= ceil) {
			return want
		}
		lane := next[richest]
		for owners[lane] != richest {
			lane++
		}
		want, next[richest] = append(want, lane), lane+1
		has[richest]--
		has[me]++
	}
}
