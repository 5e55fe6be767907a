package redis

import (
	"fmt"
	"hash/fnv"
	"strconv"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/projections"
)

// Buckets is the number of buckets of orders, and again of customers. A bucket of
// orders is of one lane only: its number modulo projections.Lanes.
const Buckets = 256

func bucketOf(id string) int {
	h := fnv.New32a()
	h.Write([]byte(id))
	return int(h.Sum32() % Buckets)
}

// prefix begins the names of all keys of a projection: docket's own comes first,
// and others have their name in it, which is no number as a generation is.
func prefix(n eventstore.Namespace, projection string) string {
	p := "docket"
	if n != "" {
		p += "." + string(n)
	}
	if projection != projections.Name {
		p += ":" + projection
	}
	return p
}

func registryKey(prefix string) string { return "{" + prefix + "}:generations" }

// generationKeys names the keys of one generation.
type generationKeys struct {
	control   string
	orders    [Buckets][]string // docs, ids, sums, days, products
	customers [Buckets][]string // members, list, counts
}

// The kinds of keys, as scripts take them, and their places.
const (
	controlKinds  = "h"
	orderKinds    = "hzhhh"
	customerKinds = "hzh"

	docsKey, idsKey, sumsKey, daysKey, productsKey = 0, 1, 2, 3, 4
	membersKey, listKey, countsKey                 = 0, 1, 2
)

func newGenerationKeys(prefix string, generation int) *generationKeys {
	start := fmt.Sprintf("{%s:%d", prefix, generation)
	k := &generationKeys{control: start + "}:control"}
	for b := range Buckets {
		orders, customers := start+":"+strconv.Itoa(b)+"}:", start+":c"+strconv.Itoa(b)+"}:"
		k.orders[b] = []string{orders + "docs", orders + "ids", orders + "sums", orders + "days", orders + "products"}
		k.customers[b] = []string{customers + "members", customers + "list", customers + "counts"}
	}
	return k
}

// each hands over the keys of every slot, with their kinds.
func (k *generationKeys) each(do func(keys []string, kinds string)) {
	do([]string{k.control}, controlKinds)
	for b := range Buckets {
		do(k.orders[b], orderKinds)
		do(k.customers[b], customerKinds)
	}
}
