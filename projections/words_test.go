package projections_test

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
	"pgregory.net/rapid"
)

func TestWords(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"Hello, World", "hello world"},
		{"foo_bar 3.14 a-b", "foo bar 3 14 a b"},
		{"  x  ", "x"},
		{"Größe", "grosse"},
		{"ÇOK Güzel", "cok guzel"},
		{"São João", "sao joao"},
		{"İstanbul ıspanak", "istanbul ıspanak"},
		{"ﬁne ①② Ⅳ", "fine 12 iv"},
		{"ΣΊΣΥΦΟΣ", "σισυφοσ"},
		{"はがき バ", "はがき バ"},
		{"हिन्दी", "हिन्दी"},
		{"❤\ufe0f ok", "ok"},
		{"😀a😀", "a"},
		{"ann@example.org", "ann example org"},
	} {
		if got := strings.Join(projections.Words(c.text), " "); got != c.want {
			t.Errorf("%q: got %q, want %q", c.text, got, c.want)
		}
	}
}

func TestLongWordsAreCut(t *testing.T) {
	for _, word := range []string{strings.Repeat("a", 300), strings.Repeat("я", 300), strings.Repeat("𠀀", 300)} {
		got := projections.Words(word)
		if len(got) != 1 || !strings.HasPrefix(word, got[0]) {
			t.Fatalf("%d words of %q", len(got), word[:20])
		}
		if n := len(utf16.Encode([]rune(got[0]))); n != 255 && n != 254 {
			t.Errorf("cut at %d UTF-16 units", n)
		}
	}
}

// A question made of a document's words finds it: folding again changes
// nothing.
func TestWordsOfWords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := projections.Words(rapid.String().Draw(t, "text"))
		if again := projections.Words(strings.Join(words, " ")); !slices.Equal(again, words) {
			t.Errorf("got %q, again %q", words, again)
		}
	})
}

func TestOrderWords(t *testing.T) {
	doc := view.Order{
		Number: "N-1", Customer: view.Customer{Name: "Ann Å", Email: "ann@x.org"},
		Lines:           []view.Line{{SKU: "SKU1", Title: "Red Pen"}, {SKU: "SKU2", Title: "red ink"}},
		Notes:           []view.Note{{Text: "Call Bob"}},
		Tags:            []string{"olist:delivered"},
		Shipments:       []view.Shipment{{TrackingNumber: "TR77"}},
		BillingAddress:  &view.Address{City: "Roma"},
		ShippingAddress: &view.Address{Street: "High St", Phone: "+47 1"},
	}
	want := "n 1 ann a x org sku1 red pen sku2 ink call bob olist delivered tr77 roma high st 47"
	if got := projections.OrderWords(doc); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func BenchmarkOrderWords(b *testing.B) {
	doc := view.Order{Number: "N-1", Customer: view.Customer{Name: "Ann Example", Email: "ann@x.org"}}
	for range 5 {
		doc.Lines = append(doc.Lines, view.Line{SKU: "85123A", Title: "WHITE HANGING HEART T-LIGHT HOLDER"})
	}
	for b.Loop() {
		projections.OrderWords(doc)
	}
}
