package projections

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/docket-orders/docket/view"
	"github.com/docket-orders/docket/view/fields"
)

// WordsPath is the path under which a Difference tells that an order is found by
// other words though its document, or how words are made of it, does not say so.
// No field of a document is called so. Where the words themselves are known they
// are lists of those that the other side does not have.
const WordsPath = "/words"

// found is what differs so far.
type found struct {
	mu      sync.Mutex
	d       StoreDifference
	fields  map[string]*FieldDifference // by pattern
	figures *figureDeltas
}

func newFound(store string) *found {
	return &found{d: StoreDifference{Store: store}, fields: map[string]*FieldDifference{}, figures: &figureDeltas{most: figuresHeld}}
}

func (f *found) equal(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.d.Equal += n
}

// judge takes down how an order differs. Both sides are at one revision, or apart
// for good.
func (c *comparison) judge(id string, old, new Stored) error {
	inOld, inNew := old.Print.Document != 0, new.Print.Document != 0
	if !inOld && !inNew {
		return nil // it was removed
	}
	var changes []fields.FieldChange
	if inOld && inNew && old.Print.Document != new.Print.Document {
		changes = fields.Diff(old.Document, new.Document)
	}
	if inOld && inNew {
		if w, differ := c.words(old, new, len(changes) > 0); differ {
			changes = append(changes, w)
		}
	}
	var counted figureSums
	recounted := false
	if old.Print.Contribution != new.Print.Contribution {
		counted = countedBetween(old.Contribution, new.Contribution)
		recounted = len(counted) > 0 && inOld && inNew && !c.countsAs(old.Document, old.Contribution)
	}

	f := c.found
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case !inNew:
		f.d.OnlyOld++
		f.d.Missing = leastOf(f.d.Missing, id, strings.Compare, MaxFigures)
	case !inOld:
		f.d.OnlyNew++
		f.d.Extra = leastOf(f.d.Extra, id, strings.Compare, MaxFigures)
	case len(changes) > 0:
		f.d.Changed++
		f.take(id, max(old.Revision, new.Revision), changes)
	default:
		f.d.Equal++
	}
	if recounted {
		f.d.Recounted++
	}
	return f.figures.add(c.Spills, counted)
}

// take counts each pattern of fields once per order; f.mu is held.
func (f *found) take(id string, revision int64, changes []fields.FieldChange) {
	seen := map[string]bool{}
	for _, change := range changes {
		pattern := fields.Pattern(change.Path)
		if seen[pattern] {
			continue
		}
		seen[pattern] = true
		at := f.fields[pattern]
		if at == nil {
			at = &FieldDifference{Path: pattern}
			f.fields[pattern] = at
		}
		at.Orders++
		sample := Changed{OrderID: id, Revision: revision, Path: change.Path, Before: change.Before, After: change.After}
		at.Samples = leastOf(at.Samples, sample, func(a, b Changed) int { return cmp.Compare(a.OrderID, b.OrderID) }, MaxSamples)
	}
}

// leastOf puts one more into a sorted list of at most so many, the least.
func leastOf[T any](list []T, more T, compare func(a, b T) int, most int) []T {
	at, _ := slices.BinarySearchFunc(list, more, compare)
	if at == most {
		return list
	}
	list = slices.Insert(list, at, more)
	return list[:min(most, len(list))]
}

// difference is what was found.
func (f *found) difference() StoreDifference {
	for _, pattern := range slices.Sorted(maps.Keys(f.fields)) {
		f.d.Fields = append(f.d.Fields, *f.fields[pattern])
	}
	return f.d
}

// words says whether an order is found by other words for another reason than
// that its document differs: those of the generation in force are then not what
// the candidate's version makes of its document.
func (c *comparison) words(old, new Stored, changed bool) (fields.FieldChange, bool) {
	was, is := old.Print.Words, new.Print.Words
	if was == is || was == 0 || is == 0 {
		return fields.FieldChange{}, false
	}
	if text, ok := c.wordsOf(&c.Fold, old.Document); changed && ok && WordsPrint(text) == was {
		return fields.FieldChange{}, false
	}
	before, known := c.textOf(old, c.OldFold)
	after, alsoKnown := c.textOf(new, &c.Fold)
	change := fields.FieldChange{Path: WordsPath}
	if !known || !alsoKnown {
		return change, true
	}
	had, has := strings.Fields(before), strings.Fields(after)
	lost, won := lacking(had, has), lacking(has, had)
	change.Before, change.After = lost, won
	return change, lost != nil || won != nil
}

// textOf is the full text of an order, as kept, or as its fold makes it.
func (c *comparison) textOf(s Stored, fold *Fold) (string, bool) {
	if s.Words != "" || s.Print.Words == WordsPrint("") {
		return s.Words, true
	}
	text, ok := c.wordsOf(fold, s.Document)
	return text, ok && WordsPrint(text) == s.Print.Words
}

func (c *comparison) wordsOf(fold *Fold, doc view.Order) (text string, ok bool) {
	if fold == nil {
		return "", false
	}
	defer func() { ok = recover() == nil && ok }()
	return fold.Words(doc), true
}

// lacking is the words of a that b does not have, as JSON; nil when there are
// none.
func lacking(a, b []string) json.RawMessage {
	has := make(map[string]bool, len(b))
	for _, w := range b {
		has[w] = true
	}
	var out []string
	for _, w := range a {
		if !has[w] {
			out = append(out, w)
		}
	}
	if out == nil {
		return nil
	}
	data, err := json.Marshal(out)
	if err != nil {
		panic("projections: encode words: " + err.Error()) // strings always encode
	}
	return data
}

// countsAs reports whether the candidate's version counts a document of the
// generation in force as that one did.
func (c *comparison) countsAs(doc view.Order, kept Contribution) (same bool) {
	defer func() { same = recover() == nil && same }()
	return len(countedBetween(c.Fold.Contributions(doc), kept)) == 0
}
