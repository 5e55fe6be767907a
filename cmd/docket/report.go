package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docket-orders/docket/reconcile"
)

// Bounds of what a report shows; --json has all that was written down.
const (
	shownFindings = 10 // of a class
	shownFields   = 6  // of a finding
)

// classes in the order of a report, each with what it means and what to do.
var classes = []struct {
	class       reconcile.Class
	means, next string
}{
	{
		reconcile.Missing, "the log has them, the views have not",
		"rows were deleted, or an older view file was put back: --repair; of many, docket projections rebuild orders",
	},
	{
		reconcile.Orphan, "the views have them, the log has not",
		"somebody else wrote them, or the views belong to another log: find out who, then --repair removes them",
	},
	{
		reconcile.Stale, "the views stand at an earlier revision, although they had time",
		"an older row or view file was put back: --repair",
	},
	{
		reconcile.Ahead, "the views are at a revision that the log does not have",
		"do not repair yet: docket eventstore verify says whether the log is whole; the views may hold the last trace of what it lost",
	},
	{
		reconcile.Content, "the same revision, other content",
		"rows were changed by hand, or the projector has a bug: --repair; what a repair does not cure is a bug",
	},
	{
		reconcile.Aggregate, "figures that the orders do not add up to",
		"counters were changed by hand: --repair counts them again",
	},
	{
		reconcile.Parked, "an event could not be applied, the order stands still in the views",
		"docket projections parked says why; after a fix docket projections retry ID, or --repair",
	},
	{
		reconcile.Structure, "the view file's own indexes, full text or lanes disagree with its rows or with the log",
		"no repair cures it, and it may hide other differences: docket projections rebuild orders, then look at the disk",
	},
}

const operatorsPage = "docs/operating.md"

// writeReport is a run's report for people, the verdict first. now is for how
// long a run has been going on.
func writeReport(w io.Writer, r reconcile.Report, now time.Time) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", verdictWords(r))
	var facts grid
	fact := func(name, text string) { facts.row(name, text) }
	fact("run", runWords(r, now))
	for i, line := range comparedWords(r) {
		fact([]string{"compared", ""}[min(i, 1)], line)
	}
	if r.Recounted > 0 {
		fact("recounted", plural(r.Recounted, "row")+" of figures changed")
	}
	for _, reason := range r.Reasons {
		fact("because", reason)
	}
	_ = facts.writeTo(&b) // memory takes all
	for _, class := range classesOf(r) {
		writeClass(&b, class, r)
	}
	writeNext(&b, r)
	_, err := io.WriteString(w, b.String())
	return err
}

func differences(r reconcile.Report) int64 { return differencesOf(r.Counts) }

func differencesOf(counts map[reconcile.Class]int64) (n int64) {
	for _, count := range counts {
		n += count
	}
	return n
}

// verdictWords is the verdict in a line.
func verdictWords(r reconcile.Report) string {
	switch r.State {
	case "running":
		at := r.Progress
		text := "running: " + at.Phase
		if at.Store != "" {
			text += " in " + at.Store
		}
		text += " " + grouped(at.Done)
		if at.Total > 0 {
			text += " of " + grouped(max(at.Total, at.Done)) // the total is what was expected
		}
		return text
	case "interrupted":
		text := "interrupted: its process ended before the run did, so it is not known whether the views are right"
		if r.Repair {
			text += fmt.Sprintf("; %s known to be repaired", plural(r.Repaired, "difference"))
		}
		return text
	}
	n := differences(r)
	found := plural(n, "difference") + " found"
	switch {
	case n > 0 && r.Repaired >= n:
		found += ", all repaired"
	case n > 0 && r.Repaired > 0:
		found += ", " + grouped(r.Repaired) + " repaired"
	case n > 0:
		found += ", nothing repaired"
	}
	switch r.Verdict {
	case reconcile.Clean:
		if r.OrderID != "" {
			return "clean: what the views keep of order " + oneLine(r.OrderID) + " is what the log says"
		}
		return "clean: the views say what the log says"
	case reconcile.Drift:
		return "drift: " + found
	}
	if n > 0 {
		return "could not tell: not everything could be compared; " + found
	}
	return "could not tell: not everything could be compared"
}

