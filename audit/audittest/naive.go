package audittest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/docket-orders/docket/audit"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
)

// event is what the naive side knows of an event.
type event struct {
	recorded    codec.Recorded // for Apply
	data        map[string]any
	revision    eventstore.Revision
	position    eventstore.Position
	recordedAt  time.Time
	effectiveAt time.Time
}

// read reads all of an order's stream.
func read(ctx context.Context, store eventstore.Store, ns eventstore.Namespace, id string) ([]event, error) {
	var past []event
	for record, err := range store.ReadStream(ctx, ns.Stream(codec.Category, id), 0, eventstore.Forwards, 0) {
		if err != nil {
			return nil, err
		}
		e := event{revision: record.Revision, position: record.Position}
		if e.recorded, err = codec.Decode(record, ns); err != nil {
			return nil, err
		}
		var meta struct {
			RecordedAt time.Time `json:"recordedAt"`
		}
		if err := json.Unmarshal(record.Metadata, &meta); err != nil {
			return nil, err
		}
		e.recordedAt = meta.RecordedAt
		if err := json.Unmarshal(record.Data, &e.data); err != nil {
			return nil, err
		}
		past = append(past, e)
	}
	for i := range past {
		at, err := time.Parse(time.RFC3339Nano, past[i].data["at"].(string))
		if err != nil {
			return nil, err
		}
		past[i].effectiveAt = at
		for _, thing := range []string{"", "editId", "holdId", "paymentId", "shipmentId", "returnId", "refundId"} {
			for j := range i {
				if thing != "" && (past[i].data[thing] == nil || past[i].data[thing] != past[j].data[thing]) {
					continue
				}
				if past[j].effectiveAt.After(past[i].effectiveAt) {
					past[i].effectiveAt = past[j].effectiveAt
				}
				break // the first of them only
			}
		}
	}
	return past, nil
}

// moment is when the question is asked.
type moment struct {
	head eventstore.Position
	now  time.Time
}

// sight is what there is to see at a cut.
type sight struct {
	refusal string  // code; empty: there is an answer
	events  []event // in folding order
}

func (m moment) look(past []event, cut query.Cut) sight {
	cuts := 0
	known := slices.Clone(past)
	keep := func(which func(e event) bool) {
		var kept []event
		for _, e := range known {
			if which(e) {
				kept = append(kept, e)
			}
		}
		known = kept
	}
	last := past[len(past)-1].recordedAt
	future := func(t *time.Time) bool { return t != nil && t.After(m.now) && t.After(last) }
	refusal := ""
	if cut.Position != nil {
		cuts++
		keep(func(e event) bool { return e.position.Commit <= cut.Position.Commit })
		if cut.Position.Commit > m.head.Commit {
			refusal = "unknown-position"
		}
	}
	if cut.AsOf != nil {
		cuts++
		keep(func(e event) bool { return e.recordedAt.Compare(*cut.AsOf) <= 0 })
	}
	if cut.Revision != nil {
		cuts++
		keep(func(e event) bool { return e.revision <= *cut.Revision })
	}
	switch {
	case cuts > 1:
		return sight{refusal: "several-cuts"}
	case refusal != "":
		return sight{refusal: refusal}
	case future(cut.AsOf), future(cut.EffectiveAt):
		return sight{refusal: "cut-in-future"}
	case cut.Revision != nil && (*cut.Revision < 0 || int(*cut.Revision) >= len(past)):
		return sight{refusal: "unknown-revision"}
	}
	if cut.EffectiveAt != nil {
		keep(func(e event) bool { return e.effectiveAt.Compare(*cut.EffectiveAt) <= 0 })
		slices.SortFunc(known, func(a, b event) int {
			if !a.effectiveAt.Equal(b.effectiveAt) {
				return a.effectiveAt.Compare(b.effectiveAt)
			}
			return int(a.revision) - int(b.revision)
		})
	}
	if len(known) == 0 {
		return sight{refusal: "before-the-order"}
	}
	return sight{events: known}
}

// document is the fold of all events of the sight.
func (s sight) document() view.Order { return fold(s.events) }

func fold(events []event) view.Order {
	doc := projections.Empty(events[0].recorded.OrderID)
	newest := events[0]
	for _, e := range events {
		doc = projections.Apply(doc, e.recorded)
		if e.revision > newest.revision {
			newest = e
		}
	}
	doc.Revision, doc.Position, doc.UpdatedAt = int64(newest.revision), newest.position.String(), newest.recordedAt
	return doc
}

func (s sight) history() []string {
	var all []string
	for _, e := range s.events {
		all = append(all, told(e.revision, e.recorded.Type, e.effectiveAt, e.recordedAt, written(e.data)))
	}
	return all
}

func toldHistory(entries []audit.Entry) []string {
	var all []string
	for _, e := range entries {
		all = append(all, told(e.Revision, e.Type, e.EffectiveAt, e.RecordedAt, written(parse(e.Data))))
	}
	return all
}

func told(revision eventstore.Revision, typ string, effective, recorded time.Time, data string) string {
	return fmt.Sprintf("%d %s effective %s recorded %s: %s", revision, typ, effective.UTC(), recorded.UTC(), data)
}

