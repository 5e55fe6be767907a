package reconcile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/projections/redis"
	goredis "github.com/redis/go-redis/v9"
)

func redisStore(t testing.TB, address, namespace string) *sharedStore {
	t.Helper()
	b, err := redis.Open("redis://"+address, redis.Options{Namespace: eventstore.Namespace(namespace)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return &sharedStore{"redis", b}
}

// keys are another program's client of the keys of generation 1.
type keys struct {
	testing.TB
	*goredis.Client
	start string
}

func (k keys) bucket(id, of, kind string) string {
	h := fnv.New32a()
	h.Write([]byte(id))
	return fmt.Sprintf("%s:%s%d}:%s", k.start, of, h.Sum32()%redis.Buckets, kind)
}

func (k keys) docs(id string) string { return k.bucket(id, "", "docs") }

// ok ends the test where a command failed.
func (k keys) ok(err error) {
	k.Helper()
	if err != nil {
		k.Fatal(err)
	}
}

// value of an order, head and document; nil where there is none.
func (k keys) value(id string) []byte {
	value, err := k.HGet(k.Context(), k.docs(id), id).Bytes()
	if err == goredis.Nil || err == nil && len(value) < 40 {
		return nil
	}
	k.ok(err)
	return value
}

func (k keys) put(id string, value []byte) { k.ok(k.HSet(k.Context(), k.docs(id), id, value).Err()) }

// head of a value, and its document.
func head(value []byte) (head, document []byte) {
	size := binary.BigEndian.Uint32(value)
	return value[:size], value[size:]
}

// sealed is the value with a head that says it is whole.
func sealed(value []byte) []byte {
	h, _ := head(value)
	binary.BigEndian.PutUint32(h[4:], crc32.ChecksumIEEE(h[8:]))
	return value
}

var revisionField = regexp.MustCompile(`"revision":\d+,"position"`)

// at is the value as if the order were at another revision.
func at(value []byte, revision int64) []byte {
	h, document := head(value)
	h = slices.Clone(h)
	binary.BigEndian.PutUint64(h[8:], uint64(revision))
	document = revisionField.ReplaceAll(document, []byte(`"revision":`+strconv.FormatInt(revision, 10)+`,"position"`))
	return sealed(append(h, document...))
}

func revision(value []byte) int64 { return int64(binary.BigEndian.Uint64(value[8:])) }

// customer of an order, as its head says.
func customer(value []byte) string {
	rest := value[24:]
	var text string
	for range 3 { // currency, day, customer
		n, size := binary.Uvarint(rest)
		text, rest = string(rest[size:size+int(n)]), rest[size+int(n):]
	}
	return text
}

// entry of the order in its customer's list.
func (k keys) entry(id, customer string) string {
	list, err := k.ZRangeArgs(k.Context(), goredis.ZRangeArgs{
		Key: k.bucket(customer, "c", "list"), Start: "[" + customer + "\x00", Stop: "(" + customer + "\x01", ByLex: true,
	}).Result()
	k.ok(err)
	for _, entry := range list {
		if entry[len(customer)+9:] == id {
			return entry
		}
	}
	return ""
}

// row is any field of a hash whose name begins so.
func (k keys) row(key, prefix string) (field string, value []byte) {
	all, err := k.HGetAll(k.Context(), key).Result()
	k.ok(err)
	for field, value := range all {
		if !strings.HasPrefix(field, "!") && strings.HasPrefix(field, prefix) {
			return field, []byte(value)
		}
	}
	return "", nil
}

// keyDeeds are what is done to the keys.
func keyDeeds(t testing.TB, address, namespace string) []deed {
	client := goredis.NewClient(&goredis.Options{Addr: address, Protocol: 2})
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	k := keys{t, client, "{docket." + namespace + ":1"}
	ctx, made := t.Context(), 0
	// order changes the value of an order; nil leaves it.
	order := func(name string, class []Class, change func(id string, value []byte) []byte) deed {
		return deed{name: name, classes: class, do: func(_ *rand.Rand, id string) (bool, string) {
			value := k.value(id)
			if value == nil {
				return false, ""
			}
			changed := change(id, slices.Clone(value))
			if changed != nil {
				k.put(id, changed)
			}
			return changed != nil, ""
		}}
	}
	// beside changes what the order's customer keeps.
	beside := func(name string, change func(id, customer string) bool) deed {
		return deed{name: name, classes: []Class{Content, Aggregate}, do: func(_ *rand.Rand, id string) (bool, string) {
			value := k.value(id)
			return value != nil && customer(value) != "" && change(id, customer(value)), ""
		}}
	}
	// figure changes a row of the bucket of an order, or of its customer.
	figure := func(name, of, kind, prefix string, change func(key, field string, value []byte)) deed {
		return deed{name: name, classes: nil, figures: true, do: func(_ *rand.Rand, id string) (bool, string) {
			in := id
			if of != "" {
				value := k.value(id)
				if value == nil || customer(value) == "" {
					return false, ""
				}
				in = customer(value)
			}
			key := k.bucket(in, of, kind)
			field, value := k.row(key, prefix)
			if field == "" {
				return false, ""
			}
			change(key, field, value)
			return true, ""
		}}
	}
	nudge := func(key, field string, value []byte) {
		value[7]++
		k.ok(k.HSet(ctx, key, field, value).Err())
	}
	remove := func(key, field string, _ []byte) { k.ok(k.HDel(ctx, key, field).Err()) }
	orphan := func(name string, classes []Class, listed bool, value func(from []byte) []byte) deed {
		return deed{name: name, classes: classes, figures: !listed, do: func(_ *rand.Rand, from string) (bool, string) {
			kept := k.value(from)
			if kept == nil {
				return false, ""
			}
			made++
			id := fmt.Sprintf("foreign-%d", made)
			k.put(id, value(kept))
			if listed {
				k.ok(k.ZAdd(ctx, k.bucket(id, "", "ids"), goredis.Z{Member: "o" + id}).Err())
			}
			return true, id
		}}
	}
	return []deed{
		{name: "deleted", classes: []Class{Missing}, do: func(_ *rand.Rand, id string) (bool, string) {
			n, err := k.HDel(ctx, k.docs(id), id).Result()
			k.ok(err)
			return n > 0, ""
		}},
		{name: "deleted with its id", classes: []Class{Missing}, do: func(_ *rand.Rand, id string) (bool, string) {
			n, err := k.HDel(ctx, k.docs(id), id).Result()
			k.ok(err)
			k.ok(k.ZRem(ctx, k.bucket(id, "", "ids"), "o"+id).Err())
			return n > 0, ""
		}},
		order("garbage in its place", []Class{Content, Missing}, func(string, []byte) []byte { return []byte("garbage") }),
		order("document changed", []Class{Content}, func(_ string, value []byte) []byte {
			return bytes.Replace(value, []byte(`"status":"`), []byte(`"status":"lost-`), 1)
		}),
		order("document extended", []Class{Content}, func(_ string, value []byte) []byte {
			return bytes.Replace(value, []byte(`"status":`), []byte(`"colour":"red","status":`), 1)
		}),
		order("document cut", []Class{Content}, func(_ string, value []byte) []byte { return value[:len(value)-9] }),
		order("head changed", []Class{Content, Aggregate}, func(_ string, value []byte) []byte { value[30]++; return value }),
		order("place changed", []Class{Content}, func(_ string, value []byte) []byte { value[23]++; return sealed(value) }),
		order("contribution changed", []Class{Aggregate, Content}, func(_ string, value []byte) []byte {
			h, _ := head(value)
			h[len(h)-1] ^= 2 // of a product, or of none
			return sealed(value)
		}),
		order("ahead", []Class{Ahead}, func(_ string, value []byte) []byte { return at(value, revision(value)+1000) }),
		order("put back", []Class{Stale}, func(_ string, value []byte) []byte {
			if revision(value) == 0 {
				return nil
			}
			return at(value, revision(value)-1)
		}),
		order("id removed", []Class{Content}, func(id string, value []byte) []byte {
			k.ok(k.ZRem(ctx, k.bucket(id, "", "ids"), "o"+id).Err())
			return value
		}),
		beside("order of a customer removed", func(id, customer string) bool {
			n, err := k.HDel(ctx, k.bucket(customer, "c", "members"), "m"+customer+"\x00"+id).Result()
			k.ok(err)
			return n > 0
		}),
		beside("order of a customer changed", func(id, customer string) bool {
			key, field := k.bucket(customer, "c", "members"), "m"+customer+"\x00"+id
			value, err := k.HGet(ctx, key, field).Bytes()
			if err == goredis.Nil {
				return false
			}
			k.ok(err)
			value[len(value)-1] ^= 2
			k.ok(k.HSet(ctx, key, field, value).Err())
			return true
		}),
		beside("entry of a list removed", func(id, customer string) bool {
			entry := k.entry(id, customer)
			k.ok(k.ZRem(ctx, k.bucket(customer, "c", "list"), entry).Err())
			return entry != ""
		}),
		{name: "order given to another customer", figures: true, do: func(_ *rand.Rand, id string) (bool, string) {
			value := k.value(id)
			if value == nil || customer(value) == "" {
				return false, ""
			}
			from, to := customer(value), "thief"
			member, err := k.HGet(ctx, k.bucket(from, "c", "members"), "m"+from+"\x00"+id).Bytes()
			entry := k.entry(id, from)
			if err == goredis.Nil || entry == "" {
				return false, ""
			}
			k.ok(err)
			k.ok(k.HSet(ctx, k.bucket(to, "c", "members"), "m"+to+"\x00"+id, member).Err())
			k.ok(k.ZAdd(ctx, k.bucket(to, "c", "list"), goredis.Z{Member: to + entry[len(from):]}).Err())
			return true, ""
		}},
		orphan("orphan", []Class{Orphan}, true, func(from []byte) []byte { return from }),
		orphan("garbage", []Class{Orphan}, true, func([]byte) []byte { return []byte("garbage") }),
		orphan("orphan without its id", []Class{Orphan, Aggregate}, false, func(from []byte) []byte { return from }),
		{name: "id of nothing", classes: []Class{Orphan}, figures: true, do: func(*rand.Rand, string) (bool, string) {
			made++
			id := fmt.Sprintf("foreign-%d", made)
			k.ok(k.ZAdd(ctx, k.bucket(id, "", "ids"), goredis.Z{Member: "o" + id}).Err())
			return true, id
		}},
		figure("sums nudged", "", "sums", "a", nudge),
		figure("groups nudged", "", "sums", "g", nudge),
		figure("days nudged", "", "days", "", nudge),
		figure("products nudged", "", "products", "", nudge),
		figure("totals nudged", "c", "members", "t", nudge),
		figure("count of customers nudged", "c", "counts", "", nudge),
		figure("sums removed", "", "sums", "", remove),
		figure("products removed", "", "products", "", remove),
		figure("totals removed", "c", "members", "t", remove),
		figure("row cut", "", "sums", "", func(key, field string, value []byte) {
			k.ok(k.HSet(ctx, key, field, value[:5]).Err())
		}),
		figure("rows of nothing", "", "days", "", func(key, _ string, value []byte) {
			k.ok(k.HSet(ctx, key, "2001-02-03\x00mEUR\x00barter", value[:16], "garbage", "garbage").Err())
		}),
		figure("customer of nothing", "c", "members", "t", func(key, _ string, value []byte) {
			k.ok(k.HSet(ctx, key, "tnobody\x00EUR", value, "x", "garbage").Err())
		}),
	}
}
