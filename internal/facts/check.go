package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/docket-orders/docket/domain/money"
)

// facts of one data set: each figure with its definition.
type facts map[string]struct {
	Value json.RawMessage `json:"value"`
}

func readFacts(path string) (map[string]facts, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the figures to check against are needed: %w", err)
	}
	var file struct {
		Olist  facts `json:"olist"`
		Retail facts `json:"uci_online_retail"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return map[string]facts{"olist": file.Olist, "uci_online_retail": file.Retail}, nil
}

// read decodes a figure; a figure that is missing or of another form is an
// error, never a zero.
func read[T any](f facts, name string) (T, error) {
	var v T
	fact, ok := f[name]
	if !ok {
		return v, fmt.Errorf("facts.json has no %s", name)
	}
	if err := json.Unmarshal(fact.Value, &v); err != nil {
		return v, fmt.Errorf("facts.json: %s: %w", name, err)
	}
	return v, nil
}

// check gathers comparisons.
type check struct {
	set    string
	facts  facts
	rows   []row
	failed error // the first question that could not be asked
}

type row struct {
	figure, want, got string
	ok                bool
}

// fact is a figure of facts.json; a missing one fails the check.
func fact[T any](c *check, name string) T {
	v, err := read[T](c.facts, name)
	c.fail(err)
	return v
}

func (c *check) fail(err error) {
	if c.failed == nil {
		c.failed = err
	}
}

func (c *check) equal(figure string, want, got any) {
	w, g := fmt.Sprint(want), fmt.Sprint(got)
	c.rows = append(c.rows, row{figure, w, g, w == g})
}

// amount compares decimals by value: 13591643.7 is 13591643.70.
func (c *check) amount(figure, want string, got money.Amount) {
	w, err := money.Parse(want, got.Currency())
	c.fail(err)
	c.rows = append(c.rows, row{figure, want, got.Decimal(), err == nil && w == got})
}

// print writes the table; it reports whether every row is right.
func (c *check) print(w io.Writer) bool {
	wrong := 0
	for _, r := range c.rows {
		verdict := "ok"
		if !r.ok {
			verdict = "WRONG"
			wrong++
		}
		fmt.Fprintf(w, "%-20s %-58s expected %-20s got %-20s %s\n", c.set, r.figure, r.want, r.got, verdict)
	}
	fmt.Fprintf(w, "%-20s %d figures, %d wrong\n\n", c.set, len(c.rows), wrong)
	return wrong == 0 && len(c.rows) > 0
}
