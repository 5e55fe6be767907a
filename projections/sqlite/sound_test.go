package sqlite_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/projectionstest"
)

// A healthy generation is sound, however its full text came about: FTS5 merges
// pages and segments as it sees fit, and its own layout is looked at.
func TestHealthyTextIsSound(t *testing.T) {
	const orders, rounds = 1000, 15
	random := rand.New(rand.NewPCG(7, 7))
	sink := openIn(t, t.TempDir())
	docs := projectionstest.Documents(3, orders)
	written := make([]bool, orders)
	word := func() string {
		switch n := random.IntN(100); {
		case n < 5:
			return strings.Repeat("long", 1+random.IntN(60)) // up to 240 bytes
		case n < 30:
			return "common"
		case n < 60:
			return fmt.Sprint("w", random.IntN(300))
		case n < 70:
			return "übergrößenträger"[:2+random.IntN(3)*2] + fmt.Sprint(random.IntN(50))
		default:
			return fmt.Sprintf("%x", random.Uint64()>>random.IntN(60))
		}
	}
	for round := range rounds {
		var batch projections.Batch
		for range 1 + random.IntN(2*orders/3) {
			i := random.IntN(orders)
			if written[i] {
				docs[i].Revision++
			}
			change := projectionstest.ChangeTo(docs[i], 0)
			words := []string{"all"}
			for range random.IntN(40) {
				words = append(words, word())
			}
			change.Words = strings.ToValidUTF8(projections.JoinWords(words), "")
			written[i] = true
			batch.Changes = append(batch.Changes, change)
		}
		outcomes, err := sink.Write(t.Context(), batch)
		if err != nil {
			t.Fatal(err)
		}
		for i, o := range outcomes {
			if o.Result == projections.Refused || o.Result == projections.Gap {
				t.Fatalf("change %d: %v %v", i, o.Result, o.Err)
			}
		}
		for range random.IntN(50) {
			i := random.IntN(orders)
			if err := sink.Replace(t.Context(), docs[i].ID, nil); err != nil {
				t.Fatal(err)
			}
			written[i] = false
		}
		wrong, err := sink.Sound(t.Context())
		if err != nil || len(wrong) > 0 {
			t.Fatalf("after round %d: %v, %v", round, wrong, err)
		}
	}
}
