package redis

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docket-orders/docket/projections"

	fastjson "github.com/go-json-experiment/json"
)

// Inspect implements projections.Inspector. An order and what its customer keeps
// of it lie in two buckets: where they differ, it is looked again until a write
// between the two would have ended.
func (s *Store) Inspect(ctx context.Context, want []projections.Change) (out []projections.Kept, err error) {
	err = s.with(func() error {
		all := make([]*inspection, len(want))
		for i := range want {
			all[i] = newInspection(&want[i])
		}
		waiting := all
		for deadline := time.Now().Add(inFlight); ; {
			for part := range slices.Chunk(waiting, documentsAtOnce) {
				if err := s.inspect(ctx, part); err != nil {
					return err
				}
			}
			waiting = slices.DeleteFunc(slices.Clone(waiting), func(i *inspection) bool { return !i.torn() })
			if len(waiting) == 0 || time.Now().After(deadline) {
				break
			}
			if err := pause(ctx, lookAgain); err != nil {
				return err
			}
		}
		for i := range all {
			out = append(out, all[i].answer())
		}
		return nil
	})
	if err != nil {
		return nil, wrap(err, "inspect %d orders", len(want))
	}
	return out, nil
}

// inspection holds what is kept of one order against what should be.
type inspection struct {
	id      string
	change  *projections.Change
	want    *order // nil where Write would refuse it
	refused error

	value   string // kept
	found   bool
	listed  bool              // in the index of ids
	members map[string]string // by customer: what it keeps of the order
	entered map[string]bool   // by customer: the list has the entry of want
}

func newInspection(change *projections.Change) *inspection {
	i := &inspection{id: change.Order.ID, change: change}
	i.want, i.refused = encode(change)
	return i
}

func (i *inspection) customer() string {
	if i.want == nil {
		return ""
	}
	return i.want.counted.Customer
}

// inspect reads the orders' buckets, and then those of the customers they should
// be at, and are at.
func (s *Store) inspect(ctx context.Context, all []*inspection) error {
	var calls []*call
	for _, i := range all {
		keys := s.keys.orders[bucketOf(i.id)]
		calls = append(calls,
			&call{command: "HMGET", keys: keys[docsKey : docsKey+1], args: []any{mark, i.id}},
			&call{command: "ZMSCORE", keys: keys[idsKey : idsKey+1], args: []any{mark + s.nonce, "o" + i.id}})
	}
	if err := s.server.all(ctx, calls); err != nil {
		return err
	}
	var members []*call
	type asked struct {
		of       *inspection
		customer string
	}
	var who []asked
	for n, i := range all {
		doc, score := list(calls[2*n].reply), list(calls[2*n+1].reply)
		if len(doc) != 2 || len(score) != 2 || text(doc[0]) != s.nonce || score[0] == nil {
			return s.ours("", calls[2*n].keys[0])
		}
		i.value, i.found = doc[1].(string)
		i.listed = text(score[1]) == "0"
		i.members, i.entered = map[string]string{}, map[string]bool{}
		customers := []string{i.customer()}
		if k, _, err := decodeHead(i.value); i.found && err == nil {
			customers = append(customers, k.counted.Customer)
		}
		slices.Sort(customers)
		for _, customer := range slices.Compact(customers) {
			if customer == "" {
				continue
			}
			keys := s.keys.customers[bucketOf(customer)]
			at := int64(0)
			if i.want != nil {
				at = i.want.placed
			}
			members = append(members,
				&call{command: "HMGET", keys: keys[membersKey : membersKey+1], args: []any{mark, "m" + customer + "\x00" + i.id}},
				&call{command: "ZMSCORE", keys: keys[listKey : listKey+1], args: []any{mark + s.nonce, place(customer, at, i.id)}})
			who = append(who, asked{i, customer})
		}
	}
	if err := s.server.all(ctx, members); err != nil {
		return err
	}
	for n, a := range who {
		member, entry := list(members[2*n].reply), list(members[2*n+1].reply)
		if len(member) != 2 || len(entry) != 2 || text(member[0]) != s.nonce || entry[0] == nil {
			return s.ours("", members[2*n].keys[0])
		}
		if value, ok := member[1].(string); ok {
			a.of.members[a.customer] = value
		}
		a.of.entered[a.customer] = text(entry[1]) == "0"
	}
	return nil
}

// torn reports whether the order's bucket says what is wanted, or nothing, and the
// customers something else: a write may be between the two.
func (i *inspection) torn() bool {
	if i.want == nil || len(i.rows()) == 0 {
		return false
	}
	k, _, err := decodeHead(i.value)
	return !i.found || err == nil && k.revision == i.want.revision
}