func runWords(r reconcile.Report, now time.Time) string {
	text := r.ID + ", " + clockTime(r.StartedAt) + " UTC"
	if r.Actor != "" {
		text += " by " + r.Actor
	}
	if r.EndedAt != nil {
		text += ", took " + r.EndedAt.Sub(r.StartedAt).Round(time.Millisecond).String()
	} else if r.State == "running" {
		text += ", for " + now.Sub(r.StartedAt).Round(time.Second).String()
	}
	if r.Repair {
		text += ", with --repair"
	}
	if r.OrderID != "" {
		text += ", only order " + r.OrderID
	}
	return text + fmt.Sprintf(", generation %d of the views", r.Generation)
}

// comparedWords is the statement of completeness.
func comparedWords(r reconcile.Report) []string {
	c := r.Compared
	lines := []string{fmt.Sprintf("the log up to position %s: %s of %s", r.Barrier, plural(c.Events, "event"), plural(c.Streams, "order"))}
	if len(r.Stores) == 0 {
		lines = append(lines, fmt.Sprintf("the views: %s, %s, %s", plural(c.Documents, "order document"), plural(c.Customers, "customer"), plural(c.Figures, "figure")))
	}
	for _, s := range r.Stores {
		line := s.Store + ": " + plural(s.Compared.Documents, "order document")
		if n := s.Compared.Customers; n > 0 { // else among the figures, or not kept there
			line += ", " + plural(n, "customer")
		}
		if n := s.Compared.Figures; n > 0 {
			line += ", " + plural(n, "figure")
		}
		if n := differencesOf(s.Counts); n > 0 {
			line += ", " + plural(n, "difference")
			if s.Repaired > 0 {
				line += ", " + grouped(s.Repaired) + " repaired"
			}
		}
		if s.Verdict == reconcile.Unknown {
			line += ", NOT complete"
		}
		lines = append(lines, line)
	}
	if c.Again > 0 {
		lines = append(lines, plural(c.Again, "order")+" that changed or differed at the first look, a second time")
	}
	switch {
	case c.Complete && r.OrderID != "":
		lines = append(lines, "complete: every event of the order was read, its revisions are contiguous, all that is kept of it was compared")
	case c.Complete:
		lines = append(lines, "complete: every position was read, every stream is contiguous, every entity was compared")
	default:
		lines = append(lines, "NOT complete")
	}
	return lines
}

// classesOf is what a report has findings of, in order; those that this program
// does not know come last.
func classesOf(r reconcile.Report) []reconcile.Class {
	rank := func(c reconcile.Class) int {
		for i, known := range classes {
			if known.class == c {
				return i
			}
		}
		return len(classes)
	}
	var found []reconcile.Class
	for class, n := range maps.All(r.Counts) {
		if n > 0 {
			found = append(found, class)
		}
	}
	slices.SortFunc(found, func(a, b reconcile.Class) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
	})
	return found
}

func writeClass(w io.Writer, class reconcile.Class, r reconcile.Report) {
	count := r.Counts[class]
	head := fmt.Sprintf("\n%s, %s", strings.ToUpper(string(class)), grouped(count))
	for _, known := range classes {
		if known.class == class {
			head += ": " + known.means
		}
	}
	fmt.Fprintln(w, head)
	var shown int64
	for _, f := range r.Findings {
		if f.Class == class && shown < shownFindings {
			shown++
			writeFinding(w, f)
		}
	}
	if more := count - shown; more > 0 {
		fmt.Fprintf(w, "  and %s more, see --json", grouped(more))
		if r.Unlisted > 0 {
			fmt.Fprintf(w, "; %s were counted only", grouped(r.Unlisted))
		}
		fmt.Fprintln(w)
	}
}

