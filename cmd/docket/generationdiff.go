package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/docket-orders/docket/httpapi"
	"github.com/docket-orders/docket/projections"
)

type viewsDiff struct {
	viewName
	Fresh bool `help:"Compare again, also when there is a comparison."`
}

// Help is what --help says at length.
func (*viewsDiff) Help() string {
	return `Every document, counter, customer and sum of the rebuilt generation is compared
with the one in force, in every store, at one position of the log on both sides:
what is written meanwhile makes no difference.

Exit status: 0 nothing would change. 1 something would. 2 could not tell: nothing
was rebuilt, or it has not caught up yet, or nobody answers.`
}

// Run says what a switch would change.
func (c viewsDiff) Run(p *program) error {
	docket, err := p.connect(false)
	if err != nil {
		return undecided{err}
	}
	d, body, err := difference(p, docket, c.viewName, c.Fresh)
	if err == nil && p.config.JSON {
		err = writeBody(p.stdout, body)
	} else if err == nil {
		err = writeDifference(p.stdout, d)
		if err == nil {
			fmt.Fprintln(p.stdout)
			err = p.writeNextSteps(docket, c.viewName)
		}
	}
	if err := docket.and(err); err != nil {
		return undecided{err}
	}
	if !d.Same {
		return errReported
	}
	return nil
}

// difference asks until the comparison has ended.
func difference(p *program, docket *connection, of viewName, fresh bool) (d httpapi.GenerationsAnswer, body []byte, err error) {
	shown := newProgress(p.stderr)
	defer shown.end()
	path, again := of.path("diff"), ""
	if fresh {
		again = "?fresh=true"
	}
	wait := http.Header{"Prefer": {"wait=1"}}
	for {
		var answer struct {
			httpapi.GenerationsAnswer
			httpapi.ComparingAnswer
		}
		err = p.settled(docket, func() error {
			body, _, err = docket.do(p.ctx, http.MethodGet, path+again, wait, nil)
			return err
		})
		if err != nil {
			return d, nil, of.differenceRefused(err)
		}
		if err := json.Unmarshal(body, &answer); err != nil {
			return d, nil, fmt.Errorf("GET %s: the answer cannot be read: %w", path, err)
		}
		if answer.To != 0 {
			return answer.GenerationsAnswer, body, nil
		}
		again = "" // it runs
		shown.show("comparing", answer.Compared, answer.Of)
	}
}

// differenceRefused says what to type where there is nothing to compare.
func (n viewName) differenceRefused(err error) error {
	var problem *problemError
	if !errors.As(err, &problem) {
		return err
	}
	switch problem.Code {
	case "no-candidate":
		return fmt.Errorf("there is nothing to compare, since no rebuilt generation waits: %s makes one", n.command("rebuild"))
	case "rebuild-not-ready":
		return fmt.Errorf("the rebuilt generation has not caught up yet: %s shows how far it is", n.command("rebuild --watch"))
	}
	return err
}

// Bounds of what the page shows; --json has all that was kept.
const (
	shownSamples   = 3
	shownFigures   = 20
	shownIDs       = 10
	shownValue     = 48 // places of a terminal
	shownReference = 4  // events behind a sample
)

