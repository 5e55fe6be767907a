package systemtest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// In version 2 an order of the Republic of South Africa, which the data set calls
// RSA, is in ZA, and one without an address in ZZ.
const (
	oldCountry, newCountry = "RSA", "ZA"
	noCountry              = "ZZ"
)

// edit is a place in docket's sources that version 2 has otherwise.
type edit struct{ file, was, is string }

// versionTwo is docket with a newer projection: another version, a field of Apply,
// the same in the independent fold, and a mapping of Elasticsearch with one more
// field.
var versionTwo = []edit{
	{"projections/apply.go", "\nconst Version = 1\n", "\nconst Version = 2\n"},
	{"projections/apply.go", "doc.Country, doc.State, doc.City = at.Country, at.State, at.City\n",
		"doc.Country, doc.State, doc.City = at.Country, at.State, at.City\n" + `
	if doc.Country == "` + oldCountry + `" {
		doc.Country = "` + newCountry + `"
	}
	if doc.Country == "" {
		doc.Country = "` + noCountry + `"
	}
`},
	{"reconcile/expected/document.go", "\td.Totals = a.totals()\n", `
	if d.Country == "` + oldCountry + `" {
		d.Country = "` + newCountry + `"
	}
	if d.Country == "" {
		d.Country = "` + noCountry + `"
	}
	d.Totals = a.totals()
`},
	{"reconcile/expected/invariants.go", "if d.Country != address.Country || d.State", "if d.State"},
	{"projections/elastic/mapping.go", "\t\t\t\"country\":          keyword,\n", "\t\t\t\"country\":          keyword,\n\t\t\t\"city\":             keyword,\n"},
}

// builtTwo is docket of version 2, built when the first test asks for it.
var builtTwo = sync.OnceValues(func() (string, error) { return buildOtherwise("docket-2", versionTwo) })

// buildOtherwise builds docket with other sources in some places.
func buildOtherwise(name string, edits []edit) (program string, err error) {
	root, err := filepath.Abs("..")
	if err != nil {
		return "", err
	}
	texts := map[string]string{}
	for _, e := range edits {
		text, known := texts[e.file]
		if !known {
			read, err := os.ReadFile(filepath.Join(root, e.file))
			if err != nil {
				return "", err
			}
			text = string(read)
		}
		if strings.Count(text, e.was) != 1 {
			return "", fmt.Errorf("%s has %q %d times: version 2 cannot be made of it", e.file, e.was, strings.Count(text, e.was))
		}
		texts[e.file] = strings.Replace(text, e.was, e.is, 1)
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for file, text := range texts {
		to := filepath.Join(folder(), name+"-"+strings.ReplaceAll(file, "/", "-"))
		if err := os.WriteFile(to, []byte(text), 0o644); err != nil {
			return "", err
		}
		overlay.Replace[filepath.Join(root, file)] = to
	}
	list, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	replaced := filepath.Join(folder(), name+".json")
	if err := os.WriteFile(replaced, list, 0o644); err != nil {
		return "", err
	}
	program = filepath.Join(folder(), name)
	build := exec.Command("go", "build", "-overlay", replaced, "-o", program, "./cmd/docket")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return program, nil
}