func writeFinding(w io.Writer, f reconcile.Finding) {
	head := f.Entity + " " + f.ID
	if f.Store != "" {
		head = f.Store + ": " + head
	}
	detail := f.Detail
	switch {
	case f.Revision == nil && f.Kept == nil:
		// What is told of a figure belongs to its name.
		if detail != "" {
			head += ", " + detail
		}
		detail = ""
	case f.Revision == nil || *f.Revision < 0:
		head += fmt.Sprintf(", revision %d in the views", *cmp.Or(f.Kept, f.Revision))
	case f.Kept == nil || *f.Kept < 0:
		head += fmt.Sprintf(", revision %d in the log", *f.Revision)
	case *f.Kept != *f.Revision:
		head += fmt.Sprintf(", revision %d in the views, %d in the log", *f.Kept, *f.Revision)
	default:
		head += ", revision " + strconv.FormatInt(*f.Revision, 10)
	}
	switch f.Outcome {
	case "":
	case "tried":
		head += ": perhaps repaired, its run did not get to the end of it"
	case "failed":
		head += ": NOT repaired"
		if f.Error != "" {
			head += ": " + f.Error
		}
	default:
		head += ": " + f.Outcome
	}
	fmt.Fprintf(w, "  %s\n", oneLine(head))
	_ = writeChanges(w, "    ", f.Fields[:min(len(f.Fields), shownFields)]) // memory takes all
	if more := len(f.Fields) - shownFields; more > 0 {
		fmt.Fprintf(w, "    and %s more, see --json\n", plural(int64(more), "field"))
	}
	if detail != "" {
		fmt.Fprintf(w, "    %s\n", oneLine(detail))
	}
}

// writeNext says what to do next.
func writeNext(w io.Writer, r reconcile.Report) {
	found := classesOf(r)
	if len(found) == 0 && (r.State == "running" || r.Verdict == reconcile.Clean) {
		return
	}
	fmt.Fprintf(w, "\nWhat to do next; more in %s:\n", operatorsPage)
	if n := differences(r); n > 0 && r.Repaired >= n {
		fmt.Fprintln(w, "  run it again: clean says that the repair held; then look for the cause, since nothing should differ by itself")
		return
	}
	next := grid{indent: "  "}
	for _, class := range found {
		for _, known := range classes {
			if known.class == class {
				next.row(string(class), known.next)
			}
		}
	}
	if slices.ContainsFunc(r.Findings, func(f reconcile.Finding) bool { return f.Outcome == "failed" }) {
		next.row("not repaired", "what differs again after a repair is not cured by another: see its reason")
	}
	if len(found) == 0 || r.Verdict == reconcile.Unknown {
		next.row("not known", "see to the reasons above, then run it again; until then take nothing for right")
	}
	_ = next.writeTo(w) // memory takes all
}

func writeRuns(w io.Writer, last []reconcile.Report) error {
	if len(last) == 0 {
		_, err := fmt.Fprintln(w, "there was no reconciliation yet")
		return err
	}
	return writeTable(w, last, []column[reconcile.Report]{
		{"RUN", func(r reconcile.Report) string { return r.ID }},
		{"STARTED (UTC)", func(r reconcile.Report) string { return clockTime(r.StartedAt) }},
		{"VERDICT", func(r reconcile.Report) string { return cmp.Or(string(r.Verdict), r.State) }},
		{"DIFFERENCES", func(r reconcile.Report) string { return grouped(differences(r)) }},
		{"REPAIRED", func(r reconcile.Report) string { return grouped(r.Repaired) }},
		{"ORDER", func(r reconcile.Report) string { return r.OrderID }},
		{"BY", func(r reconcile.Report) string { return r.Actor }},
	})
}
