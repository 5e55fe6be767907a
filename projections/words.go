package projections

import "github.com/docket-orders/docket/view"

// Words folds text (case, accents, compatibility forms) and splits it into
// words: runs of letters, digits and marks.
func Words(text string) []string { return nil }

// OrderWords is the full text of a document: its words, joined by spaces.
func OrderWords(doc view.Order) string { return "" }
