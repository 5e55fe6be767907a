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

	"github.com/go-json-experiment/json"

	"github.com/docket-orders/docket/audit"
	"github.com/docket-orders/docket/httpapi"
	"github.com/docket-orders/docket/query"
)

// cutFlags name the point at which an order is looked at.
type cutFlags struct {
	AsOf        instant  `placeholder:"INSTANT" help:"As it was known at an instant, such as 2018-01-31T12:00:00Z."`
	AtRevision  revision `placeholder:"N" help:"As it was at a revision."`
	AtPosition  position `placeholder:"P" help:"As it was at a position of the log."`
	EffectiveAt instant  `placeholder:"INSTANT" help:"What was true at an instant of business time; with one of the others, as it was known then."`
}

// Validate refuses to say twice what was known.
func (c cutFlags) Validate() error {
	if _, several := c.known(); several {
		return errors.New("--as-of, --at-revision and --at-position each say what was known then: give one of them")
	}
	return nil
}

// known says from when the knowledge is, "" for now.
func (c cutFlags) known() (words string, several bool) {
	for _, p := range []struct{ at, value string }{
		{"at revision ", string(c.AtRevision)}, {"at position ", string(c.AtPosition)}, {"at ", string(c.AsOf)},
	} {
		if p.value != "" {
			several = words != ""
			words = p.at + p.value
		}
	}
	return words, several
}

func (c cutFlags) parameters() url.Values {
	v := url.Values{}
	for name, value := range map[string]string{
		"asOf": string(c.AsOf), "atRevision": string(c.AtRevision), "atPosition": string(c.AtPosition), "effectiveAt": string(c.EffectiveAt),
	} {
		if value != "" {
			v.Set(name, value)
		}
	}
	return v
}

// words say which point it is; empty for now.
func (c cutFlags) words() string {
	known, _ := c.known()
	switch {
	case c.EffectiveAt != "" && known != "":
		return fmt.Sprintf("as it was true at %s, by what was known %s", c.EffectiveAt, known)
	case c.EffectiveAt != "":
		return fmt.Sprintf("as it was true at %s, by what is known now", c.EffectiveAt)
	case c.AsOf != "":
		return "as it was known " + known
	case known != "":
		return "as it was " + known
	}
	return ""
}

// orderPath is the path of a question about one order.
func orderPath(id orderID, what string, v url.Values) string {
	path := "/v1/orders/" + url.PathEscape(string(id)) + what
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
	ID orderID `arg:"" help:"The order's id."`
	cutFlags
	Refused bool `help:"Show refused commands too, in their place."`
	Wide    bool `help:"Also show position, command, correlation and causation, and reasons in full."`
}

// Validate refuses what has no answer.
func (c *orderHistory) Validate() error {
	if c.Refused && c.cutFlags != (cutFlags{}) {
		return errors.New("--refused shows what was refused up to now: leave the point in the past out")
	}
	return c.cutFlags.Validate()
}

// history is what happened to an order, all of it, and with --refused what did
// not.
type history struct {
	httpapi.HistoryAnswer
	Refusals []audit.Refused `json:"refusals,omitempty"` // the newest, in order
	// RefusalsTotal is how many are recorded of the order; RefusalsIncomplete
	// says that not all were.
	RefusalsTotal      int64 `json:"refusalsTotal,omitzero"`
	RefusalsIncomplete bool  `json:"refusalsIncomplete,omitzero"`
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
			h.ID, h.Revision = string(c.ID), -1
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
		h.Refusals, h.RefusalsTotal, h.RefusalsIncomplete = refused.Items, refused.Total, refused.Incomplete
	}
	return h, err
}

// happening is a row of a history: an event, or a refusal.
type happening struct {
	revision, recorded, happened, who, what, reason string
	code                                            string // follows a refusal's reason
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
		rows = append(rows, happening{
			revision: strconv.FormatInt(int64(e.Revision), 10), recorded: clockTime(e.RecordedAt), happened: happenedAt(e.At, e.RecordedAt),
			who: e.Actor, what: e.What(), reason: e.Reason,
			position: e.Position.String(), command: e.Command, key: e.CommandID, correlation: e.Correlation, causation: e.Causation,
		})
	}
	until(nil)
	return rows
}

