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
				"{eid}", "x", "{name}", "x", "{stream}", "x").Replace(path)
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
