package fields_test

import (
	"testing"

	"github.com/docket-orders/docket/view/fields"
)

func TestPatterns(t *testing.T) {
	for path, want := range map[string]string{
		"/status":                         "/status",
		"/lines":                          "/lines",
		"/lines/L1/quantity":              "/lines/*/quantity",
		"/lines/L~11#2/metadata/a":        "/lines/*/metadata/*",
		"/metadata/status":                "/metadata/*",
		"/shipments/S1/lines/0/quantity":  "/shipments/*/lines/*/quantity",
		"/shippingAddress/city":           "/shippingAddress/city",
		"/totals/grand":                   "/totals/grand",
		"/words":                          "/words",
		"/model":                          "/model",
		"/model/units":                    "/model/units",
		"/model/lines/0/units":            "/model/lines/*",
		"/lines/L1/quantity/what/is/this": "/lines/*/quantity/what/is/this",
	} {
		if got := fields.Pattern(path); got != want {
			t.Errorf("the pattern of %s is %s, want %s", path, got, want)
		}
	}
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		names []string
		path  string
		want  bool
	}{
		{[]string{"/status"}, "/status", true},
		{[]string{"status"}, "/status", true},
		{[]string{"/status"}, "/statusReason", false},
		{[]string{"/totals"}, "/totals/grand", true},
		{[]string{"/totals/grand"}, "/totals", false},
		{[]string{"/lines/*/quantity"}, "/lines/*/quantity", true},
		{[]string{"/lines/*/quantity"}, "/lines/L1/quantity", true},
		{[]string{"/lines/*/quantity"}, "/lines/*/total", false},
		{[]string{"/lines"}, "/lines/*/total", true},
		{[]string{"/tags", "/lines"}, "/tags", true},
		{[]string{""}, "/tags", false},
		{[]string{"/"}, "/tags", false},
		{nil, "/tags", false},
	} {
		if got := fields.Covers(c.names, c.path); got != c.want {
			t.Errorf("%v covers %s: %v, want %v", c.names, c.path, got, c.want)
		}
	}
}
