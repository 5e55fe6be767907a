package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/go-json-experiment/json"

	"github.com/docket-orders/docket/audit"
	"github.com/docket-orders/docket/httpapi"
	"github.com/docket-orders/docket/query"
)

// cutFlags name the point at which an order is looked at. What they may be is
// the API's to say.
type cutFlags struct {
	AsOf        string `placeholder:"INSTANT" help:"As it was known at an instant, such as 2018-01-31T12:00:00Z."`
	AtRevision  string `placeholder:"N" help:"As it was at a revision."`
	AtPosition  string `placeholder:"P" help:"As it was at a position of the log."`
	EffectiveAt string `placeholder:"INSTANT" help:"What was true at an instant of business time; with one of the others, as it was known then."`
}

func (c cutFlags) parameters() url.Values {
	v := url.Values{}
	for name, value := range map[string]string{
		"asOf": c.AsOf, "atRevision": c.AtRevision, "atPosition": c.AtPosition, "effectiveAt": c.EffectiveAt,
	} {
		if value != "" {
			v.Set(name, value)
		}
	}
	return v
}

// words say which point it is; empty for now.
func (c cutFlags) words() string {
	var points []string
	for _, p := range []struct{ words, value string }{
		{"at revision", c.AtRevision}, {"at position", c.AtPosition}, {"as it was known at", c.AsOf}, {"as it was true at", c.EffectiveAt},
	} {
		if p.value != "" {
			points = append(points, p.words+" "+oneLine(p.value))
		}
	}
	return strings.Join(points, ", ")
}

// orderPath is the path of a question about one order.
func orderPath(id, what string, v url.Values) string {
	path := "/v1/orders/" + url.PathEscape(id) + what
	if len(v) > 0 {
		path += "?" + v.Encode()
	}
	return path
}

// asked is one question through the API: with --json its body, else page.
func (p *program) asked(path string, answer any, page func(io.Writer) error) error {
	docket, err := p.connect(false)
	if err != nil {
		return err
	}
	body, err := docket.get(p.ctx, path, answer)
	if err := docket.and(err); err != nil {
		return err
	}
	if p.config.JSON {
		return writeBody(p.stdout, body)
	}
	return page(p.stdout)
}

type orderHistory struct {
	ID string `arg:"" help:"The order's id."`
	cutFlags
	Refused bool `help:"Show refused commands too, in their place."`
	Wide    bool `help:"Also show position, command, correlation and causation."`
}

// Validate refuses what has no answer.
func (c *orderHistory) Validate() error {
	if c.Refused && c.cutFlags != (cutFlags{}) {
		return errors.New("--refused shows what was refused up to now: leave the point in the past out")
	}
	return nil
}

// history is what happened to an order, all of it, and with --refused what did
// not.
type history struct {
	httpapi.HistoryAnswer
	Refusals []audit.Refused `json:"refusals,omitempty"`
}

// Run shows what happened to an order.
func (c *orderHistory) Run(p *program) error {
	docket, err := p.connect(false)
	if err != nil {
		return err
	}
	h, err := c.history(p.ctx, docket.client)
	if err := docket.and(err); err != nil {
		return err
	}
	if p.config.JSON {
		body, err := json.Marshal(h, json.Deterministic(true))
		if err != nil {
			return err
		}
		return writeBody(p.stdout, body)
	}
	return writeHistory(p.stdout, h, c.Wide)
}

func (c *orderHistory) history(ctx context.Context, client *client) (h history, err error) {
	v := c.parameters()
	for more := true; more; more = h.Next != "" {
		var page httpapi.HistoryAnswer
		_, err := client.get(ctx, orderPath(c.ID, "/events", v), &page)
		var problem *problemError
		if c.Refused && errors.As(err, &problem) && problem.Code == query.ErrOrderUnknown.Code {
			// An order that never came to be may have refusals.
			h.ID, h.Revision = c.ID, -1
			break
		}
		if err != nil {
			return h, err
		}
		page.Events = append(h.Events, page.Events...)
		h.HistoryAnswer = page
		v.Set("after", page.Next)
	}
	if c.Refused {
		var refused httpapi.RefusalsAnswer
		most := url.Values{"limit": {strconv.Itoa(audit.MaxRefusals)}}
		_, err = client.get(ctx, orderPath(c.ID, "/refusals", most), &refused)
		h.Refusals = refused.Items
	}
	return h, err
}

