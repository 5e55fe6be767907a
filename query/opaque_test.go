package query

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/eventstore"
	"github.com/google/uuid"
)

var (
	thisLog = eventstore.LogIdentity{ID: uuid.MustParse("6b1d7d4e-53a2-4f0c-8a5e-b1b4f9f0a001"), Epoch: 3}
	aToken  = Token{Log: thisLog, OrderID: "536365", Revision: 7, Position: eventstore.At64(4711)}
	aKey    = Key{Int: -5, Text: "C536379", ID: "536365"}
)

func TestTokenIsReadAsWritten(t *testing.T) {
	tokens := []Token{
		aToken,
		{Log: thisLog, OrderID: strings.Repeat("x", 64), Revision: 1<<62 + 1, Position: eventstore.Position{Commit: 1<<64 - 1, Prepare: 7}},
	}
	for _, want := range tokens {
		got, err := ParseToken(want.String())
		if err != nil || got != want {
			t.Errorf("%+v came back as %+v, %v", want, got, err)
		}
	}
}

func TestCursorIsReadAsWritten(t *testing.T) {
	question := customerOrdersHash("17850")
	for _, want := range []Key{aKey, {ID: "a"}, {Int: 1<<63 - 1, ID: "a"}, {Text: "é", ID: "a"}} {
		got, err := openCursor(thisLog, question, sealCursor(thisLog, question, want))
		if err != nil || *got != want {
			t.Errorf("%+v came back as %+v, %v", want, got, err)
		}
	}
}

// A caller that shortens, mistypes or pastes together is told so, whatever the
// place.
func TestEveryChangedByteIsRefused(t *testing.T) {
	question := customerOrdersHash("17850")
	checks := map[string]struct {
		text    string
		open    func(string) error
		refusal error
	}{
		"token": {aToken.String(), func(s string) error { _, err := ParseToken(s); return err }, ErrTokenInvalid},
		"cursor": {sealCursor(thisLog, question, aKey), func(s string) error {
			_, err := openCursor(thisLog, question, s)
			return err
		}, ErrCursorInvalid},
	}
	for name, c := range checks {
		if err := c.open(c.text); err != nil {
			t.Fatalf("%s: unchanged: %v", name, err)
		}
		refused := func(changed string) {
			t.Helper()
			if err := c.open(changed); changed != "" && !errors.Is(err, c.refusal) {
				t.Errorf("%s: %q instead of %q: %v", name, changed, c.text, err)
			}
		}
		for i := range c.text {
			for b := range 256 {
				if byte(b) != c.text[i] {
					refused(c.text[:i] + string([]byte{byte(b)}) + c.text[i+1:])
				}
			}
			refused(c.text[:i])
			refused(c.text[:i] + c.text[i+1:])
			refused(c.text[:i] + "\n" + c.text[i:])
			refused(c.text[:i] + "A" + c.text[i:])
		}
	}
}

func TestTokenIsNoCursor(t *testing.T) {
	if _, err := openCursor(thisLog, questionHash{}, aToken.String()); !errors.Is(err, ErrCursorInvalid) {
		t.Errorf("a token as cursor: %v", err)
	}
	if _, err := ParseToken(sealCursor(thisLog, questionHash{}, aKey)); !errors.Is(err, ErrTokenInvalid) {
		t.Errorf("a cursor as token: %v", err)
	}
	if _, err := ParseToken(seal(kindToken+1, thisLog, make([]byte, 60))); !errors.Is(err, ErrTokenInvalid) || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("a token of a later version: %v", err)
	}
}

func TestCursorOfAnotherLogOrEpochOrQuestion(t *testing.T) {
	cursor := sealCursor(thisLog, customerOrdersHash("17850"), aKey)
	restored := thisLog
	restored.Epoch++
	if _, err := openCursor(restored, customerOrdersHash("17850"), cursor); !errors.Is(err, ErrCursorForeign) {
		t.Errorf("after a restore: %v", err)
	}
	if _, err := openCursor(thisLog, customerOrdersHash("13047"), cursor); !errors.Is(err, ErrCursorQuestion) {
		t.Errorf("of another customer: %v", err)
	}
}

