package httpapi

import (
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/docket-orders/docket/view"
)

// fieldPaths are the paths of the order document as a difference counts them:
// the names of elements of lists, and of members of maps, are *. Amounts and the
// tags are one value.
var fieldPaths = sync.OnceValue(func() []string {
	var all []string
	var walk func(path string, t reflect.Type)
	walk = func(path string, t reflect.Type) {
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if path != "" {
			all = append(all, path)
		}
		switch {
		case opaque(t):
		case t.Kind() == reflect.Struct:
			for _, f := range fieldsOf(t) {
				if path != "" || f.name != "degraded" && !ofModels(t, f) { // joined when answering, in no store
					walk(path+"/"+f.name, f.typ)
				}
			}
		case t.Kind() == reflect.Map, t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
			walk(path+"/*", t.Elem())
		}
	}
	walk("", reflect.TypeFor[view.Order]())
	return all
})

// checkFieldPath says what is wrong with a path, "" when nothing is, and names
// the nearest one.
func checkFieldPath(path string) string {
	all := fieldPaths()
	if slices.Contains(all, path) {
		return ""
	}
	if path == "" || len(path) > maxFieldPath {
		return "want the path of a field of the order document, such as /totals/grand or /lines/*/quantity"
	}
	nearest, least := "", len(path)
	for _, candidate := range all {
		if d := distance(strings.ToLower(path), strings.ToLower(candidate)); d < least {
			nearest, least = candidate, d
		}
	}
	if nearest == "" {
		return "no such field of the order document"
	}
	return "no such field of the order document; the nearest is " + nearest
}

// maxFieldPath is longer than any path there is.
const maxFieldPath = 100

// distance is how many bytes are put in, taken out or changed to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
