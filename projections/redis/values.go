package redis

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"strings"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"

	fastjson "github.com/go-json-experiment/json"
)

// The value of an order is its head and its document as JSON. The head:
//
//	4 bytes  its length
//	4 bytes  CRC-32 of the rest of it
//	8 bytes  revision
//	8 bytes  placed, in microseconds since 1970
//	         contribution
//
// Numbers are big-endian. The value of a customer's member is 'm' or, for a mark,
// 'x'; CRC-32 of the rest; revision; placed; currency; five sums as varints.

// order is a change in the form it is stored in.
type order struct {
	id       string
	first    int64
	revision int64
	placed   int64
	counted  projections.Contribution
	value    []byte // head and document
	head     []byte
	document []byte
}

// usualValue is room, in bytes, for most values: what is longer grows.
const usualValue = 2048

// encode makes the order of a change, or says why it is refused.
func encode(change *projections.Change) (*order, error) {
	doc := change.Order // shallow; nothing below is changed
	doc.Degraded = nil
	if doc.ID == "" || strings.HasPrefix(doc.ID, "!") {
		return nil, fmt.Errorf("document without a proper id: %.20q", doc.ID)
	}
	c := change.Contribution
	for _, text := range []string{doc.ID, c.Customer, string(c.Currency)} {
		if strings.ContainsRune(text, 0) || strings.HasPrefix(text, "!") {
			return nil, fmt.Errorf("document with the id %.20q", text)
		}
	}
	o := &order{id: doc.ID, first: change.First, revision: doc.Revision, placed: doc.PlacedAt.UnixMicro(), counted: c}
	head := appendContribution(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(make([]byte, 8, usualValue), uint64(o.revision)), uint64(o.placed)), c)
	binary.BigEndian.PutUint32(head, uint32(len(head)))
	binary.BigEndian.PutUint32(head[4:], crc32.ChecksumIEEE(head[8:]))
	value, err := doc.AppendJSON(head)
	if err != nil {
		return nil, fmt.Errorf("encode document: %w", err)
	}
	o.value, o.head, o.document = value, value[:len(head)], value[len(head):]
	if len(o.document) > projections.MaxDocument {
		return nil, fmt.Errorf("document of %d bytes, at most %d are allowed", len(o.document), projections.MaxDocument)
	}
	return o, nil
}

// kept is what stands in the head of a kept order.
type kept struct {
	revision, placed int64
	counted          projections.Contribution
}

var errForeign = errors.New("docket did not write it")

// decodeHead reads a head, with or without a document behind it.
func decodeHead(value string) (k kept, document string, err error) {
	if len(value) < 24 {
		return k, "", errForeign
	}
	size := binary.BigEndian.Uint32([]byte(value[:4]))
	if size < 24 || int64(size) > int64(len(value)) {
		return k, "", errForeign
	}
	head := []byte(value[:size])
	if binary.BigEndian.Uint32(head[4:]) != crc32.ChecksumIEEE(head[8:]) {
		return k, "", errForeign
	}
	k.revision, k.placed = int64(binary.BigEndian.Uint64(head[8:])), int64(binary.BigEndian.Uint64(head[16:]))
	if k.counted, err = decodeContribution(head[24:]); err != nil {
		return kept{}, "", err
	}
	return k, value[size:], nil
}

// decodeOrder reads a whole value. A document that does not say what its head
// says was changed by another program.
func decodeOrder(id, value string) (doc view.Order, k kept, err error) {
	k, document, err := decodeHead(value)
	if err != nil {
		return view.Order{}, k, err
	}
	if err := fastjson.Unmarshal([]byte(document), &doc); err != nil {
		return view.Order{}, k, fmt.Errorf("document: %w", err)
	}
	if doc.ID != id || doc.Revision != k.revision {
		return view.Order{}, k, errForeign
	}
	return doc, k, nil
}

