package redis_test

import (
	"fmt"
	"strings"
	"testing"
)

// bucketKey is a key of a bucket of orders of generation 1.
func bucketKey(ns string, b int, name string) string {
	return fmt.Sprintf("{docket.%s:1:%d}:%s", ns, b, name)
}

// slot of a key with a tag, as the cluster specification says.
func slot(key string) (crc uint16) {
	tag := key[strings.Index(key, "{")+1 : strings.Index(key, "}")]
	for _, b := range []byte(tag) {
		crc ^= uint16(b) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc % 16384
}

// TestSpread: of three masters with a third of the slots each, each has its share
// of the buckets, in every generation.
func TestSpread(t *testing.T) {
	if got := slot("{123456789}"); got != 0x31C3 {
		t.Fatalf("slot %d", got)
	}
	for _, ns := range []string{"docket", "docket.acme", "docket.test1"} {
		for generation := 1; generation <= 100; generation++ {
			var masters [3]int
			for b := range 256 {
				for _, kind := range []string{"", "c"} {
					masters[int(slot(fmt.Sprintf("{%s:%d:%s%d}", ns, generation, kind, b)))*3/16384]++
				}
			}
			for n, buckets := range masters {
				if buckets*100 < 25*512 || buckets*100 > 42*512 {
					t.Errorf("%s, generation %d: master %d has %d of 512 buckets", ns, generation, n, buckets)
				}
			}
		}
	}
}
