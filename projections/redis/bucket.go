package redis

import (
	"fmt"
	"strings"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/projections"
)

// miscount is a field or a member of a bucket that is not what it should be.
type miscount struct {
	kept, should projections.Figure
	key          int    // where it is
	field        string // of a hash, or the member of a sorted set
	value        string // that it should have; empty: it should not be there
}

// stray is a miscount of what belongs to nothing, or is missing in an index.
func stray(what string, key int, field, value string) miscount {
	at := projections.FigureKey{Of: projections.FigureStray, Key: clean(what)}
	m := miscount{kept: projections.Figure{FigureKey: at}, should: projections.Figure{FigureKey: at}, key: key, field: field, value: value}
	m.kept.Values[0] = 1
	return m
}

// indexed compares a sorted set with the members that it should have, all of
// score 0.
func indexed(reply any, key int, what string, want map[string]bool) (wrong []miscount, compared int64) {
	there := map[string]bool{}
	l := list(reply)
	for i := 0; i+1 < len(l); i += 2 {
		member, score := text(l[i]), text(l[i+1])
		switch {
		case strings.HasPrefix(member, mark):
		case !want[member]:
			wrong = append(wrong, stray(fmt.Sprintf("%s: %q belongs to nothing", what, member), key, member, ""))
		case score != "0":
			there[member] = true
			wrong = append(wrong, stray(fmt.Sprintf("%s: %q is out of its place", what, member), key, member, "0"))
		default:
			there[member] = true
		}
	}
	for member := range want {
		if !there[member] {
			wrong = append(wrong, stray(fmt.Sprintf("%s: %q is not there", what, member), key, member, "0"))
		}
	}
	return wrong, int64(len(want))
}

// orderBucket compares what is counted in a bucket of orders with what the kept
// contributions there add up to, and its index with its orders. Contributions
// that cannot be read count for nothing.
func orderBucket(b int, reply any) (wrong []miscount, compared int64, version string, err error) {
	parts := list(reply)
	if len(parts) != 5 {
		return nil, 0, "", fmt.Errorf("bucket %d: unexpected answer", b)
	}
	should, ids := newRows(), map[string]bool{}
	for id, head := range fields(parts[0]) {
		ids["o"+id] = true
		if k, _, err := decodeHead(head); err == nil {
			should.count(k.counted, 1)
		}
	}
	wrong, compared = indexed(parts[1], idsKey, fmt.Sprintf("ids of bucket %d", b), ids)
	for i := range wrong {
		if m := &wrong[i]; m.value != "" { // an order that is not listed, or in the wrong place
			m.kept.Dimension, m.kept.Key = projections.DimensionUnlisted, m.field[1:]
			m.should.FigureKey = m.kept.FigureKey
		}
	}
	kept := newCounted()
	kept.take(sumsKey, parts[2])
	kept.take(daysKey, parts[3])
	kept.take(productsKey, parts[4])
	for at, value := range kept.rows {
		want := should.of[at]
		switch {
		case want == nil || want.values == [8]int64{}:
			wrong = append(wrong, miscounted(b, at, value, "", kept.sets))
		case value != pack(want.values[:want.n])+want.suffix:
			wrong = append(wrong, miscounted(b, at, value, pack(want.values[:want.n])+want.suffix, kept.sets))
		}
	}
	for at, want := range should.of {
		if _, there := kept.rows[at]; want.values != [8]int64{} {
			if compared++; !there {
				wrong = append(wrong, miscounted(b, at, "", pack(want.values[:want.n])+want.suffix, kept.sets))
			}
		}
	}
	return wrong, compared, fields(parts[2])["!version"], nil
}

// miscounted says what a row of an orders' bucket means.
func miscounted(b int, at rowKey, kept, should string, sets map[string]meaning) miscount {
	m, was, readable := read(at, kept)
	n, want, wanted := read(at, should)
	if !readable && kept != "" || !readable && !wanted {
		out := stray(at.describe(b), at.key, at.field, should)
		if wanted {
			out.should.Values = [8]int64{} // a row stands there that says nothing
		}
		return out
	}
	if wanted {
		m = n
	}
	key := projections.FigureKey{Of: m.of, Currency: m.currency, Key: m.key, Day: m.day}
	if m.ofDays && m.of != projections.FigureProduct {
		key.Day = projections.EveryDay
	}
	switch {
	case m.ofAll:
		key.Dimension = projections.DimensionAll
	case m.set != "":
		if m.groups == nil {
			m.currency, m.groups = sets[m.set].currency, sets[m.set].groups
		}
		key.Currency, key.Dimension, key.Key = m.currency, "together", together(m.groups)
	}
	key.Currency, key.Key, key.Day = money.Currency(clean(string(key.Currency))), clean(key.Key), clean(key.Day)
	return miscount{kept: projections.Figure{FigureKey: key, Values: was}, should: projections.Figure{FigureKey: key, Values: want}, key: at.key, field: at.field, value: should}
}