// dimensions have a number in place of their name. Their order is stored.
var dimensions = [...]string{"status", "paymentStatus", "fulfilmentStatus", "kind", "source", "country", "state", "tag", "anomaly"}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

func appendNumbers(b []byte, numbers ...int64) []byte {
	for _, n := range numbers {
		b = binary.AppendVarint(b, n)
	}
	return b
}

// appendGroups writes 0 and the name for a dimension without a number.
func appendGroups(b []byte, groups []projections.Group) []byte {
	b = binary.AppendUvarint(b, uint64(len(groups)))
	for _, g := range groups {
		n := slices.Index(dimensions[:], g.Dimension) + 1
		if b = binary.AppendUvarint(b, uint64(n)); n == 0 {
			b = appendText(b, g.Dimension)
		}
		b = appendText(b, g.Key)
	}
	return b
}

func appendContribution(b []byte, c projections.Contribution) []byte {
	b = appendText(appendText(appendText(b, string(c.Currency)), c.Day), c.Customer)
	b = appendNumbers(b, sumsOf(c.Sums)...)
	b = appendGroups(b, c.Groups)
	b = binary.AppendUvarint(b, uint64(len(c.Methods)))
	for _, m := range c.Methods {
		b = appendNumbers(appendText(b, m.Method), m.Payments, m.Captured)
	}
	b = binary.AppendUvarint(b, uint64(len(c.Products)))
	for _, p := range c.Products {
		b = appendNumbers(appendText(b, p.SKU), p.Units, p.Amount, p.Millionths)
	}
	return b
}

func sumsOf(s projections.Sums) []int64 {
	return []int64{s.Orders, s.Lines, s.Units, s.Items, s.Shipping, s.Grand, s.Paid, s.Rounding}
}

func sumsFrom(v [8]int64) projections.Sums {
	return projections.Sums{Orders: v[0], Lines: v[1], Units: v[2], Items: v[3], Shipping: v[4], Grand: v[5], Paid: v[6], Rounding: v[7]}
}

// reader reads what was appended; after the first thing that is not there it
// fails for good.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) fail() { r.rest, r.failed = nil, true }

func (r *reader) count() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *reader) number() int64 {
	n, size := binary.Varint(r.rest)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *reader) text() string {
	n := r.count()
	if n > uint64(len(r.rest)) {
		r.fail()
		return ""
	}
	text := string(r.rest[:n])
	r.rest = r.rest[n:]
	return text
}

// many is a number of things, each of at least one byte.
func (r *reader) many() int {
	n := r.count()
	if n > uint64(len(r.rest)) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *reader) groups() (groups []projections.Group) {
	for range r.many() {
		var g projections.Group
		switch n := r.count(); {
		case n == 0:
			g.Dimension = r.text()
		case n <= uint64(len(dimensions)):
			g.Dimension = dimensions[n-1]
		default:
			r.fail()
		}
		g.Key = r.text()
		groups = append(groups, g)
	}
	return groups
}

func (r *reader) sums(n int) (v [8]int64) {
	for i := range n {
		v[i] = r.number()
	}
	return v
}

func decodeContribution(data []byte) (c projections.Contribution, err error) {
	r := &reader{rest: data}
	c.Currency, c.Day, c.Customer = money.Currency(r.text()), r.text(), r.text()
	c.Sums = sumsFrom(r.sums(8))
	c.Groups = r.groups()
	for range r.many() {
		c.Methods = append(c.Methods, projections.MethodSum{Method: r.text(), Payments: r.number(), Captured: r.number()})
	}
	for range r.many() {
		c.Products = append(c.Products, projections.ProductSum{SKU: r.text(), Units: r.number(), Amount: r.number(), Millionths: r.number()})
	}
	if r.failed || len(r.rest) > 0 {
		return projections.Contribution{}, errForeign
	}
	return c, nil
}

// member is what a customer's bucket keeps of one order. A mark has no sums.
type member struct {
	mark     bool
	revision int64
	placed   int64
	currency string
	sums     [5]int64 // orders, items, grand, paid, rounding
}