// rows are the differences beside the order's own value.
func (i *inspection) rows() (rows []string) {
	if i.want == nil {
		return nil
	}
	if i.found && !i.listed {
		rows = append(rows, "ids: not listed")
	}
	now := i.customer()
	for customer, value := range i.members {
		m, err := decodeMember(value)
		switch {
		case customer == now && value == memberOf(kept{i.want.revision, i.want.placed, i.want.counted}).encode():
		case customer == now && err != nil:
			rows = append(rows, "customer "+customer+": what is kept of the order cannot be read")
		case customer == now:
			rows = append(rows, fmt.Sprintf("customer %s: kept at revision %d, with other sums or at another place", customer, m.revision))
		case err != nil || !m.mark:
			rows = append(rows, "customer "+customer+": has the order, and is not its customer")
		}
	}
	if i.found || len(i.members) > 0 {
		if _, there := i.members[now]; now != "" && !there {
			rows = append(rows, "customer "+now+": does not have the order")
		}
		if now != "" && !i.entered[now] {
			rows = append(rows, "customer "+now+": the order is not in the list")
		}
	}
	slices.Sort(rows)
	return rows
}

func (i *inspection) answer() projections.Kept {
	if !i.found && len(i.members) == 0 && !i.listed {
		return projections.Kept{Same: i.refused != nil}
	}
	k := projections.Kept{Found: true}
	rows := i.rows()
	if !i.found {
		k.NoDocument, k.Unreadable = true, "there is no document"
		return k
	}
	if i.want != nil && len(rows) == 0 && i.value == string(i.want.value) {
		k.Same = true
		return k
	}
	if i.refused != nil {
		rows = append(rows, "document: kept, although it is refused: "+i.refused.Error())
	}
	var problems []string
	head, document, err := decodeHead(i.value)
	if err != nil {
		problems = append(problems, "head: "+err.Error())
		document = after(i.value)
	}
	k.Contribution = head.counted
	if err := fastjson.Unmarshal([]byte(document), &k.Document); err != nil {
		problems = append(problems, "document: "+err.Error())
	} else if k.Document.Revision != head.revision && len(problems) == 0 {
		rows = append(rows, fmt.Sprintf("head: revision %d, not %d", head.revision, k.Document.Revision))
	}
	if len(problems) > 0 {
		k.Unreadable = clean(strings.Join(problems, "; "))
	}
	if i.want != nil {
		if len(problems)+len(rows) == 0 && string(i.want.head) == i.value[:len(i.value)-len(document)] && sameJSON([]byte(document), i.want.document) {
			return projections.Kept{Found: true, Same: true}
		}
		if again, err := json.Marshal(&k.Document); err == nil && len(problems) == 0 && sameJSON(again, i.want.document) && !sameJSON([]byte(document), i.want.document) {
			rows = append(rows, "document: JSON that docket does not write")
		}
		if head.placed != i.want.placed && len(problems) == 0 {
			rows = append(rows, "head: placed "+micros(head.placed).Format(time.RFC3339Nano)+", not "+micros(i.want.placed).Format(time.RFC3339Nano))
		}
	}
	if k.Document.Revision == i.change.Order.Revision {
		for _, row := range rows {
			k.Rows = append(k.Rows, clean(row))
		}
	}
	return k
}

// after is what may be the document behind a head that cannot be read.
func after(value string) string {
	if at := strings.Index(value, `{"id":`); at >= 0 {
		return value[at:]
	}
	return ""
}

// IDs implements projections.Inspector, over the indexes of all buckets. Each is
// asked for its share of the page and some, up to the first place where one may
// have more; from there on again, until the page is full.
func (s *Store) IDs(ctx context.Context, after string, limit int) (ids []string, err error) {
	from := "(o" + after
	if after == "" {
		from = "[o"
	}
	share := limit/Buckets*2 + 16
	err = s.with(func() error {
		for len(ids) < limit {
			var calls []*call
			for b := range Buckets {
				keys := s.keys.orders[b][idsKey : idsKey+1]
				calls = append(calls,
					&call{command: "ZSCORE", keys: keys, args: []any{mark + s.nonce}},
					&call{command: "ZRANGEBYLEX", keys: keys, args: []any{from, "(p", "LIMIT", 0, share}})
			}
			if err := s.server.all(ctx, calls); err != nil {
				return err
			}
			var found []string
			var end *string // the least id after which a bucket may have more
			for b := range Buckets {
				if calls[2*b].reply == nil {
					return s.ours("", calls[2*b].keys[0])
				}
				part := list(calls[2*b+1].reply)
				for _, member := range part {
					found = append(found, strings.TrimPrefix(text(member), "o"))
				}
				if len(part) == share {
					if last := found[len(found)-1]; end == nil || last < *end {
						end = &last
					}
				}
			}
			slices.Sort(found)
			if end != nil {
				found = slices.DeleteFunc(found, func(id string) bool { return id > *end })
			}
			ids = append(ids, found[:min(limit-len(ids), len(found))]...)
			if end == nil {
				return nil
			}
			from = "(o" + *end
		}
		return nil
	})
	return ids, wrap(err, "list orders after %q", after)
}