func refusedRow(r audit.Refused) happening {
	row := happening{
		revision: "-", recorded: clockTime(r.RecordedAt), who: r.Actor, what: strings.TrimSpace("refused: " + r.Command + " " + r.Target),
		reason: r.Reason, code: " (" + r.Code + ")",
		command: r.Command, key: r.CommandID, correlation: r.Correlation, causation: r.Causation,
	}
	if r.Revision >= 0 {
		row.revision = fmt.Sprintf("(%d)", r.Revision)
	}
	if r.Unrecorded > 0 {
		row.code += "; not recorded: " + plural(r.Unrecorded, "earlier refusal") + " of this caller, on any order"
		if !r.UnrecordedSince.IsZero() {
			row.code += ", from " + clockTime(r.UnrecordedSince) + " on"
		}
	}
	return row
}

// writeHistory is a history as a table. Columns in which nothing is said are
// left out.
func writeHistory(w io.Writer, h history, wide bool) error {
	head := "order " + oneLine(h.ID) + ": " + plural(int64(len(h.Events)), "event")
	switch shown := int64(len(h.Refusals)); {
	case h.RefusalsTotal > shown:
		head += fmt.Sprintf(", the newest %s of %s", grouped(shown), plural(h.RefusalsTotal, "refused command"))
	case shown > 0:
		head += ", " + plural(shown, "refused command")
	}
	if h.RefusalsIncomplete {
		head += " (others came too fast to be recorded, or may have)"
	}
	head += "; times are UTC"
	if slices.ContainsFunc(h.Refusals, func(r audit.Refused) bool { return r.Revision >= 0 }) {
		head += "; in brackets the revision at which one was refused"
	}
	fmt.Fprintf(w, "%s\n\n", head)
	return writeTable(w, h.happenings(), []column[happening]{
		{"REVISION", func(h happening) string { return h.revision }},
		{"RECORDED", func(h happening) string { return h.recorded }},
		{"HAPPENED", func(h happening) string { return h.happened }},
		{"WHO", func(h happening) string { return h.who }},
		{"WHAT", func(h happening) string { return h.what }},
		{"REASON", func(h happening) string {
			if wide {
				return h.reason + h.code
			}
			return shortened(h.reason, longestValue) + h.code
		}},
		{"POSITION", when(wide, func(h happening) string { return h.position })},
		{"COMMAND", when(wide, func(h happening) string { return strings.TrimSpace(h.command + " " + h.key) })},
		{"CORRELATION", when(wide, func(h happening) string { return h.correlation })},
		{"CAUSATION", when(wide, func(h happening) string { return h.causation })},
	})
}

type orderDiff struct {
	ID   orderID `arg:"" help:"The order's id."`
	From point   `arg:"" help:"A point: a revision, position:P, an instant such as 2018-01-31T12:00:00Z (what was known then), effective:INSTANT (what was true then), one of the first three and effective:INSTANT with a comma between, or now."`
	To   point   `arg:"" optional:"" help:"The other point; now when absent."`
}

// Run shows what differs between two points of an order.
func (c *orderDiff) Run(p *program) error {
	v := url.Values{"from": {string(c.From)}}
	if c.To != "" {
		v.Set("to", string(c.To))
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
	g := grid{indent: indent}
	for _, c := range changes {
		switch {
		case c.Before == nil:
			g.row("+ "+c.Path, inWords(c.After))
		case c.After == nil:
			g.row("- "+c.Path, inWords(c.Before))
		default:
			g.row("~ "+c.Path, inWords(c.Before)+" -> "+inWords(c.After))
		}
	}
	return g.writeTo(w)
}

type orderWhy struct {
	ID    orderID   `arg:"" help:"The order's id."`
	Field givenText `arg:"" optional:"" help:"A field, such as /status or /lines/1/quantity; all of them when absent."`
	cutFlags
}

// Run shows what set the fields of an order.
func (c *orderWhy) Run(p *program) error {
	v := c.parameters()
	if c.Field != "" {
		// What a shell or a habit makes of /status on other systems.
		v.Set("field", "/"+strings.TrimPrefix(string(c.Field), "/"))
	}
	var answer httpapi.WhyAnswer
	return p.asked(orderPath(c.ID, "/why", v), &answer, func(w io.Writer) error { return writeWhy(w, answer) })
}

// longestValue is how many places of a line a table gives to a value or a
// reason.
const longestValue = 60

func writeWhy(w io.Writer, why httpapi.WhyAnswer) error {
	origins := why.Fields
	fmt.Fprintf(w, "order %s at revision %d: %s; times are UTC\n\n", oneLine(why.ID), why.Revision, plural(int64(len(origins)), "field"))
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
		{"RECORDED", func(o audit.Origin) string { return clockTime(o.RecordedAt) }},
		{"HAPPENED", func(o audit.Origin) string { return happenedAt(o.At, o.RecordedAt) }},
		{"WHO", func(o audit.Origin) string { return o.Actor }},
		{"COMMAND", func(o audit.Origin) string { return o.Command }},
	})
}