func memberOf(k kept) member {
	s := k.counted.Sums
	return member{
		revision: k.revision, placed: k.placed, currency: string(k.counted.Currency),
		sums: [5]int64{s.Orders, s.Items, s.Grand, s.Paid, s.Rounding},
	}
}

func (m member) encode() string {
	b := make([]byte, 5, 64)
	if b[0] = 'm'; m.mark {
		b[0] = 'x'
	}
	b = appendText(appendNumbers(b, m.revision, m.placed), m.currency)
	b = appendNumbers(b, m.sums[:]...)
	binary.BigEndian.PutUint32(b[1:], crc32.ChecksumIEEE(b[5:])^uint32(b[0]))
	return string(b)
}

func decodeMember(value string) (m member, err error) {
	b := []byte(value)
	if len(b) < 5 || b[0] != 'm' && b[0] != 'x' || binary.BigEndian.Uint32(b[1:]) != crc32.ChecksumIEEE(b[5:])^uint32(b[0]) {
		return m, errForeign
	}
	r := &reader{rest: b[5:]}
	m = member{mark: b[0] == 'x', revision: r.number(), placed: r.number(), currency: r.text()}
	for i := range m.sums {
		m.sums[i] = r.number()
	}
	if r.failed || len(r.rest) > 0 {
		return member{}, errForeign
	}
	return m, nil
}

// place in a customer's list: entries sort by customer, placed and order.
func place(customer string, placed int64, id string) string {
	b := append([]byte(customer), 0)
	b = binary.BigEndian.AppendUint64(b, uint64(placed)^1<<63)
	return string(append(b, id...))
}

// placed reads an entry of a list.
func placed(entry string) (customer string, at int64, id string, ok bool) {
	customer, rest, ok := strings.Cut(entry, "\x00")
	if !ok || len(rest) < 8 {
		return "", 0, "", false
	}
	return customer, int64(binary.BigEndian.Uint64([]byte(rest[:8])) ^ 1<<63), rest[8:], true
}

// pack writes numbers as rows hold them: 8 bytes each, big-endian.
func pack(values []int64) string {
	b := make([]byte, 0, 8*len(values))
	for _, v := range values {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	return string(b)
}

// unpack reads n numbers, and what stands behind them.
func unpack(value string, n int) (v [8]int64, rest string, ok bool) {
	if len(value) < 8*n {
		return v, "", false
	}
	for i := range n {
		v[i] = int64(binary.BigEndian.Uint64([]byte(value[8*i : 8*i+8])))
	}
	return v, value[8*n:], true
}

// plus adds, unless the sum leaves 64 bits.
func plus(a, b int64) (int64, bool) {
	sum := a + b
	return sum, (sum > a) == (b > 0)
}

// minus is -n, unless that leaves 64 bits.
func minus(n int64) (int64, bool) { return -n, n != math.MinInt64 }

// list and text read answers; what is of another form is nothing.
func list(reply any) []any {
	l, _ := reply.([]any)
	return l
}

func text(reply any) string {
	s, _ := reply.(string)
	return s
}

// fields reads names and values in turns.
func fields(reply any) map[string]string {
	l := list(reply)
	m := make(map[string]string, len(l)/2)
	for i := 0; i+1 < len(l); i += 2 {
		m[text(l[i])] = text(l[i+1])
	}
	return m
}

// clean is text that JSON can carry: another program may have left other bytes.
func clean(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// sameJSON ignores the order of members, and space.
func sameJSON(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	read := func(data []byte) (v any, err error) {
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		err = d.Decode(&v)
		return v, err
	}
	x, errX := read(a)
	y, errY := read(b)
	if errX != nil || errY != nil {
		return false
	}
	p, _ := json.Marshal(x)
	q, _ := json.Marshal(y)
	return bytes.Equal(p, q)
}
