package order_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/docket-orders/docket/domain/order"
)

// TestTexts: what people write in any script is taken; what is not seen, or
// changes what is, is refused with its place.
func TestTexts(t *testing.T) {
	t.Parallel()
	refusalOf := func(text string) error {
		p := place
		p.Customer.Name = text
		_, err := order.Decide(order.State{}, p)
		return err
	}
	for _, text := range []string{
		"Ana Prado", "Crème brûlée", "Анна Ивановна", "محمد علي", "می\u200cخواهم", "क्\u200dष", "שלום\u200e 12\u200f", "\u061c١٢",
		"ប្រាក់", "山田太郎", "👩\u200d👩\u200d👧", "☂\ufe0f", "o\u0308", "\u0600١٢", "O'Neill & Söhne \"GmbH\" <x>", "\ufffd",
	} {
		if err := refusalOf(text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	for text, detail := range map[string]string{
		"a\x00b": "U+0000 at byte 1", "a\nb": "U+000A at byte 1", "\x7f": "U+007F", "\u0085": "U+0085", "é\u009b31m": "U+009B at byte 2",
		"total \u202e00.1": "U+202E at byte 6", "\u202a": "U+202A", "\u2066x\u2069": "U+2066", "\u200b": "U+200B", "a\u00adb": "U+00AD",
		"\ufeffa": "U+FEFF", "a\u2060": "U+2060", "\u2028": "U+2028", "\u206f": "U+206F", "\ufff9": "U+FFF9", "🏴\U000e0067": "U+E0067",
		"\xff": "UTF-8", "\xed\xa0\x80": "UTF-8",
	} {
		if err := refusalOf(text); !errors.Is(err, order.ErrText) || !strings.Contains(err.Error(), detail) {
			t.Errorf("%q: %v, want %s", text, err, detail)
		}
	}
}

// TestHistoryIsNotChecked: what is stored stays readable, whatever the rules
// have become since.
func TestHistoryIsNotChecked(t *testing.T) {
	t.Parallel()
	old := placed
	old.Customer.Name = "a\u202eb"
	s := order.Evolve(order.State{}, old)
	if events, err := order.Decide(s, order.Confirm{At: hour(1)}); err != nil || len(events) != 1 {
		t.Errorf("%v %v", events, err)
	}
}