// together names a groupset.
func together(groups []projections.Group) string {
	var names []string
	for _, g := range groups {
		names = append(names, g.Dimension+" "+g.Key)
	}
	return strings.Join(names, ", ")
}

// enrolled is what one order is kept as at a customer.
type enrolled struct {
	customer, order string
	value           string
	member          member
	readable        bool
}

func (e enrolled) field() string { return "m" + e.customer + "\x00" + e.order }

// customerBucket compares the totals, lists and counts of a bucket of customers
// with its members.
func customerBucket(b int, reply any) (wrong []miscount, compared int64, members []enrolled, version string, err error) {
	parts := list(reply)
	if len(parts) != 3 {
		return nil, 0, nil, "", fmt.Errorf("bucket of customers %d: unexpected answer", b)
	}
	kept, should, listed := map[string]string{}, totals{}, map[string]bool{}
	for field, value := range fields(parts[0]) {
		customer, rest, ok := strings.Cut(field[min(1, len(field)):], "\x00")
		switch {
		case strings.HasPrefix(field, "!"):
		case ok && field[0] == 't':
			kept[field] = value
		case ok && field[0] == 'm':
			m, err := decodeMember(value)
			members = append(members, enrolled{customer, rest, value, m, err == nil})
			if err == nil && !m.mark {
				should.add(customer, m, 1)
				listed[place(customer, m.placed, rest)] = true
			}
		default:
			wrong = append(wrong, stray(fmt.Sprintf("customers %d: %q", b, field), membersKey, field, ""))
		}
	}
	counts := map[string]int64{}
	for at, sums := range should {
		if sums[0] != 0 {
			counts[at.currency]++
		}
		value := ""
		if sums != [5]int64{} {
			compared++
			value = pack(sums[:])
		}
		if kept[at.field()] != value {
			wrong = append(wrong, miscountedTotals(at, kept[at.field()], value))
		}
		delete(kept, at.field())
	}
	for field, value := range kept {
		customer, currency, _ := strings.Cut(field[1:], "\x00")
		wrong = append(wrong, miscountedTotals(customerCurrency{customer, currency}, value, ""))
	}
	more, n := indexed(parts[1], listKey, fmt.Sprintf("list of customers %d", b), listed)
	wrong, compared = append(wrong, more...), compared+n
	keptCounts := fields(parts[2])
	version = keptCounts["!version"]
	for currency, value := range keptCounts {
		n := counts[currency]
		delete(counts, currency)
		if !strings.HasPrefix(currency, "!") && (n == 0 || value != pack([]int64{n})) {
			wrong = append(wrong, miscountedCount(b, currency, value, n))
		}
	}
	for currency, n := range counts {
		wrong = append(wrong, miscountedCount(b, currency, "", n))
	}
	return wrong, compared, members, version, nil
}

func miscountedTotals(at customerCurrency, kept, should string) miscount {
	key := projections.FigureKey{Of: projections.FigureCustomer, Currency: money.Currency(clean(at.currency)), Key: clean(at.customer)}
	m := miscount{kept: projections.Figure{FigureKey: key}, should: projections.Figure{FigureKey: key}, key: membersKey, field: at.field(), value: should}
	m.should.Values, _, _ = unpack(should, 5)
	var ok bool
	var rest string
	if m.kept.Values, rest, ok = unpack(kept, 5); kept != "" && (!ok || rest != "") || m.kept.Values == m.should.Values {
		return stray(fmt.Sprintf("totals of customer %s in %s: not a row of docket's", at.customer, at.currency), membersKey, at.field(), should)
	}
	return m
}

func miscountedCount(b int, currency, kept string, n int64) miscount {
	m := stray(fmt.Sprintf("customers counted in bucket %d in %s", b, currency), countsKey, currency, "")
	if v, _, ok := unpack(kept, 1); ok && v[0] != n {
		m.kept.Values[0] = v[0]
	} else if kept == "" {
		m.kept.Values[0] = 0
	}
	if m.should.Values[0] = n; n != 0 {
		m.value = pack([]int64{n})
	}
	return m
}

func cutCustomer(field string) (customer, rest string) {
	customer, rest, _ = strings.Cut(field[1:], "\x00")
	return customer, rest
}
