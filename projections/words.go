package projections

import (
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/docket-orders/docket/view"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// MaxWord is the length of the longest word in UTF-16 units; what is longer is
// cut.
const MaxWord = 255

// Words folds text (case, accents, compatibility forms) and splits it into
// words: runs of letters, digits and marks with at least one letter or digit.
// Documents and questions go through it, once, so that all stores find the same
// orders.
func Words(text string) []string {
	return appendWords(nil, text)
}

// OrderWords is the full text of a document, for a store to index: its words,
// each once, joined by spaces.
func OrderWords(doc view.Order) string {
	w := wordSet{seen: make(map[string]bool, 32)}
	w.add(doc.Number, doc.Customer.Name, doc.Customer.Email)
	for i := range doc.Lines {
		w.add(doc.Lines[i].SKU, doc.Lines[i].Title)
	}
	for i := range doc.Notes {
		w.add(doc.Notes[i].Text)
	}
	w.add(doc.Tags...)
	for i := range doc.Shipments {
		w.add(doc.Shipments[i].TrackingNumber)
	}
	for _, a := range []*view.Address{doc.BillingAddress, doc.ShippingAddress} {
		if a != nil {
			w.add(a.Name, a.Company, a.Street, a.PostalCode, a.City, a.State, a.Country, a.Phone)
		}
	}
	return w.text.String()
}

// JoinWords is the full text of an order that has these texts, as OrderWords
// writes it.
func JoinWords(texts []string) string {
	w := wordSet{seen: make(map[string]bool, 32)}
	w.add(texts...)
	return w.text.String()
}

type wordSet struct {
	seen    map[string]bool
	scratch []string
	text    strings.Builder
}

func (w *wordSet) add(texts ...string) {
	for _, text := range texts {
		if text == "" {
			continue
		}
		w.scratch = appendWords(w.scratch[:0], text)
		for _, word := range w.scratch {
			if w.seen[word] {
				continue
			}
			w.seen[word] = true
			if w.text.Len() > 0 {
				w.text.WriteByte(' ')
			}
			w.text.WriteString(word)
		}
	}
}

func appendWords(words []string, text string) []string {
	if isASCII(text) {
		// strings.ToLower gives back its argument where nothing changes, so
		// that most words are parts of the text itself.
		return splitASCII(words, strings.ToLower(text))
	}
	for word := range strings.FieldsFuncSeq(foldText(text), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r)
	}) {
		if strings.ContainsFunc(word, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) {
			words = append(words, cut(word))
		}
	}
	return words
}

func splitASCII(words []string, text string) []string {
	start := -1
	for i := range len(text) {
		c := text[i]
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			if start < 0 {
				start = i
			}
		} else if start >= 0 {
			words, start = append(words, text[start:min(i, start+MaxWord)]), -1
		}
	}
	if start >= 0 {
		words = append(words, text[start:min(len(text), start+MaxWord)])
	}
	return words
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// foldText is text in NFKC, case-folded, without the marks U+0300 to U+036F. What
// folding writes anew is taken apart and stripped once more, so that folding
// again changes nothing.
func foldText(text string) string {
	text = stripped(norm.NFKD.String(text))
	text = cases.Fold().String(text)
	return norm.NFKC.String(stripped(norm.NFKD.String(text)))
}

// stripped is text without accents.
func stripped(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 0x300 && r <= 0x36f:
			return -1
		// Cherokee folds to its capitals; cases.Fold exchanges the two.
		case r >= 0xab70 && r <= 0xabbf:
			return r - 0xab70 + 0x13a0
		case r >= 0x13f8 && r <= 0x13fd:
			return r - 0x13f8 + 0x13f0
		}
		return r
	}, text)
}

// cut is the beginning of a word, whole characters.
func cut(word string) string {
	if len(word) <= MaxWord {
		return word
	}
	units := 0
	for i, r := range word {
		if units += utf16.RuneLen(r); units > MaxWord {
			return word[:i]
		}
	}
	return word
}
