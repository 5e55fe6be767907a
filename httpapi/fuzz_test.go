package httpapi

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	json "github.com/go-json-experiment/json"

	"github.com/docket-orders/docket/domain"
)

// refusedWell says whether a refusal is one: a 4xx that names a place, in
// bounded words.
func refusedWell(err error) bool {
	var p *Problem
	var r *domain.Rejection
	return errors.As(err, &p) && p.Status >= 400 && p.Status < 500 && len(p.Detail) < 4000 || errors.As(err, &r)
}

// FuzzQuestion: whatever stands in a query string of a route, the question of a
// list included, is refused well, or can be asked.
func FuzzQuestion(f *testing.F) {
	for _, raw := range []string{
		"status=placed&status=confirmed&sort=-total&currency=EUR&minTotal=1&maxTotal=12.34&limit=1000&facets=tag&total=false",
		"placedFrom=2018-01-31&placedTo=2018-01-31T12:00:00%2B02:00&q=blue+mug", "q=%F0%9F%98%80", "tag=%00", "tag=%ff", "limit=01", "currency=eur&sort=total",
		"minTotal=1e5&currency=EUR", "cursor=AAAA", "x=1", "a;b", "%", "=", "q=a+b+c+d+e+f+g+h+i+j+k+l+m+n+o+p+q+r+s+t+u+v+w+x+y+z+1+2+3+4+5+6+7+8",
		"from=17&to=effective:2018-01-31T12:00:00Z", "asOf=2018-01-31T12:00:00Z&atRevision=1", "atPosition=4711", "after=9223372036854775806", "top=1000&from=2018-01-01",
	} {
		for i := range routes {
			f.Add(uint8(i), raw)
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, raw string) {
		rt := &routes[int(which)%len(routes)]
		v, err := checkQuery(raw, rt.params)
		if err != nil {
			if !refusedWell(err) {
				t.Fatalf("%q: %v", raw, err)
			}
			return
		}
		v.cut()
		v.point("from")
		v.point("to")
		v.integer("limit", 1)
		if rt.path != "/v1/orders" {
			return
		}
		q, err := questionOf(v)
		if err == nil {
			err = q.Validate()
		}
		if err != nil && !refusedWell(err) {
			t.Fatalf("%q: %v", raw, err)
		}
	})
}

// FuzzHeaders: headers are read or refused; what is taken is within bounds.
func FuzzHeaders(f *testing.F) {
	for _, v := range []string{`"17"`, `"17.g3"`, "*", "wait=3, return=representation", "wait=99999999999", "k-1", "", "\x00", `"9223372036854775808"`, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "W/\"1\"", "a, b"} {
		f.Add(v, v)
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		r := &http.Request{Header: http.Header{}}
		for _, name := range []string{"If-Match", "Prefer", "Idempotency-Key", "Traceparent", "X-Correlation-Id", "If-None-Match", "Content-Type", "Content-Encoding"} {
			r.Header.Set(name, first)
		}
		r.Header.Add("Prefer", second)
		p, err := parsePrefer(r, time.Minute)
		if err != nil && !refusedWell(err) || p.wait < 0 || p.wait > time.Minute {
			t.Fatalf("%q %q: %+v %v", first, second, p, err)
		}
		key, err := idempotencyKey(r)
		if err != nil && !refusedWell(err) || err == nil && (key == "" || len(key) > 255 || !visible(key)) {
			t.Fatalf("%q: %q %v", first, key, err)
		}
		expected, err := ifMatch(r)
		if err != nil && !refusedWell(err) || err == nil && strings.TrimSpace(first) != "" && expected == nil {
			t.Fatalf("%q: %v %v", first, expected, err)
		}
		for _, err := range []error{wantMediaType(r, "application/json"), wantPlain(r), newExchange(r).relate(r)} {
			if err != nil && !refusedWell(err) {
				t.Fatalf("%q: %v", first, err)
			}
		}
		noneMatch(r, `"1.g1"`)
		loopbackHost(first)
	})
}

// FuzzAdoptionLines: however a stream is cut into lines, no line is longer than
// the limit, none is lost, and each is an order to adopt or refused well.
func FuzzAdoptionLines(f *testing.F) {
	for i := range routes {
		if routes[i].path == "/v1/adoptions" {
			f.Add([]byte(routes[i].example + "\n\r\n" + routes[i].example))
		}
	}
	f.Add([]byte("\n\n{}\n{\"id\":\"a\",\"history\":[]}"))
	f.Add([]byte(strings.Repeat("x", 5000) + "\nrest"))
	f.Add([]byte(`{"id":"a","key":"","odd":[{"kind":"x"}],"history":[{"type":"OrderPlaced","data":null}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		const limit = 4000
		in := bufio.NewReaderSize(bytes.NewReader(data), 16)
		read := 0
		for {
			line, tooLong, err := readLine(in, limit)
			if len(line) > limit || tooLong && line != nil {
				t.Fatalf("a line of %d bytes, too long %t", len(line), tooLong)
			}
			read++
			if len(line) > 0 {
				idOf(line)
				a := &adoption{line: line}
				if _, refusal := readAdoption(a); refusal != nil && !refusedWell(problemOf(refusal)) {
					t.Fatalf("%q: %v", line, refusal)
				}
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if want := bytes.Count(data, []byte("\n")) + 1; read != want {
			t.Fatalf("%d lines of %d", read, want)
		}
	})
}

// FuzzKeys: a file of keys is refused, or lets in those whom it names and nobody
// else.
func FuzzKeys(f *testing.F) {
	f.Add(`[{"name":"shop","scopes":["read"],"sha256":"` + HashKey("k") + `"}]`)
	f.Add(`[{"name":"shop","scopes":["read"],"sha256":"` + HashKey("k") + `"},{"name":"shop","scopes":[],"sha256":""}]`)
	f.Add(`[]`)
	f.Add(`null`)
	f.Fuzz(func(t *testing.T, file string) {
		keys, err := ParseKeys(strings.NewReader(file))
		if err != nil {
			return
		}
		if keys == nil {
			t.Fatalf("%q opens everything", file)
		}
		for _, k := range keys {
			if k.Name == "" || len(k.Scopes) == 0 || len(k.SHA256) != 64 {
				t.Fatalf("%q lets in %+v", file, k)
			}
		}
		text, err := json.Marshal(keys)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseKeys(bytes.NewReader(text)); err != nil || len(again) != len(keys) {
			t.Fatalf("%s: %v", text, err)
		}
	})
}

// FuzzFingerprint: two writings of one body have one fingerprint.
func FuzzFingerprint(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":[1.0,1e3,"\u0041"]}`))
	f.Add([]byte(`{"a":9007199254740993}`))
	f.Add([]byte(`{"b":"\ud83d\ude00","a":{}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var v any
		if decodeErr := json.Unmarshal(body, &v, strict); decodeErr != nil {
			return
		}
		spaced := append(append([]byte(" \n"), body...), '\t')
		if fingerprint("POST", "/a", body) != fingerprint("POST", "/a", spaced) {
			t.Fatalf("%q: white space makes another request of it", body)
		}
	})
}
