package httpapi

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	json "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/docket-orders/docket/domain/order"
)

func openapi(t *testing.T) map[string]any {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(document(routes, "1"), &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestDocumentListsWhatIsServed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	paths := decoded[map[string]any](r.get("/openapi.json").is(200))["paths"].(map[string]any)
	documented := 0
	for path, item := range paths {
		for method := range item.(map[string]any) {
			documented++
			served := strings.NewReplacer("{id}", "x", "{pid}", "x", "{sid}", "x", "{rid}", "x", "{fid}", "x", "{hid}", "x",
				"{eid}", "x", "{name}", "x", "{stream}", "x", "{generation}", "x", "{question}", "x").Replace(path)
			a := r.send(strings.ToUpper(method), served, "")
			if p := (Problem{}); json.Unmarshal(a.body, &p) == nil && (p.Code == "not-found" || p.Code == "method-not-allowed") {
				t.Errorf("%s %s is documented and not served", method, path)
			}
		}
	}
	if documented != len(routes) {
		t.Errorf("%d of %d routes are documented", documented, len(routes))
	}
}

func TestDocumentIsWhole(t *testing.T) {
	t.Parallel()
	doc := openapi(t)
	if doc["openapi"] != "3.1.0" {
		t.Errorf("openapi %v", doc["openapi"])
	}
	schemas := doc["components"].(map[string]any)["schemas"].(map[string]any)
	used := map[string]bool{}
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				name := strings.TrimPrefix(ref, "#/components/schemas/")
				used[name] = true
				if schemas[name] == nil {
					t.Errorf("%s refers to %s, which is not there", at, ref)
				}
			}
			for k, x := range v {
				walk(at+"/"+k, x)
			}
		case []any:
			for _, x := range v {
				walk(at, x)
			}
		}
	}
	walk("", doc)
	for name := range schemas {
		if !used[name] {
			t.Errorf("schema %s is not used", name)
		}
	}
	ids := map[string]bool{}
	for path, item := range doc["paths"].(map[string]any) {
		for method, o := range item.(map[string]any) {
			op := o.(map[string]any)
			id := op["operationId"].(string)
			if ids[id] {
				t.Errorf("operationId %s is there twice", id)
			}
			ids[id] = true
			var inPath []string
			params, _ := op["parameters"].([]any)
			names := map[string]bool{}
			for _, p := range params {
				p := p.(map[string]any)
				key := p["in"].(string) + " " + p["name"].(string)
				if names[key] || p["schema"] == nil {
					t.Errorf("%s: parameter %s is there twice or has no schema", id, key)
				}
				names[key] = true
				if p["in"] == "path" {
					inPath = append(inPath, p["name"].(string))
				}
				if p["in"] == "header" && p["description"] == "" {
					t.Errorf("%s: header %s is not described", id, key)
				}
			}
			if strings.Count(path, "{") != len(inPath) {
				t.Errorf("%s %s: path parameters %v", method, path, inPath)
			}
			if op["summary"] == "" || op["responses"].(map[string]any)["500"] == nil {
				t.Errorf("%s: no summary or no problem", id)
			}
		}
	}
}

// TestProblemsAreDocumented: every code of the table is on some route, and the
// refusals of the domain have a status.
func TestProblemsAreDocumented(t *testing.T) {
	t.Parallel()
	listed := map[string]bool{"not-found": true, "method-not-allowed": true} // of no route
	for i := range routes {
		for _, codes := range problemsOf(&routes[i]) {
			for _, c := range codes {
				listed[c] = true
			}
		}
	}
	for code := range problemStatus {
		if !listed[code] {
			t.Errorf("%s is documented nowhere", code)
		}
	}
	for _, rule := range slices.Concat(order.Rules(), refusals()) {
		if p := problemOf(rule); p.Status < 400 || p.Status > 499 || p.Code != rule.Code {
			t.Errorf("%s: %+v", rule.Code, p)
		}
		if !listed[rule.Code] && rule.Code != "unknown-revision" {
			t.Errorf("%s is documented nowhere", rule.Code)
		}
		if _, taken := problemStatus[rule.Code]; taken {
			t.Errorf("%s is a rule and a code of the table", rule.Code)
		}
	}
	if p := problemOf(errors.New("disk on fire")); p.Status != 500 || strings.Contains(p.Error(), "fire") {
		t.Errorf("unknown failure: %+v", p)
	}
}