func TestHashTellsQuestionsApart(t *testing.T) {
	day, later := time.Date(2011, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2011, 1, 2, 0, 0, 0, 0, time.UTC)
	ten, twenty := money.Minor(1000, "GBP"), money.Minor(2000, "GBP")
	questions := []Question{
		{},
		{Status: []string{"placed"}},
		{Status: []string{"placed", "cancelled"}},
		{PaymentStatus: []string{"placed"}},
		{Tag: []string{"a\"=\"b"}},
		{Tag: []string{"a"}, State: []string{"b"}},
		{Tag: []string{"b"}, State: []string{"a"}},
		{PlacedFrom: &day}, {PlacedTo: &day}, {PlacedFrom: &later}, {UpdatedFrom: &day}, {DeliveredFrom: &day},
		{MinTotal: &ten}, {MaxTotal: &ten}, {MinTotal: &twenty},
		{Words: []string{"red"}},
		{SKU: []string{"red"}},
		{Sort: Sort{By: ByTotal}}, {Sort: Sort{By: ByTotal, Desc: true}}, {Sort: Sort{By: ByNumber}},
	}
	seen := map[questionHash]int{}
	for i, q := range questions {
		if j, there := seen[q.hash()]; there {
			t.Errorf("questions %d and %d have one hash", i, j)
		}
		seen[q.hash()] = i
	}
	same := Question{Status: []string{"cancelled", "placed", "placed"}, Limit: 7, After: &aKey, Facets: []string{"tag"}, WithoutTotal: true}
	if same.hash() != questions[2].hash() {
		t.Error("order and repetition of values, limit, place, facets and total made another question of it")
	}
}

// Cursors are kept by callers across upgrades: these two were made by the first
// version and must stay readable.
func TestCursorsOfTheFirstVersion(t *testing.T) {
	q := Question{Status: []string{"placed"}, Sort: Sort{By: ByPlacedAt, Desc: true}}
	checks := map[string]struct {
		question questionHash
		text     string
	}{
		"list":     {q.hash(), goldenListCursor},
		"customer": {customerOrdersHash("17850"), goldenCustomerCursor},
	}
	for name, c := range checks {
		k, err := openCursor(thisLog, c.question, c.text)
		if err != nil || k == nil || *k != aKey {
			t.Errorf("%s: %+v, %v; today's would be %s", name, k, err, sealCursor(thisLog, c.question, aKey))
		}
	}
	if got, err := ParseToken(goldenToken); err != nil || got != aToken {
		t.Errorf("token: %+v, %v; today's would be %s", got, err, aToken)
	}
}

const (
	goldenListCursor     = "IWsdfU5Tok8Mil6xtPnwoAEAAAADPMWDl-gGhM1djPFRgHgrTf_________7AAdDNTM2Mzc5NTM2MzY1aB2qkQ"
	goldenCustomerCursor = "IWsdfU5Tok8Mil6xtPnwoAEAAAADJjcNneAr2XNMHs4lEmlxdf_________7AAdDNTM2Mzc5NTM2MzY19amJgg"
	goldenToken          = "EWsdfU5Tok8Mil6xtPnwoAEAAAADAAAAAAAAAAcAAAAAAAASZwAAAAAAABJnNTM2MzY1YyUyTA"
)

func FuzzParseToken(f *testing.F) {
	f.Add(aToken.String())
	f.Add("")
	f.Add(seal(kindToken, thisLog, make([]byte, tokenHead)))
	f.Fuzz(func(t *testing.T, text string) {
		token, err := ParseToken(text)
		switch {
		case err == nil && token.String() != text:
			t.Errorf("%q was accepted, and is written %q", text, token)
		case err != nil && !errors.Is(err, ErrTokenInvalid):
			t.Errorf("%q: %v", text, err)
		}
	})
}

// The content is fuzzed below the checksum, which random text would never pass.
func FuzzOpenCursor(f *testing.F) {
	question := customerOrdersHash("17850")
	f.Add([]byte{})
	f.Add(question[:])
	f.Add(append(append(question[:], make([]byte, 8)...), 0xff, 0xff, 'a'))
	f.Fuzz(func(t *testing.T, content []byte) {
		text := seal(kindCursor, thisLog, content)
		k, err := openCursor(thisLog, question, text)
		switch {
		case err == nil && sealCursor(thisLog, question, *k) != text:
			t.Errorf("%q was accepted, and is another cursor", text)
		case err != nil && !errors.Is(err, ErrCursorInvalid) && !errors.Is(err, ErrCursorQuestion):
			t.Errorf("%q: %v", text, err)
		}
	})
}
