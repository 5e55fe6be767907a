package elastic

import (
	"strconv"
	"time"
)

// object is JSON to be.
type object = map[string]any

// formatVersion is that of the layout, kept with every index of orders. It
// changes when another docket could misread it.
const formatVersion = 1

// longestTerm, in characters, is what surely fits into the 32,766 bytes that
// Lucene takes for a term. Longer values are kept, and not found by.
const longestTerm = 8191

// mapping of an index of orders. Everything but doc is what questions use;
// empty texts are left out, but for number, which is sorted by.
func mapping() object {
	number := object{"type": "long"}
	keyword := object{"type": "keyword", "ignore_above": longestTerm}
	return object{
		"dynamic": "strict",
		"_meta":   object{"format": formatVersion},
		"properties": object{
			"id":               object{"type": "keyword"},
			"revision":         number,
			"number":           keyword,
			"placed":           number,
			"updated":          number,
			"delivered":        number,
			"total":            number,
			"currency":         keyword,
			"status":           keyword,
			"paymentStatus":    keyword,
			"fulfilmentStatus": keyword,
			"kind":             keyword,
			"source":           keyword,
			"country":          keyword,
			"state":            keyword,
			"tag":              keyword,
			"anomaly":          keyword,
			"customer":         keyword,
			"sku":              keyword,
			"words":            object{"type": "text", "analyzer": "whitespace", "index_options": "docs", "norms": false},
			"doc":              object{"type": "object", "enabled": false},
		},
	}
}

// settings of an index of orders. Every acknowledged write is synced: a
// checkpoint must not outlive the documents before it.
func (o Options) settings() object {
	s := object{
		"number_of_shards":    o.Shards,
		"refresh_interval":    strconv.FormatInt(o.Refresh.Milliseconds(), 10) + "ms",
		"translog.durability": "request",
	}
	return o.replicas(s)
}

func (o Options) replicas(settings object) object {
	if o.Replicas == 0 {
		settings["auto_expand_replicas"] = "0-1"
	} else {
		settings["number_of_replicas"] = max(0, o.Replicas)
	}
	return settings
}

// controlIndex is the index beside the orders. Its records are read by id, in
// real time; only the list of parked orders is searched, after a refresh of its
// own.
func (o Options) controlIndex() object {
	return object{
		"settings": o.replicas(object{
			"number_of_shards":    1,
			"refresh_interval":    "1m",
			"translog.durability": "request",
		}),
		"mappings": object{
			"dynamic": "strict",
			"properties": object{
				"kind":  object{"type": "keyword"},
				"of":    object{"type": "keyword"},
				"order": object{"type": "keyword", "ignore_above": longestTerm},
				"data":  object{"type": "object", "enabled": false},
			},
		},
	}
}

const defaultRefresh = time.Second
