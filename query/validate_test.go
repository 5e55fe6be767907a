package query

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/domain/money"
)

func TestQuestionValidate(t *testing.T) {
	day, later := time.Date(2011, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2011, 1, 2, 0, 0, 0, 0, time.UTC)
	ten, twenty, euro := money.Minor(1000, "GBP"), money.Minor(2000, "GBP"), money.Minor(1000, "EUR")
	exact := money.MustParse("1.001", "GBP")
	many := slices.Repeat([]string{"x"}, MaxValues+1)

	cases := map[string]struct {
		ask    func(*Question)
		refuse error // nil: may be asked
		field  string
	}{
		"nothing":                 {func(q *Question) {}, nil, ""},
		"largest page":            {func(q *Question) { q.Limit = MaxLimit }, nil, ""},
		"too large a page":        {func(q *Question) { q.Limit = MaxLimit + 1 }, ErrLimit, "limit"},
		"an empty page":           {func(q *Question) { q.Limit = 0 }, ErrLimit, "limit"},
		"unknown sort":            {func(q *Question) { q.Sort.By = "customer" }, ErrSort, "sort"},
		"known status":            {func(q *Question) { q.Status = []string{"placed", "cancelled"} }, nil, ""},
		"unknown status":          {func(q *Question) { q.Status = []string{"placed", "gone"} }, ErrValue, "status"},
		"unknown payment status":  {func(q *Question) { q.PaymentStatus = []string{"placed"} }, ErrValue, "paymentStatus"},
		"unknown fulfilment":      {func(q *Question) { q.FulfilmentStatus = []string{"paid"} }, ErrValue, "fulfilmentStatus"},
		"unknown kind":            {func(q *Question) { q.Kind = []string{"invoice"} }, ErrValue, "kind"},
		"empty value":             {func(q *Question) { q.Tag = []string{""} }, ErrValue, "tag"},
		"value with a zero byte":  {func(q *Question) { q.SKU = []string{"a\x00"} }, ErrValue, "sku"},
		"value that is not UTF-8": {func(q *Question) { q.Customer = []string{"\xff"} }, ErrValue, "customer"},
		"long value":              {func(q *Question) { q.Country = []string{strings.Repeat("x", maxValue+1)} }, ErrValue, "country"},
		"too many values":         {func(q *Question) { q.Anomaly = many }, ErrValues, "anomaly"},
		"unknown currency":        {func(q *Question) { q.Currency = []string{"XXX"} }, ErrValue, "currency"},
		"two currencies":          {func(q *Question) { q.Currency = []string{"GBP", "EUR"} }, nil, ""},
		"range":                   {func(q *Question) { q.PlacedFrom, q.PlacedTo = &day, &later }, nil, ""},
		"empty range":             {func(q *Question) { q.PlacedFrom, q.PlacedTo = &day, &day }, nil, ""},
		"range backwards":         {func(q *Question) { q.UpdatedFrom, q.UpdatedTo = &later, &day }, ErrRange, "updatedTo"},
		"words":                   {func(q *Question) { q.Words = slices.Repeat([]string{"x"}, MaxWords) }, nil, ""},
		"too many words":          {func(q *Question) { q.Words = slices.Repeat([]string{"x"}, MaxWords+1) }, ErrWords, "q"},
		"facets":                  {func(q *Question) { q.Facets = Facets }, nil, ""},
		"unknown facet":           {func(q *Question) { q.Facets = []string{"tag", "city"} }, ErrFacet, "facets"},
		"money":                   {func(q *Question) { q.Currency, q.MinTotal, q.MaxTotal = []string{"GBP"}, &ten, &twenty }, nil, ""},
		"money without currency":  {func(q *Question) { q.MinTotal = &ten }, ErrCurrency, "currency"},
		"money of two currencies": {func(q *Question) { q.Currency, q.MaxTotal = []string{"GBP", "EUR"}, &ten }, ErrCurrency, "currency"},
		"money of another one":    {func(q *Question) { q.Currency, q.MaxTotal = []string{"GBP"}, &euro }, ErrAmount, "maxTotal"},
		"fractions of a penny":    {func(q *Question) { q.Currency, q.MinTotal = []string{"GBP"}, &exact }, ErrAmount, "minTotal"},
		"money backwards":         {func(q *Question) { q.Currency, q.MinTotal, q.MaxTotal = []string{"GBP"}, &twenty, &ten }, ErrRange, "maxTotal"},
		"sort by total":           {func(q *Question) { q.Currency, q.Sort.By = []string{"GBP"}, ByTotal }, nil, ""},
		"sort by total of all":    {func(q *Question) { q.Sort.By = ByTotal }, ErrCurrency, "currency"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			q := Question{Limit: 10, Sort: Sort{By: ByPlacedAt}}
			c.ask(&q)
			checkRefusal(t, q.Validate(), c.refuse, c.field)
		})
	}
}

func TestStatsQuestionValidate(t *testing.T) {
	cases := map[string]struct {
		q      StatsQuestion
		refuse error
		field  string
	}{
		"all":                {StatsQuestion{}, nil, ""},
		"one day":            {StatsQuestion{From: "2018-01-31", To: "2018-01-31"}, nil, ""},
		"until":              {StatsQuestion{To: "2018-01-31"}, nil, ""},
		"no such day":        {StatsQuestion{From: "2018-02-30"}, ErrDay, "from"},
		"an instant":         {StatsQuestion{To: "2018-01-31T00:00:00Z"}, ErrDay, "to"},
		"backwards":          {StatsQuestion{From: "2018-02-01", To: "2018-01-31"}, ErrRange, "to"},
		"top":                {StatsQuestion{Top: MaxTop}, nil, ""},
		"too many":           {StatsQuestion{Top: MaxTop + 1}, ErrTop, "top"},
		"less than nothing":  {StatsQuestion{Top: -1}, ErrTop, "top"},
		"top within a range": {StatsQuestion{From: "2018-01-31", Top: 1}, ErrTop, "top"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) { checkRefusal(t, c.q.Validate(), c.refuse, c.field) })
	}
}

func checkRefusal(t *testing.T, err, want error, field string) {
	t.Helper()
	if want == nil {
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		return
	}
	var r *domain.Rejection
	if !errors.Is(err, want) || !errors.As(err, &r) {
		t.Fatalf("got %v, want %v", err, want)
	}
	if r.Field != field || r.Kind != domain.Invalid {
		t.Errorf("refusal of kind %d points at %q, want %q", r.Kind, r.Field, field)
	}
}
