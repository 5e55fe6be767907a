// Package fields names the fields of order documents by paths and says which of
// them differ. It promises an answer for any two documents, however damaged, and
// refuses nothing. audit and query tell histories with it, reconcile what a view
// has wrong, projections what another generation would change.
package fields

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/docket-orders/docket/view"
)

// FieldChange is one field of an order document that differs between two
// points. Path is like a JSON Pointer, except that the elements of a list whose
// elements have an id are named by it: "/lines/L1/quantity"; where several have
// the same, the later ones are "L1#2" and so on. A field that is absent on one
// side has a nil value there. An amount is one value, and so are the tags. The
// path of such a list itself tells that its elements changed places; its values
// are their names.
type FieldChange struct {
	Path   string          `json:"path"`
	Before json.RawMessage `json:"before,omitzero"`
	After  json.RawMessage `json:"after,omitzero"`
}

// Field is one field of an order document; Path is as in FieldChange.
type Field struct {
	Path  string          `json:"path"`
	Value json.RawMessage `json:"value"`
}

// Hollow reports that the field is a list or an object without anything in it:
// where its contents come and go, their fields tell it. The tags, one value, are
// never hollow.
func (f Field) Hollow() bool {
	return f.Path != tagsPath && (string(f.Value) == "[]" || string(f.Value) == "{}")
}

// Diff lists the fields that differ, by path. It has none exactly when the
// documents are the same JSON. It takes any document, however damaged.
func Diff(before, after view.Order) []FieldChange { return DiffAt(before, after, "") }

// DiffAt is Diff of the field at path, and of all that is below it; "" is the
// whole document. It costs what differs: parts that share their memory are not
// looked into.
func DiffAt(before, after view.Order, path string) []FieldChange {
	var changes []FieldChange
	was, is := flat{}, flat{}
	b, a := reflect.ValueOf(&before).Elem(), reflect.ValueOf(&after).Elem()
	for i, section := range sections {
		switch {
		case !related(section.path, path) || alike(b.Field(i), a.Field(i)):
		case section.named:
			changes = append(changes, diffList(section, path, b.Field(i), a.Field(i), was, is)...)
		default:
			was.section("", section, b.Field(i))
			is.section("", section, a.Field(i))
		}
	}
	for path, value := range was {
		if !bytes.Equal(value, is[path]) && !is.tells(Field{path, value}) {
			changes = append(changes, FieldChange{Path: path, Before: value, After: is[path]})
		}
	}
	for path, value := range is {
		if was[path] == nil && !was.tells(Field{path, value}) {
			changes = append(changes, FieldChange{Path: path, After: value})
		}
	}
	changes = slices.DeleteFunc(changes, func(c FieldChange) bool { return !at(c.Path, path) })
	slices.SortFunc(changes, func(x, y FieldChange) int { return cmp.Compare(x.Path, y.Path) })
	return changes
}

// at reports whether path is that of top or below it.
func at(path, top string) bool {
	rest, ok := strings.CutPrefix(path, top)
	return ok && (rest == "" || top == "" || rest[0] == '/')
}

// related reports whether a part of the document at path has to do with what is
// asked for: it is in it, or around it.
func related(path, asked string) bool { return at(path, asked) || at(asked, path) }

// Fields lists all fields of a document, by path. A list or an object without
// anything in it is a field too, [] or {}.
func Fields(doc view.Order) []Field { return FieldsAt(doc, "") }

// FieldsAt is Fields of the field at path, and of all that is below it.
func FieldsAt(doc view.Order, path string) []Field {
	all := flat{}
	v := reflect.ValueOf(&doc).Elem()
	for i, section := range sections {
		list := v.Field(i)
		switch {
		case !related(section.path, path):
			continue
		case !section.named || list.Len() == 0:
			all.section("", section, list)
			continue
		}
		for j, name := range names(list) {
			if element := section.path + "/" + escape(name); related(element, path) {
				all.add(element, list.Index(j))
			}
		}
	}
	fields := make([]Field, 0, len(all))
	for _, found := range slices.Sorted(maps.Keys(all)) {
		if at(found, path) {
			fields = append(fields, Field{found, all[found]})
		}
	}
	return fields
}

// diffList adds what differs of the elements to was and is; it answers the
// change of their order, if there is one.
func diffList(list section, asked string, before, after reflect.Value, was, is flat) []FieldChange {
	// Mostly the same elements are there, in the same places.
	if sameIDs(before, after) {
		oldNames := names(before)
		for i, name := range oldNames {
			list.element(name, asked, before.Index(i), after.Index(i), was, is)
		}
		return nil
	}
	old := map[string]int{}
	oldNames, newNames := names(before), names(after)
	for i, name := range oldNames {
		old[name] = i
	}
	var stayed []int // places in before of the elements that are still there
	for j, name := range newNames {
		i, ok := old[name]
		if !ok {
			is.add(list.path+"/"+escape(name), after.Index(j))
			continue
		}
		stayed = append(stayed, i)
		delete(old, name)
		list.element(name, asked, before.Index(i), after.Index(j), was, is)
	}
	for name, i := range old {
		was.add(list.path+"/"+escape(name), before.Index(i))
	}
	if slices.IsSorted(stayed) {
		return nil
	}
	return []FieldChange{{Path: list.path, Before: marshal(oldNames), After: marshal(newNames)}}
}

