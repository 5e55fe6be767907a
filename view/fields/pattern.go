package fields

import (
	"encoding/json"
	"reflect"
	"strings"

	"github.com/docket-orders/docket/view"
)

// Pattern is a path with "*" in place of the names of list elements and of
// members of objects without fixed members, as metadata is: there are no more
// patterns than the document has fields, whatever is in it. Of the document of a
// read model, whose fields nobody here knows, the uppermost keep their names, and
// what is below one of them is "*".
func Pattern(path string) string {
	var out strings.Builder
	t := reflect.TypeFor[view.Order]()
	var unknown int // levels below the last field that is known
	for token := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if t == reflect.TypeFor[json.RawMessage]() {
			if unknown++; unknown > 1 {
				return out.String() + "/*"
			}
			out.WriteString("/" + token)
			continue
		}
		out.WriteByte('/')
		for t != nil && t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		switch {
		case t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Map):
			token, t = "*", t.Elem()
		case t != nil && t.Kind() == reflect.Struct:
			t = member(t, token)
		default:
			t = nil
		}
		out.WriteString(token)
	}
	return out.String()
}

// member is the type of a member of an object; nil when it has no such one.
func member(t reflect.Type, name string) reflect.Type {
	for i := range t.NumField() {
		if tag, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); tag == name {
			return t.Field(i).Type
		}
	}
	return nil
}

// Covers reports whether a pattern or a path is that of one of the fields named,
// or below one. A "*" in a name stands for any one token; a name may lack its
// first slash.
func Covers(names []string, path string) bool {
	tokens := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for _, name := range names {
		wanted := strings.Split(strings.Trim(name, "/"), "/")
		if len(wanted) > len(tokens) || wanted[0] == "" {
			continue
		}
		covered := true
		for i, w := range wanted {
			covered = covered && (w == "*" || w == tokens[i])
		}
		if covered {
			return true
		}
	}
	return false
}