// happening is a row of a history: an event, or a refusal.
type happening struct {
	revision, recorded, happened, who, what, reason string
	position, command, key, correlation, causation  string
}

// happenings puts the refusals where they came: after the revision that the
// order was at.
func (h history) happenings() []happening {
	var rows []happening
	refused := slices.SortedStableFunc(slices.Values(h.Refusals), func(a, b audit.Refused) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), a.RecordedAt.Compare(b.RecordedAt))
	})
	until := func(e *audit.Entry) {
		for len(refused) > 0 && (e == nil || refused[0].Revision < e.Revision) {
			rows = append(rows, refusedRow(refused[0]))
			refused = refused[1:]
		}
	}
	for _, e := range h.Events {
		until(&e)
		row := happening{
			revision: strconv.FormatInt(int64(e.Revision), 10), recorded: clockTime(e.RecordedAt),
			who: e.Actor, what: strings.TrimSuffix(e.Summary, " - "+e.Reason), reason: e.Reason,
			position: e.Position.String(), command: e.Command, key: e.CommandID, correlation: e.Correlation, causation: e.Causation,
		}
		if at := clockTime(e.At); at != row.recorded {
			row.happened = at
		}
		rows = append(rows, row)
	}
	until(nil)
	return rows
}

func refusedRow(r audit.Refused) happening {
	row := happening{
		revision: "-", recorded: clockTime(r.RecordedAt), who: r.Actor, what: "refused: " + r.Command,
		reason:  fmt.Sprintf("%s (%s)", r.Reason, r.Code),
		command: r.Command, key: r.CommandID, correlation: r.Correlation, causation: r.Causation,
	}
	if r.Unrecorded > 0 {
		row.reason += fmt.Sprintf("; %d refusals before it came too fast to be recorded", r.Unrecorded)
	}
	return row
}

// writeHistory is a history as a table. Columns in which nothing is said are
// left out.
func writeHistory(w io.Writer, h history, wide bool) error {
	head := "order " + oneLine(h.ID) + ": " + plural(int64(len(h.Events)), "event")
	if len(h.Refusals) > 0 {
		head += ", " + plural(int64(len(h.Refusals)), "refused command")
	}
	fmt.Fprintf(w, "%s; times are UTC\n\n", head)
	return writeTable(w, h.happenings(), []column[happening]{
		{"REVISION", func(h happening) string { return h.revision }},
		{"RECORDED", func(h happening) string { return h.recorded }},
		{"HAPPENED", func(h happening) string { return h.happened }},
		{"WHO", func(h happening) string { return h.who }},
		{"WHAT", func(h happening) string { return h.what }},
		{"REASON", func(h happening) string { return h.reason }},
		{"POSITION", when(wide, func(h happening) string { return h.position })},
		{"COMMAND", when(wide, func(h happening) string { return strings.TrimSpace(h.command + " " + h.key) })},
		{"CORRELATION", when(wide, func(h happening) string { return h.correlation })},
		{"CAUSATION", when(wide, func(h happening) string { return h.causation })},
	})
}

type orderDiff struct {
	ID   string `arg:"" help:"The order's id."`
	From string `arg:"" help:"A point: a revision, position:P, an instant such as 2018-01-31T12:00:00Z (what was known then), effective:INSTANT (what was true then), one of the first three and effective:INSTANT with a comma between, or now."`
	To   string `arg:"" optional:"" help:"The other point; now when absent."`
}

// Run shows what differs between two points of an order.
func (c *orderDiff) Run(p *program) error {
	v := url.Values{"from": {c.From}}
	if c.To != "" {
		v.Set("to", c.To)
	}
	var d httpapi.DiffAnswer
	return p.asked(orderPath(c.ID, "/diff", v), &d, func(w io.Writer) error { return writeDiff(w, d) })
}