// element adds the fields of an element that may differ to was and is.
func (s section) element(name, asked string, before, after reflect.Value, was, is flat) {
	if alike(before, after) {
		return
	}
	path := s.path + "/" + escape(name)
	if !related(path, asked) {
		return
	}
	for i, field := range s.fields {
		if b, a := before.Field(i), after.Field(i); !alike(b, a) {
			was.section(path, field, b)
			is.section(path, field, a)
		}
	}
}

func sameIDs(before, after reflect.Value) bool {
	if before.Len() != after.Len() {
		return false
	}
	for i := range before.Len() {
		if before.Index(i).FieldByIndex(idField).String() != after.Index(i).FieldByIndex(idField).String() {
			return false
		}
	}
	return true
}

// alike reports whether two parts of documents are equal, mostly without looking
// into them: what an event does not change keeps its memory. Of equal ones it
// may say that they are not; never the other way round.
func alike(b, a reflect.Value) bool {
	switch b.Kind() {
	case reflect.Slice:
		if b.Len() != a.Len() || b.IsNil() != a.IsNil() {
			return false
		}
		if b.UnsafePointer() == a.UnsafePointer() {
			return true
		}
		for i := range b.Len() {
			if !alike(b.Index(i), a.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		texts, ok := b.Interface().(map[string]string) // nothing else is in documents now
		return b.UnsafePointer() == a.UnsafePointer() || ok && b.IsNil() == a.IsNil() && maps.Equal(texts, a.Interface().(map[string]string))
	case reflect.Pointer:
		return b.UnsafePointer() == a.UnsafePointer() || !b.IsNil() && !a.IsNil() && alike(b.Elem(), a.Elem())
	case reflect.Struct:
		if b.Type().Comparable() {
			return b.Equal(a)
		}
		for i := range b.NumField() {
			if !alike(b.Field(i), a.Field(i)) {
				return false
			}
		}
		return true
	}
	return b.Equal(a)
}

// names of a list's elements, each once: what is there already gets a number.
func names(list reflect.Value) []string {
	taken := make(map[string]bool, list.Len())
	out := make([]string, list.Len())
	for i := range out {
		id := list.Index(i).FieldByIndex(idField).String()
		name := id
		for n := 2; taken[name]; n++ {
			name = id + "#" + strconv.Itoa(n)
		}
		taken[name], out[i] = true, name
	}
	return out
}

// section is a field of view.Order, or of an element of its lists.
type section struct {
	path     string    // below what it is a field of
	optional bool      // an empty one is not written
	named    bool      // a list whose elements have an id
	fields   []section // of its elements, if it is named
}

// idField is where the id is, in every element that has one.
var idField = []int{0}

var sections = sectionsOf(reflect.TypeFor[view.Order]())

func sectionsOf(t reflect.Type) (all []section) {
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		s := section{path: "/" + name, optional: options == "omitempty"}
		if f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct {
			var id reflect.StructField
			if id, s.named = f.Type.Elem().FieldByName("ID"); s.named {
				if !slices.Equal(id.Index, idField) {
					panic("fields: the id of " + f.Type.String() + " is not its first field")
				}
				s.fields = sectionsOf(f.Type.Elem())
			}
		}
		all = append(all, s)
	}
	return all
}

// flat is fields by path.
type flat map[string]json.RawMessage

// section puts the fields of a section of what is at path in.
func (f flat) section(path string, s section, v reflect.Value) {
	value := marshal(v.Interface())
	if s.optional && slices.Contains([]string{`""`, "[]", "{}"}, string(value)) {
		return
	}
	f.flatten(path+s.path, value)
}

// add puts the fields of a list's element in.
func (f flat) add(path string, element reflect.Value) {
	f.flatten(path, marshal(element.Interface()))
}

func (f flat) flatten(path string, value json.RawMessage) {
	switch jsontext.Value(value).Kind() {
	case 'n': // null is nothing
	case '{':
		var members map[string]jsontext.Value
		if err := jsonv2.Unmarshal(value, &members, tolerant); err != nil || len(members) == 0 || isAmount(path, members) {
			f[path] = value
			return
		}
		for name, member := range members {
			f.flatten(path+"/"+escape(name), json.RawMessage(member))
		}
	case '[':
		var elements []jsontext.Value
		if err := jsonv2.Unmarshal(value, &elements, tolerant); err != nil || len(elements) == 0 || path == tagsPath {
			f[path] = value
			return
		}
		for i, element := range elements {
			f.flatten(path+"/"+strconv.Itoa(i), json.RawMessage(element))
		}
	default:
		f[path] = value
	}
}

const tagsPath = "/tags"

// isAmount tells money from what a customer may call "amount" and "currency".
func isAmount(path string, members map[string]jsontext.Value) bool {
	return len(members) == 2 && members["amount"] != nil && members["currency"] != nil && !strings.HasSuffix(path, "/metadata")
}

// tells reports that the field is hollow and that f has fields in its place.
func (f flat) tells(field Field) bool {
	if !field.Hollow() {
		return false
	}
	for path := range f {
		if strings.HasPrefix(path, field.Path+"/") {
			return true
		}
	}
	return false
}

// tolerant: damage is shown, not refused.
var tolerant = jsonv2.JoinOptions(jsonv2.Deterministic(true), jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))

// marshal writes v as readers see it; what cannot be written (a time of the year
// 10,000) is told as a text.
func marshal(v any) json.RawMessage {
	value, err := jsonv2.Marshal(v, tolerant)
	if err != nil {
		value, _ = jsontext.AppendQuote(nil, err.Error()) // it repairs what is not UTF-8
	}
	return value
}

// escape writes a name as a token of a JSON Pointer (RFC 6901).
func escape(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
}
