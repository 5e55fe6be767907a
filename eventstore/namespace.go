package eventstore

import (
	"fmt"
	"regexp"
	"strings"
)

// Namespace begins the names of all streams of one docket in a shared store;
// empty for none. A stream is "[<namespace>.]<category>-<id>".
type Namespace string

var namespacePattern = regexp.MustCompile(`^[a-z0-9]{1,16}$`)

// ParseNamespace accepts the empty namespace and [a-z0-9]{1,16}.
func ParseNamespace(s string) (Namespace, error) {
	if s != "" && !namespacePattern.MatchString(s) {
		return "", fmt.Errorf("namespace %.20q: want 1 to 16 of a-z and 0-9", s)
	}
	return Namespace(s), nil
}

// Stream names the stream of one entity of a category.
func (n Namespace) Stream(category, id string) string { return n.Prefix(category) + id }

// Prefix begins the names of all streams of a category.
func (n Namespace) Prefix(category string) string {
	if n == "" {
		return category + "-"
	}
	return string(n) + "." + category + "-"
}

// ID is the entity's id in a stream of the category; ok is false for a stream
// of another category or namespace.
func (n Namespace) ID(category, stream string) (id string, ok bool) {
	return strings.CutPrefix(stream, n.Prefix(category))
}