// TestExamplesDecode: what the document shows is taken.
func TestExamplesDecode(t *testing.T) {
	t.Parallel()
	for _, rt := range routes {
		if rt.body == nil {
			continue
		}
		if rt.example == "" {
			t.Errorf("%s %s has no example", rt.method, rt.path)
			continue
		}
		dst := reflect.New(reflect.TypeOf(rt.body))
		if err := decode([]byte(rt.example), dst.Interface(), shapeOf(reflect.TypeOf(rt.body))); err != nil {
			t.Errorf("%s %s: %v", rt.method, rt.path, err)
		}
		if line, ok := dst.Interface().(*AdoptionLine); ok {
			if _, err := readAdoption(&adoption{line: jsontext.Value(rt.example)}); err != nil {
				t.Errorf("history of %+v: %v", line, err)
			}
		}
	}
}

// TestDocumentDescribesTheHistory: the routes about the past say what their
// parameters, headers and fields mean, in words that are not those of an error.
func TestDocumentDescribesTheHistory(t *testing.T) {
	t.Parallel()
	doc := openapi(t)
	schemas := doc["components"].(map[string]any)["schemas"].(map[string]any)
	for key, words := range fieldDocs {
		i := strings.LastIndex(key, ".")
		schema, _ := schemas[key[:i]].(map[string]any)
		property, _ := schema["properties"].(map[string]any)[key[i+1:]].(map[string]any)
		if property["description"] != words {
			t.Errorf("%s is no field of the document", key)
		}
	}
	operation := func(path string) map[string]any {
		return doc["paths"].(map[string]any)[path].(map[string]any)["get"].(map[string]any)
	}
	for _, route := range []string{"", "/events", "/diff", "/why", "/refusals"} {
		op := operation("/v1/orders/{id}" + route)
		taken := map[string]bool{}
		for _, p := range op["parameters"].([]any) {
			p := p.(map[string]any)
			words, _ := p["description"].(string)
			taken[p["name"].(string)] = true
			if p["in"] != "path" && (words == "" || strings.HasPrefix(words, "want ")) {
				t.Errorf("%s: %s is described as %q", route, p["name"], words)
			}
			if slices.Contains([]string{"from", "to", "field", "atPosition"}, p["name"].(string)) && p["example"] == nil {
				t.Errorf("%s: no example of %s", route, p["name"])
			}
		}
		if !taken["Consistency-Token"] || !taken["Prefer"] || !taken["X-Correlation-Id"] || taken["X-Causation-Id"] {
			t.Errorf("%s takes %v", route, taken)
		}
	}
	// Every example is taken.
	for _, rt := range routes {
		for _, p := range rt.params {
			if complaint := p.check(p.example); p.example != "" && complaint != "" {
				t.Errorf("%s: %s=%s %s", rt.path, p.name, p.example, complaint)
			}
		}
	}
	codes, err := json.Marshal(operation("/v1/orders/{id}/diff")["responses"])
	if err != nil || strings.Contains(string(codes), "several-cuts") || strings.Contains(string(codes), "unknown-field") || !strings.Contains(string(codes), "token-foreign") {
		t.Errorf("codes of /diff: %s, %v", codes, err)
	}
}

// TestAnswerHeadersAreDocumented: what an answer tells in headers is in the
// document.
func TestAnswerHeadersAreDocumented(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.lived("o-1")
	r.placed("o-2")
	r.post("/v1/orders/o-1/shipments/s1/deliver", `{}`).problem(404, "unknown-shipment")
	r.post("/v1/orders/o-1/shipments/s1/deliver", `{}`).problem(404, "unknown-shipment")
	r.caughtUp()
	paths := openapi(t)["paths"].(map[string]any)
	met := map[string]bool{}
	for question, path := range map[string]string{
		"/v1/orders/o-1": "/v1/orders/{id}", "/v1/orders/o-1?atRevision=1": "/v1/orders/{id}", "/v1/orders/o-1/events?limit=1": "/v1/orders/{id}/events",
		"/v1/orders/o-1/diff?from=0": "/v1/orders/{id}/diff", "/v1/orders/o-1/why": "/v1/orders/{id}/why",
		"/v1/orders/o-1/refusals?limit=1": "/v1/orders/{id}/refusals", "/v1/orders/o-1/actions": "/v1/orders/{id}/actions",
		"/v1/orders?limit=1": "/v1/orders", "/v1/stats": "/v1/stats", "/v1/customers/c-1": "/v1/customers/{id}", "/v1/customers/c-1/orders?limit=1": "/v1/customers/{id}/orders",
	} {
		success := paths[path].(map[string]any)["get"].(map[string]any)["responses"].(map[string]any)["200"].(map[string]any)
		documented, _ := success["headers"].(map[string]any)
		for name := range r.get(question).is(200).header {
			if name == "Etag" {
				name = "ETag"
			}
			if _, known := answerHeaderDocs[name]; !known && !strings.HasPrefix(name, "Read-") {
				continue
			}
			met[name] = true
			if documented[name] == nil {
				t.Errorf("%s: %s is not documented", question, name)
			}
		}
	}
	if len(met) != len(answerHeaderDocs) {
		t.Errorf("met %v", met)
	}
}
