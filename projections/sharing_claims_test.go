package projections

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// owned writes owners as runs: "a10 -54" is ten lanes of a, then 54 free ones.
func owned(t *testing.T, text string) (owners []string) {
	for _, run := range strings.Fields(text) {
		var n int
		if _, err := fmt.Sscanf(run[1:], "%d", &n); err != nil {
			t.Fatal(err)
		}
		owners = append(owners, slices.Repeat([]string{strings.Trim(run[:1], "-")}, n)...)
	}
	return owners
}

func TestClaims(t *testing.T) {
	for _, c := range []struct {
		name, owners, me string
		want             string // how many lanes of whom
		lying            int    // lanes from here on lie there for too long
	}{
		{"nobody else", "-64", "a", "-64", Lanes},
		{"all mine", "a64", "a", "", Lanes},
		{"a second joins", "a64", "b", "a32", Lanes},
		{"a third joins", "a32 b32", "c", "a11 b10", Lanes},
		{"a third joins and looks again", "c21 a21 b22", "c", "", Lanes},
		{"one has gone", "a21 -21 b22", "a", "-11", Lanes},
		{"one has gone, the other", "a32 -10 b22", "b", "-10", Lanes},
		{"one of two has gone", "a32 -32", "a", "-32", Lanes},
		{"one lane apart", "a33 b31", "b", "a1", Lanes},
		{"as near as can be", "a13 b13 c13 d13 e12", "e", "", Lanes},
		{"one has too many, and nobody too few", "a16 b12 c12 d12 e12", "c", "a1", Lanes},
		{"a lane was taken for one order", "a23 b20 c21", "b", "a1", Lanes},
		{"a lane was taken for one order, and not from me", "a23 b20 c21", "c", "a1", Lanes},
		{"the rich do not take", "a23 b20 c21", "a", "", Lanes},
		{"the others do not take theirs", "a20 b20 -24", "a", "-22", 54},
		{"free ones before those of others", "a60 -4", "b", "-4 a28", Lanes},
	} {
		t.Run(c.name, func(t *testing.T) {
			owners := owned(t, c.owners)
			from := map[string]int{}
			for _, lane := range claims(owners, func(lane int) bool { return lane >= c.lying }, c.me) {
				from[owners[lane]]++
			}
			want := map[string]int{}
			for _, owner := range owned(t, c.want) {
				want[owner]++
			}
			if fmt.Sprint(from) != fmt.Sprint(want) {
				t.Errorf("claims %v, not %v", from, want)
			}
		})
	}
}

// TestClaimsComeToRest: however the lanes are dealt at first, and whoever looks
// when, after a while all are owned, nobody has two more than another, and nobody
// wants any. Those who look at the same time claim what they saw: the first gets
// it.
func TestClaimsComeToRest(t *testing.T) {
	const starts = 1000
	most := 0
	for seed := range uint64(starts) {
		rng := rand.New(rand.NewPCG(seed, 7))
		living := make([]string, 1+rng.IntN(9))
		for i := range living {
			living[i] = fmt.Sprint("p", rng.IntN(1000), "-", i)
		}
		owners, tokens := make([]string, Lanes), make([]int, Lanes)
		few := 1 + rng.IntN(len(living))
		for lane := range owners {
			if rng.IntN(4) > 0 {
				owners[lane] = living[rng.IntN(few)]
			}
		}
		rounds := 0
		for quiet := 0; quiet < 2; rounds++ {
			if rounds > 100 {
				t.Fatalf("start %d: no rest after %d rounds: %v", seed, rounds, owners)
			}
			quiet++
			// Some look together, before any of them claims.
			rng.Shuffle(len(living), func(i, k int) { living[i], living[k] = living[k], living[i] })
			for rest := living; len(rest) > 0; {
				together := rest[:1+rng.IntN(len(rest))]
				rest = rest[len(together):]
				seen := slices.Clone(tokens)
				wants := make([][]int, len(together))
				for i, me := range together {
					wants[i] = claims(owners, func(int) bool { return rng.IntN(20) == 0 }, me)
				}
				for i, me := range together {
					for _, lane := range wants[i] {
						quiet = 0
						if tokens[lane] == seen[lane] {
							owners[lane] = me
							tokens[lane]++
						}
					}
				}
			}
		}
		most = max(most, rounds)
		for _, me := range living {
			n := 0
			for _, owner := range owners {
				if owner == me {
					n++
				}
			}
			if n < Lanes/len(living) || n > (Lanes+len(living)-1)/len(living) {
				t.Fatalf("start %d: %s has %d of %d lanes among %d", seed, me, n, Lanes, len(living))
			}
		}
	}
	t.Logf("%d starts, rest after at most %d rounds", starts, most)
}