func writeDiff(w io.Writer, d httpapi.DiffAnswer) error {
	head := fmt.Sprintf("order %s, %s to %s", oneLine(d.ID), pointWords(d.From), pointWords(d.To))
	changes := slices.DeleteFunc(slices.Clone(d.Changes), func(c query.FieldChange) bool { return slices.Contains(bookkeeping, c.Path) })
	if len(changes) == 0 {
		_, err := fmt.Fprintf(w, "%s: no difference\n", head)
		return err
	}
	fmt.Fprintf(w, "%s: %s\n\n", head, plural(int64(len(changes)), "field"))
	return writeChanges(w, "", changes)
}

// bookkeeping is the fields that every event changes. A page leaves them out.
var bookkeeping = []string{"/revision", "/position", "/updatedAt"}

// pointWords is a point as it was asked for, with the revision that it turned
// out to be.
func pointWords(p httpapi.PointAnswer) string {
	revision := strconv.FormatInt(p.Revision, 10)
	if p.Point == revision {
		return "revision " + revision
	}
	return fmt.Sprintf("%s (revision %s)", oneLine(p.Point), revision)
}

// writeChanges is a line per field: + came, - went, ~ changed.
func writeChanges(w io.Writer, indent string, changes []query.FieldChange) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range changes {
		path := oneLine(c.Path)
		switch {
		case c.Before == nil:
			fmt.Fprintf(t, "%s+ %s\t%s\n", indent, path, inWords(c.After))
		case c.After == nil:
			fmt.Fprintf(t, "%s- %s\t%s\n", indent, path, inWords(c.Before))
		default:
			fmt.Fprintf(t, "%s~ %s\t%s -> %s\n", indent, path, inWords(c.Before), inWords(c.After))
		}
	}
	return t.Flush()
}

type orderWhy struct {
	ID    string `arg:"" help:"The order's id."`
	Field string `arg:"" optional:"" help:"A field, such as /status or /lines/1/quantity; all of them when absent."`
	cutFlags
}

// Run shows what set the fields of an order.
func (c *orderWhy) Run(p *program) error {
	v := c.parameters()
	if c.Field != "" {
		// What a shell or a habit makes of /status on other systems.
		v.Set("field", "/"+strings.TrimPrefix(c.Field, "/"))
	}
	var answer httpapi.WhyAnswer
	return p.asked(orderPath(c.ID, "/why", v), &answer, func(w io.Writer) error { return writeWhy(w, answer.Fields) })
}

// longestValue is how many characters of a value a table shows.
const longestValue = 60

func writeWhy(w io.Writer, origins []audit.Origin) error {
	return writeTable(w, origins, []column[audit.Origin]{
		{"FIELD", func(o audit.Origin) string { return o.Path }},
		{"VALUE", func(o audit.Origin) string {
			if len(origins) == 1 {
				return inWords(o.Value)
			}
			return shortened(inWords(o.Value), longestValue)
		}},
		{"SET BY", func(o audit.Origin) string { return o.Summary }},
		{"REVISION", func(o audit.Origin) string { return strconv.FormatInt(int64(o.Revision), 10) }},
		{"AT", func(o audit.Origin) string { return clockTime(o.At) }},
		{"WHO", func(o audit.Origin) string { return o.Actor }},
		{"COMMAND", func(o audit.Origin) string { return o.Command }},
	})
}

// column of a table of rows R.
type column[R any] struct {
	title string
	cell  func(R) string
}

func when[R any](wanted bool, cell func(R) string) func(R) string {
	if wanted {
		return cell
	}
	return func(R) string { return "" }
}

// writeTable leaves out the columns that are empty in every row.
func writeTable[R any](w io.Writer, rows []R, columns []column[R]) error {
	columns = slices.DeleteFunc(columns, func(c column[R]) bool {
		return !slices.ContainsFunc(rows, func(r R) bool { return c.cell(r) != "" })
	})
	if len(columns) == 0 {
		return nil
	}
	var text strings.Builder
	t := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	line := func(cell func(column[R]) string) {
		for i, c := range columns {
			if i > 0 {
				fmt.Fprint(t, "\t")
			}
			fmt.Fprint(t, oneLine(cell(c)))
		}
		fmt.Fprintln(t)
	}
	line(func(c column[R]) string { return c.title })
	for _, r := range rows {
		line(func(c column[R]) string { return c.cell(r) })
	}
	_ = t.Flush() // memory takes all
	for l := range strings.Lines(text.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(l, " \n")); err != nil {
			return err
		}
	}
	return nil
}
