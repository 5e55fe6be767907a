package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// verdict on the tests of one mode.
type verdict struct {
	mode   mode
	groups []count
	tests  []line
	// Each test is in one of these, and in that of its group.
	plain, seeded, certificate count
	wrong                      []string
}

// count is how many of the expected tests passed.
type count struct{ passed, expected int }

func (c count) String() string {
	if c.expected == 0 {
		return "-"
	}
	return fmt.Sprintf("%d/%d", c.passed, c.expected)
}

type line struct {
	name    string
	action  string
	seconds float64
}

func (v verdict) ok() bool { return len(v.wrong) == 0 && v.plain.expected > 0 }

// all is every test.
func (v verdict) all() count {
	return count{
		v.plain.passed + v.seeded.passed + v.certificate.passed,
		v.plain.expected + v.seeded.expected + v.certificate.expected,
	}
}

// class is where a test is counted beside its group.
func (v *verdict) class(t test) *count {
	switch {
	case t.needs&seededStream != 0:
		return &v.seeded
	case t.needs&certificate != 0:
		return &v.certificate
	}
	return &v.plain
}

// judge compares what tests came to with the table.
func judge(m mode, found results) verdict {
	v := verdict{mode: m}
	var known []string
	for _, g := range expected {
		var n count
		for _, t := range g.tests {
			name := g.name + "/" + t.name
			known = append(known, name)
			want, r := t.in(m), found[name]
			if want == "pass" {
				n.expected++
				v.class(t).expected++
			}
			got := ""
			if r != nil {
				got = cmp.Or(r.action, "no end")
				v.tests = append(v.tests, line{name, got, r.seconds})
			}
			switch {
			case got != want:
				v.wrong = append(v.wrong, complaint(name, want, got, r))
			case want == "pass":
				n.passed++
				v.class(t).passed++
			}
		}
		v.groups = append(v.groups, n)
	}
	var strangers []string
	for name, r := range found {
		if found.isLeaf(name) && !slices.Contains(known, name) {
			strangers = append(strangers, complaint(name, "", cmp.Or(r.action, "no end"), r))
		}
	}
	slices.Sort(strangers)
	v.wrong = append(v.wrong, strangers...)
	return v
}

func complaint(name, want, got string, r *result) string {
	text := fmt.Sprintf("%s: %s, want %s", name, cmp.Or(got, "did not run"), cmp.Or(want, "none of it: it is not in the table"))
	if r != nil && got != "pass" {
		text += "\n" + indented(r.output.String())
	}
	return text
}

func indented(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ")
}

// printVerdicts shows one table for both modes, what cannot pass, and what is
// wrong.
func printVerdicts(w io.Writer, a, b verdict, verbose bool) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "passed of expected\t%s\t%s\n", a.mode, b.mode)
	for i, g := range expected {
		if i < len(a.groups) && a.groups[i].expected+b.groups[i].expected > 0 {
			fmt.Fprintf(t, "%s\t%s\t%s\n", g.name, a.groups[i], b.groups[i])
		}
	}
	fmt.Fprintf(t, "all\t%s\t%s\n", a.all(), b.all())
	fmt.Fprintf(t, "  on an empty server\t%s\t%s\n", a.plain, b.plain)
	fmt.Fprintf(t, "  on one with 6,000 events\t%s\t%s\n", a.seeded, b.seeded)
	fmt.Fprintf(t, "  with a client certificate\t%s\t%s\n", a.certificate, b.certificate)
	t.Flush()
	if verbose {
		for _, v := range []verdict{a, b} {
			fmt.Fprintln(w)
			for _, l := range v.tests {
				fmt.Fprintf(t, "%s\t%s\t%.2f s\t%s\n", v.mode, l.action, l.seconds, l.name)
			}
			t.Flush()
		}
	}
	fmt.Fprintln(w, "\nnot run, because they cannot pass:")
	for _, g := range expected {
		for _, one := range g.tests {
			if one.cannot != "" {
				fmt.Fprintf(t, "  %s/%s\t%s\n", g.name, one.name, one.cannot)
			}
		}
	}
	t.Flush()
	for _, v := range []verdict{a, b} {
		for _, text := range v.wrong {
			fmt.Fprintf(w, "\nWRONG, %s: %s\n", v.mode, text)
		}
	}
}