// why folds every beginning of the sight anew, and says for each field that is
// asked for at which of them it last changed.
func (s sight) why(field string) []string {
	var stages []map[string]string
	for n := range s.events {
		stages = append(stages, flatten(fold(s.events[:n+1])))
	}
	last := stages[len(stages)-1]
	var origins []string
	for _, path := range paths(last) {
		if path != field && field != "" && !strings.HasPrefix(path, field+"/") {
			continue
		}
		hollow := path != "/tags" && (last[path] == "[]" || last[path] == "{}")
		if hollow && path != field {
			continue
		}
		n := len(stages) - 1
		for n > 0 && all(stages[n], path, hollow) == all(stages[n-1], path, hollow) {
			n--
		}
		e := s.events[n]
		origins = append(origins, fmt.Sprintf("%s = %s by revision %d %s", path, last[path], e.revision, e.recorded.Type))
	}
	for n := len(stages) - 1; n > 0 && len(origins) == 0; n-- {
		if is := all(stages[n-1], field, true); is != all(map[string]string{}, field, true) {
			e := s.events[n] // it took away the last of it
			origins = append(origins, fmt.Sprintf("%s = null by revision %d %s", field, e.revision, e.recorded.Type))
		}
	}
	return origins
}

// all is what a stage says at path, and, if asked for, below it.
func all(stage map[string]string, path string, below bool) string {
	value, there := stage[path]
	text := fmt.Sprint(value, there)
	if below {
		for _, p := range paths(stage) {
			if strings.HasPrefix(p, path+"/") {
				text += p + stage[p]
			}
		}
	}
	return text
}

func toldOrigins(origins []audit.Origin) []string {
	var all []string
	for _, o := range origins {
		all = append(all, fmt.Sprintf("%s = %s by revision %d %s", o.Path, written(parse(o.Value)), o.Revision, o.Type))
	}
	return all
}

// difference is the difference of two flattened documents.
func difference(before, after view.Order) []string {
	was, is := flatten(before), flatten(after)
	var changes []string
	change := func(path, before, after string) {
		changes = append(changes, fmt.Sprintf("%s: %s -> %s", path, before, after))
	}
	for _, path := range paths(was) {
		if _, there := is[path]; !there && !instead(was, is, path) {
			change(path, was[path], "")
		} else if there && was[path] != is[path] {
			change(path, was[path], is[path])
		}
	}
	for _, path := range paths(is) {
		if _, there := was[path]; !there && !instead(is, was, path) {
			change(path, "", is[path])
		}
	}
	a, b := generic(before), generic(after)
	for _, key := range lists {
		if old, now := places(a[key]), places(b[key]); moved(old, now) {
			change("/"+key, written(old), written(now))
		}
	}
	slices.Sort(changes)
	return changes
}

// instead: an empty list or object on one side is fields of it on the other.
func instead(one, other map[string]string, path string) bool {
	if one[path] != "[]" && one[path] != "{}" {
		return false
	}
	for p := range other {
		if strings.HasPrefix(p, path+"/") {
			return true
		}
	}
	return false
}

func moved(old, now []string) bool {
	var a, b []string
	for _, name := range old {
		if slices.Contains(now, name) {
			a = append(a, name)
		}
	}
	for _, name := range now {
		if slices.Contains(old, name) {
			b = append(b, name)
		}
	}
	return !slices.Equal(a, b)
}

func toldChanges(changes []query.FieldChange) []string {
	var all []string
	for _, c := range changes {
		var before, after string
		if c.Before != nil {
			before = written(parse(c.Before))
		}
		if c.After != nil {
			after = written(parse(c.After))
		}
		all = append(all, fmt.Sprintf("%s: %s -> %s", c.Path, before, after))
	}
	slices.Sort(all)
	return all
}

// lists whose elements have ids.
var lists = []string{"holds", "lines", "payments", "refunds", "shipments", "returns", "edits", "notes"}

// generic is a document as any JSON.
func generic(doc view.Order) map[string]any { return parse([]byte(text(doc))).(map[string]any) }

func text(doc view.Order) string {
	data, err := jsonv2.Marshal(doc, jsonv2.Deterministic(true))
	if err != nil {
		panic(err)
	}
	return string(data)
}

// flatten is a document's fields by path.
func flatten(doc view.Order) map[string]string {
	fields := map[string]string{}
	for key, value := range generic(doc) {
		list, isList := value.([]any)
		if !isList || !slices.Contains(lists, key) || len(list) == 0 {
			flattenInto(fields, "/"+key, value)
			continue
		}
		for i, name := range places(value) {
			flattenInto(fields, "/"+key+"/"+token(name), list[i])
		}
	}
	return fields
}

func flattenInto(fields map[string]string, path string, value any) {
	switch value := value.(type) {
	case nil:
		return
	case map[string]any:
		isMoney := len(value) == 2 && value["amount"] != nil && value["currency"] != nil && !strings.HasSuffix(path, "/metadata")
		if len(value) > 0 && !isMoney {
			for key, member := range value {
				flattenInto(fields, path+"/"+token(key), member)
			}
			return
		}
	case []any:
		if len(value) > 0 && path != "/tags" {
			for i, element := range value {
				flattenInto(fields, fmt.Sprintf("%s/%d", path, i), element)
			}
			return
		}
	}
	fields[path] = written(value)
}

// places are the names of a list's elements.
func places(list any) []string {
	var names []string
	for _, element := range list.([]any) {
		id := element.(map[string]any)["id"].(string)
		name := id
		for n := 2; slices.Contains(names, name); n++ {
			name = fmt.Sprintf("%s#%d", id, n)
		}
		names = append(names, name)
	}
	return names
}

func token(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
}

func parse(data []byte) (value any) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&value); err != nil {
		panic(fmt.Sprintf("%v: %s", err, data))
	}
	return value
}

func written(value any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		panic(err)
	}
	return strings.TrimSpace(b.String())
}
