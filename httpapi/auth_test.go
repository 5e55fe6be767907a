package httpapi

import (
	"fmt"
	"strings"
	"testing"
)

const keyFile = `[
	{"name":"reader","scopes":["read"],"sha256":"%s"},
	{"name":"shop","scopes":["read","write"],"sha256":"%s"},
	{"name":"ops","scopes":["operate"],"sha256":"%s"}]`

func testKeys(t *testing.T) Keys {
	t.Helper()
	keys, err := ParseKeys(strings.NewReader(fmt.Sprintf(keyFile, HashKey("r"), HashKey("w"), strings.ToUpper(HashKey("o")))))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestScopes(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *Options) { o.Keys = testKeys(t); o.RunKey = "run" })
	status := func(key string, rt *route) int {
		t.Helper()
		path := strings.NewReplacer("{id}", "x", "{pid}", "x", "{sid}", "x", "{rid}", "x", "{fid}", "x", "{hid}", "x",
			"{eid}", "x", "{name}", "x", "{stream}", "x").Replace(rt.path)
		var headers []string
		if key != "" {
			headers = append(headers, "Authorization: Bearer "+key)
		}
		return r.send(rt.method, path, rt.example, headers...).status
	}
	holds := map[string][]Scope{"r": {ScopeRead}, "w": {ScopeRead, ScopeWrite}, "o": {ScopeOperate}, "run": allScopes}
	for i := range routes {
		rt := &routes[i]
		if rt.scope == scopeNone {
			if got := status("", rt); got == 401 || got == 403 {
				t.Errorf("%s %s is not open: %d", rt.method, rt.path, got)
			}
			continue
		}
		for _, key := range []string{"", "wrong", HashKey("w")} {
			if got := status(key, rt); got != 401 {
				t.Errorf("%s %s with key %q: %d", rt.method, rt.path, key, got)
			}
		}
		for key, scopes := range holds {
			allowed := false
			for _, s := range scopes {
				allowed = allowed || s == rt.scope
			}
			if got := status(key, rt); (got == 403) == allowed || got == 401 {
				t.Errorf("%s %s with scopes %v: %d", rt.method, rt.path, scopes, got)
			}
		}
	}
	a := r.get("/v1/orders")
	a.problem(401, "unauthenticated")
	a.has("WWW-Authenticate", `Bearer realm="docket"`)
	for _, bad := range []string{"Authorization: Basic cjpy", "Authorization: Bearer", "Authorization: r"} {
		r.get("/v1/orders", bad).problem(401, "unauthenticated")
	}
	r.get("/v1/orders", "Authorization: Bearer r", "Authorization: Bearer w").problem(401, "unauthenticated")
	r.get("/v1/orders", "Authorization: bearer r").is(200)
	r.get("/v1/orders", "Authorization: Bearer r", "Host: shop.example").is(200)
	if strings.Contains(r.log.String(), "Bearer") {
		t.Error("a key is in the log")
	}
}

func TestKeysOfCallersAreApart(t *testing.T) {
	t.Parallel()
	keys := testKeys(t)
	keys[0].Scopes = allScopes
	r := newRig(t, func(o *Options) { o.Keys = keys })
	body := strings.Replace(mugs, `"id":"%s",`, "", 1)
	a := r.post("/v1/orders", body, "Authorization: Bearer r", "Idempotency-Key: k").is(201)
	b := r.post("/v1/orders", body, "Authorization: Bearer w", "Idempotency-Key: k").is(201)
	if decoded[CommandAnswer](a).ID == decoded[CommandAnswer](b).ID {
		t.Error("two callers share a key")
	}
	id := decoded[CommandAnswer](a).ID
	r.post("/v1/orders/"+id+"/notes", `{"text":"hi"}`, "Authorization: Bearer w").is(200)
	doc := decoded[CommandAnswer](r.post("/v1/orders/"+id+"/confirm", `{}`, "Authorization: Bearer r", "Prefer: return=representation").is(200))
	if doc.Order.Notes[0].Author != "shop" {
		t.Errorf("author %q", doc.Order.Notes[0].Author)
	}
}

func TestWithoutKeysOnlyThisMachineIsAnswered(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *Options) { o.RunKey = "run" })
	for _, host := range []string{"evil.example", "evil.example:8080", "127.0.0.1.evil.example", "10.0.0.1", "localhost.", ""} {
		if host == "" {
			continue
		}
		for _, path := range []string{"/v1/orders", "/healthz", "/openapi.json"} {
			r.get(path, "Host: "+host).problem(403, "wrong-host")
		}
	}
	for _, host := range []string{"localhost", "localhost:9", "127.0.0.1:8080", "[::1]:8080", "[::1]", "LOCALHOST"} {
		r.get("/v1/orders", "Host: "+host).is(200)
	}
	r.get("/v1/orders", "Authorization: Bearer run").is(200)
	r.get("/v1/orders", "Authorization: Bearer wrong").problem(401, "unauthenticated")
}

func TestParseKeysNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	h := HashKey("x")
	for file, want := range map[string]string{
		`{}`:   "want [",
		`[{}]`: "name",
		`[{"name":"a","scopes":["read"],"sha256":"12"}]`:                                                            "64",
		`[{"name":"a","scopes":[],"sha256":"` + h + `"}]`:                                                           "no scopes",
		`[{"name":"a","scopes":["admin"],"sha256":"` + h + `"}]`:                                                    "read write operate",
		`[{"name":"a b","scopes":["read"],"sha256":"` + h + `"}]`:                                                   "name",
		`[{"name":"a","scopes":["read"],"sha256":"` + h + `","key":"x"}]`:                                           "key",
		`[{"name":"a","scopes":["read"],"sha256":"` + h + `"},{"name":"a","scopes":["read"],"sha256":"` + h + `"}]`: "twice",
	} {
		if _, err := ParseKeys(strings.NewReader(file)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", file, err, want)
		}
	}
	if keys, err := ParseKeys(strings.NewReader(`[]`)); err != nil || keys == nil {
		t.Errorf("an empty file lets everybody in: %v %v", keys, err)
	}
}