// writeDifference writes what a switch would change as a page for people.
func writeDifference(w io.Writer, d httpapi.GenerationsAnswer) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "generation %d -> %d", d.From, d.To)
	if d.Versions[0] != d.Versions[1] {
		fmt.Fprintf(b, " (version %d -> %d)", d.Versions[0], d.Versions[1])
	}
	fmt.Fprintf(b, ", everything up to position %s, compared %s UTC\n\n", d.At, clockTime(d.Made))
	if err := writeTable(b, d.Stores, totalColumns(d.Difference)); err != nil {
		return err
	}
	if d.Same {
		fmt.Fprintln(b, "\nnothing differs: no document, no figure, nothing parked")
	}
	for _, group := range alike(d.Stores) {
		names := make([]string, len(group))
		for i, s := range group {
			names[i] = s.Store
		}
		if len(d.Stores) > 1 && !group[0].Empty() {
			fmt.Fprintf(b, "\nIn %s:\n", strings.Join(names, " and "))
		}
		writeStoreDifference(b, d.Difference, group[0])
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// totalColumns leave out what is nowhere.
func totalColumns(d projections.Difference) []column[projections.StoreDifference] {
	count := func(title string, of func(projections.StoreDifference) int64) column[projections.StoreDifference] {
		all := int64(0)
		for _, s := range d.Stores {
			all += of(s)
		}
		return column[projections.StoreDifference]{title, func(s projections.StoreDifference) string {
			if all == 0 {
				return ""
			}
			return grouped(of(s))
		}}
	}
	return []column[projections.StoreDifference]{
		{"STORE", func(s projections.StoreDifference) string { return s.Store }},
		{"SAME", func(s projections.StoreDifference) string { return grouped(s.Equal) }},
		count("CHANGED", func(s projections.StoreDifference) int64 { return s.Changed }),
		count(fmt.Sprintf("ONLY IN %d", d.From), func(s projections.StoreDifference) int64 { return s.OnlyOld }),
		count(fmt.Sprintf("ONLY IN %d", d.To), func(s projections.StoreDifference) int64 { return s.OnlyNew }),
		count("FIGURES CHANGED", func(s projections.StoreDifference) int64 { return s.FiguresChanged }),
		count(fmt.Sprintf("PARKED ONLY IN %d", d.From), func(s projections.StoreDifference) int64 { return int64(len(s.ParkedOld)) }),
		count(fmt.Sprintf("PARKED ONLY IN %d", d.To), func(s projections.StoreDifference) int64 { return int64(len(s.ParkedNew)) }),
	}
}

// alike puts stores together that differ in the same: most differences are the
// projection's, not a store's.
func alike(stores []projections.StoreDifference) (groups [][]projections.StoreDifference) {
	unnamed := func(s projections.StoreDifference) projections.StoreDifference { s.Store = ""; return s }
	for _, s := range stores {
		i := slices.IndexFunc(groups, func(g []projections.StoreDifference) bool { return reflect.DeepEqual(unnamed(g[0]), unnamed(s)) })
		if i < 0 {
			groups = append(groups, []projections.StoreDifference{s})
		} else {
			groups[i] = append(groups[i], s)
		}
	}
	return groups
}

func writeStoreDifference(b *strings.Builder, d projections.Difference, s projections.StoreDifference) {
	fields := slices.SortedFunc(slices.Values(s.Fields), func(x, y projections.FieldDifference) int {
		return cmp.Or(cmp.Compare(y.Orders, x.Orders), cmp.Compare(x.Path, y.Path))
	})
	for _, f := range fields {
		fmt.Fprintf(b, "\n%s differs in %s\n", oneLine(f.Path), plural(f.Orders, "order"))
		writeSamples(b, f)
	}
	writeIDs(b, d.From, s.OnlyOld, s.Missing)
	writeIDs(b, d.To, s.OnlyNew, s.Extra)
	if s.FiguresChanged > 0 {
		fmt.Fprintf(b, "\n%s\n", changedFigures(s.FiguresChanged))
		writeFigures(b, s)
	}
	writeParked(b, d.From, s.ParkedOld)
	writeParked(b, d.To, s.ParkedNew)
}

// writeSamples shows some orders, each with what was, what would be, and why.
func writeSamples(b *strings.Builder, f projections.FieldDifference) {
	g := grid{indent: "  "}
	for _, c := range f.Samples[:min(len(f.Samples), shownSamples)] {
		where := fmt.Sprintf("%s, revision %d", c.OrderID, c.Revision)
		if c.Path != f.Path {
			where += ", " + c.Path
		}
		g.row(where, beforeAfter(c.Before, c.After), eventWords(c.Events))
	}
	_ = g.writeTo(b) // memory takes all
}

// beforeAfter puts a change into words.
func beforeAfter(before, after json.RawMessage) string {
	return shortened(inWords(before), shownValue) + " -> " + shortened(inWords(after), shownValue)
}

// eventWords names the events behind a value.
func eventWords(events []projections.EventRef) string {
	var parts []string
	for _, e := range events[:min(len(events), shownReference)] {
		parts = append(parts, fmt.Sprintf("%s (event %d, position %s)", e.Type, e.Revision, e.Position))
	}
	if more := len(events) - shownReference; more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(parts, ", ")
}

func writeIDs(b *strings.Builder, generation int, count int64, some []string) {
	if count == 0 {
		return
	}
	is := "is"
	if count != 1 {
		is = "are"
	}
	fmt.Fprintf(b, "\n%s %s only in generation %d", plural(count, "order"), is, generation)
	if shown := some[:min(len(some), shownIDs)]; len(shown) > 0 {
		fmt.Fprintf(b, ": %s", oneLine(strings.Join(shown, ", ")))
		if int64(len(shown)) < count {
			b.WriteString(", ...")
		}
	}
	b.WriteByte('\n')
}

func changedFigures(n int64) string {
	if n == 1 {
		return "1 figure differs"
	}
	return grouped(n) + " figures differ"
}

// writeFigures shows of each figure the values that differ.
func writeFigures(b *strings.Builder, s projections.StoreDifference) {
	g := grid{indent: "  "}
	shown := s.Figures[:min(len(s.Figures), shownFigures)]
	for _, f := range shown {
		var parts []string
		for i, name := range f.Names {
			before, after := valueAt(f.Before, i), valueAt(f.After, i)
			if before != after {
				parts = append(parts, fmt.Sprintf("%s %s -> %s", name, before, after))
			}
		}
		g.row(f.Figure, strings.Join(parts, ", "))
	}
	_ = g.writeTo(b) // memory takes all
	if more := s.FiguresChanged - int64(len(shown)); more > 0 {
		fmt.Fprintf(b, "  and %s more\n", grouped(more))
	}
}

// valueAt is a value of a figure; one that a side does not have is nothing.
func valueAt(values []int64, i int) string {
	if i >= len(values) {
		return nothing
	}
	return grouped(values[i])
}

func writeParked(b *strings.Builder, generation int, parked []projections.Parked) {
	if len(parked) == 0 {
		return
	}
	fmt.Fprintf(b, "\nparked only in generation %d: %s\n", generation, plural(int64(len(parked)), "order"))
	g := grid{indent: "  "}
	for _, o := range parked[:min(len(parked), shownIDs)] {
		g.row(o.OrderID, fmt.Sprintf("event %d, position %s", o.Revision, o.Position), o.Reason)
	}
	_ = g.writeTo(b) // memory takes all
	if more := len(parked) - shownIDs; more > 0 {
		fmt.Fprintf(b, "  and %d more\n", more)
	}
}

// writeSteps says what may be typed next.
func writeSteps(w io.Writer, next []httpapi.NextAnswer) error {
	if len(next) == 0 {
		return nil
	}
	fmt.Fprintln(w, "What may be typed next:")
	g := grid{indent: "  "}
	for _, n := range next {
		g.row(n.Command, n.Does)
	}
	return g.writeTo(w)
}
