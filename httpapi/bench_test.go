package httpapi

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// BenchmarkPlace is the command path without the network: from the request to
// the durable event, 64 callers at a time.
func BenchmarkPlace(b *testing.B) {
	r := newRig(b)
	var n atomic.Int64
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			body := strings.Replace(mugs, "%s", fmt.Sprint("o-", n.Add(1)), 1)
			req := httptest.NewRequest("POST", "http://localhost/v1/orders", strings.NewReader(body))
			req.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			r.server.Config.Handler.ServeHTTP(w, req)
			if w.Code != 201 {
				b.Fatalf("%d %s", w.Code, w.Body)
			}
		}
	})
}

// BenchmarkDecode is the strict reading of one body.
func BenchmarkDecode(b *testing.B) {
	data := []byte(strings.Replace(mugs, "%s", "o-1", 1))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := placeReader.read(data); err != nil {
			b.Fatal(err)
		}
		fingerprint("POST", "/v1/orders", data)
	}
}
