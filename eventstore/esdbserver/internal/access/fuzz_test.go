package access

import (
	"encoding/json"
	"testing"
)

// Headers come from anybody: whatever they hold, a login is never empty.
func FuzzParseBasic(f *testing.F) {
	for _, header := range []string{basic("ann", "word"), "Basic", "basic " + "QQ==", "Basic Og==", ""} {
		f.Add(header)
	}
	f.Fuzz(func(t *testing.T, header string) {
		login, password, ok := parseBasic(header)
		if ok && login == "" {
			t.Errorf("an empty login with password %q", password)
		}
		if again, _, ok2 := parseBasic(basic(login, password)); ok && len(login)+len(password) < 700 && (!ok2 || again != login) {
			t.Errorf("%q does not survive", login)
		}
	})
}

// Lists come from whoever may write metadata. One that is read says nothing
// that is not in it.
func FuzzParseList(f *testing.F) {
	for _, document := range []string{`{"$r":"ann"}`, `{"$r":["a","b"],"$w":[]}`, `{"$r":7}`, `[]`, `{"$d":[null]}`} {
		f.Add([]byte(document))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		var v any
		if json.Unmarshal(document, &v) != nil {
			return
		}
		for op := range parseList(v) {
			found := false
			for key, of := range keys() {
				_, named := v.(map[string]any)[key]
				found = found || of == op && named
			}
			if !found {
				t.Errorf("operation %d is not in %s", op, document)
			}
		}
		parseSettings(document)
	})
}
