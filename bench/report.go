package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
)

// report is what one run of the benchmark found.
type report struct {
	Machine machine `json:"machine"`
	Quick   bool    `json:"quick"`
	Seconds float64 `json:"seconds"`
	Groups  []group `json:"groups"`
}

// group is what one question found.
type group struct {
	Name    string   `json:"name"`
	About   string   `json:"about"`
	Seconds float64  `json:"seconds"`
	Rows    []row    `json:"rows"`
	Notes   []string `json:"notes,omitempty"`
	Failed  string   `json:"failed,omitempty"` // why it has no, or not all, rows
}

// row is one figure: a median of several rounds with its spread, and where it is
// compared, the same of the reference and of the ratio of each round.
type row struct {
	What      string  `json:"what"`
	Unit      string  `json:"unit"`
	Docket    spread  `json:"docket"`
	Against   string  `json:"against,omitempty"`
	Reference *spread `json:"reference,omitempty"`
	Ratio     *spread `json:"ratio,omitempty"` // docket / reference, round by round
	Goal      string  `json:"goal,omitempty"`
	Met       *bool   `json:"met,omitempty"`
}

// spread of the rounds of one figure.
type spread struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

func spreadOf(values []float64) spread {
	return spread{Median: median(values), Low: slices.Min(values), High: slices.Max(values)}
}

// goal is a bound for a median: of the ratio where there is one, otherwise of
// the figure.
type goal struct {
	word  string
	bound float64
}

var noGoal goal

func atLeast(x float64) goal { return goal{"at least", x} }
func atMost(x float64) goal  { return goal{"at most", x} }

func (g goal) judge(r *row, value float64) {
	if g == noGoal {
		return
	}
	r.Goal = fmt.Sprintf("%s %g", g.word, g.bound)
	met := value >= g.bound
	if g.word == "at most" {
		met = value <= g.bound
	}
	r.Met = &met
}

// compare records what docket did beside what the reference did in the same
// rounds, and judges the median of docket / reference.
func (e *env) compare(what, unit string, docket []float64, against string, reference []float64, g goal) {
	ratios := make([]float64, len(docket))
	for i := range docket {
		ratios[i] = docket[i] / reference[i]
	}
	ref, ratio := spreadOf(reference), spreadOf(ratios)
	r := row{What: what, Unit: unit, Docket: spreadOf(docket), Against: against, Reference: &ref, Ratio: &ratio}
	g.judge(&r, ratio.Median)
	e.add(r)
}

// measure records a figure that is compared with nothing.
func (e *env) measure(what, unit string, values []float64, g goal) {
	r := row{What: what, Unit: unit, Docket: spreadOf(values)}
	g.judge(&r, r.Docket.Median)
	e.add(r)
}

func (e *env) add(r row) {
	e.group.Rows = append(e.group.Rows, r)
	fmt.Fprintf(e.progress, "  %s\n", r)
}

// note adds a line under the group.
func (e *env) note(format string, args ...any) {
	e.group.Notes = append(e.group.Notes, fmt.Sprintf(format, args...))
}

func (r row) String() string {
	s := fmt.Sprintf("%s: %s %s", r.What, digits(r.Docket.Median), r.Unit)
	if r.Ratio != nil {
		s += fmt.Sprintf(", %s %s, ratio %.2f", r.Against, digits(r.Reference.Median), r.Ratio.Median)
	}
	return s
}

// print writes the table that a person reads.
func (r report) print(w io.Writer) {
	fmt.Fprintf(w, "%s\n%s\n", r.Machine, "each figure is the median of its rounds (lowest to highest); a ratio is docket / reference, taken round by round")
	for _, g := range r.Groups {
		fmt.Fprintf(w, "\n%s: %s (%.0f s)\n", g.Name, g.About, g.Seconds)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, row := range g.Rows {
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\n", row.What, row.Docket.in(row.Unit), row.reference(), row.ratio(), row.verdict())
		}
		t.Flush()
		for _, n := range g.Notes {
			fmt.Fprintf(w, "  %s\n", n)
		}
		if g.Failed != "" {
			fmt.Fprintf(w, "  FAILED: %s\n", g.Failed)
		}
	}
	met, missed := r.goals()
	fmt.Fprintf(w, "\n%d goals met, %d missed, in %.0f s", met, len(missed), r.Seconds)
	if len(missed) > 0 {
		fmt.Fprintf(w, "; missed: %s", strings.Join(missed, "; "))
	}
	fmt.Fprintln(w)
}

func (r report) json(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// goals counts those that were met and names those that were missed.
func (r report) goals() (met int, missed []string) {
	for _, g := range r.Groups {
		for _, row := range g.Rows {
			switch {
			case row.Met == nil:
			case *row.Met:
				met++
			default:
				missed = append(missed, g.Name+", "+row.What)
			}
		}
	}
	return met, missed
}

func (s spread) in(unit string) string {
	if s.Low == s.High {
		return digits(s.Median) + " " + unit
	}
	return fmt.Sprintf("%s %s (%s to %s)", digits(s.Median), unit, digits(s.Low), digits(s.High))
}

func (r row) reference() string {
	if r.Reference == nil {
		return ""
	}
	return fmt.Sprintf("%s: %s", r.Against, r.Reference.in(r.Unit))
}

func (r row) ratio() string {
	if r.Ratio == nil {
		return ""
	}
	return fmt.Sprintf("ratio %.2f (%.2f to %.2f)", r.Ratio.Median, r.Ratio.Low, r.Ratio.High)
}

func (r row) verdict() string {
	switch {
	case r.Met == nil:
		return ""
	case *r.Met:
		return "goal " + r.Goal + ": met"
	}
	return "goal " + r.Goal + ": MISSED"
}

// digits shows three significant ones, and whole numbers from 100 on.
func digits(x float64) string {
	switch a := math.Abs(x); {
	case a >= 100:
		return fmt.Sprintf("%.0f", x)
	case a >= 10:
		return fmt.Sprintf("%.1f", x)
	case a >= 1 || a == 0:
		return fmt.Sprintf("%.2f", x)
	}
	return fmt.Sprintf("%.3g", x)
}

// median of values, which it leaves as they are.
func median(values []float64) float64 { return quantile(slices.Sorted(slices.Values(values)), 0.5) }

// quantile q of values in ascending order, by the nearest rank.
func quantile(sorted []float64, q float64) float64 {
	rank := int(math.Ceil(q*float64(len(sorted)))) - 1
	return sorted[max(0, min(rank, len(sorted)-1))]
}
