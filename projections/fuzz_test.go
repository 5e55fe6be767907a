package projections_test

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/docket-orders/docket/projections"
)

// FuzzWords: words are short, hold nothing that separates words or means
// something to a full-text engine, and stay as they are when they are cut again.
func FuzzWords(f *testing.F) {
	for _, text := range []string{"Ana Prado", "Crème BRÛLÉE", "ﬁne ①", "İstanbul ß ẞ", "a\u200db", "\u0345\u0308", "कि\u094d", strings.Repeat("x", 600), "\xff\xfe", "NEAR(a AND \"b\"*)", "𝔄𝔅"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		words := projections.Words(text)
		for _, w := range words {
			if w == "" || !utf8.ValidString(w) || len(utf16.Encode([]rune(w))) > projections.MaxWord || strings.ContainsAny(w, " \"*()^:-+\x00\n\t") {
				t.Fatalf("%q has the word %q", text, w)
			}
			if again := projections.Words(w); len(again) != 1 || again[0] != w {
				t.Fatalf("the word %q of %q is %q", w, text, again)
			}
		}
		if again := projections.Words(strings.Join(words, " ")); !slices.Equal(again, words) {
			t.Fatalf("%q, then %q", words, again)
		}
	})
}
