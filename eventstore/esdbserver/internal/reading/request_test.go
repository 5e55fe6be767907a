package reading_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestOnlyTheAllowedCombinationsAreAnswered goes through all of them.
func TestOnlyTheAllowedCombinationsAreAnswered(t *testing.T) {
	s := serve(t)
	s.write("order-1", 1)
	allowed := map[string]bool{
		"(Stream, Count, Forwards, NoFilter)":        true,
		"(Stream, Count, Backwards, NoFilter)":       true,
		"(All, Count, Forwards, Filter)":             true,
		"(All, Count, Forwards, NoFilter)":           true,
		"(All, Count, Backwards, Filter)":            true,
		"(All, Count, Backwards, NoFilter)":          true,
		"(Stream, Subscription, Forwards, NoFilter)": true,
		"(All, Subscription, Forwards, Filter)":      true,
		"(All, Subscription, Forwards, NoFilter)":    true,
	}
	whole := readAll(filtered(32, 1, prefixes("order-"))).Options
	targets := map[string]option{
		"None":   func(o *streams.ReadReq_Options) { o.StreamOption = nil },
		"Stream": ofStream("order-1"),
		"All":    func(o *streams.ReadReq_Options) { o.StreamOption = whole.StreamOption },
	}
	counts := map[string]option{
		"None":         func(o *streams.ReadReq_Options) { o.CountOption = nil },
		"Count":        count(1),
		"Subscription": subscription,
	}
	directions := map[string]option{
		"Forwards":  func(*streams.ReadReq_Options) {},
		"Backwards": backwards,
		"7":         func(o *streams.ReadReq_Options) { o.ReadDirection = 7 },
	}
	filters := map[string]option{
		"None":     func(o *streams.ReadReq_Options) { o.FilterOption = nil },
		"Filter":   func(o *streams.ReadReq_Options) { o.FilterOption = whole.FilterOption },
		"NoFilter": func(*streams.ReadReq_Options) {},
	}
	for target, setTarget := range targets {
		for n, setCount := range counts {
			for direction, setDirection := range directions {
				for filter, setFilter := range filters {
					name := fmt.Sprintf("(%s, %s, %s, %s)", target, n, direction, filter)
					_, err := s.open(request([]option{setTarget, setCount, setDirection, setFilter})).in.Recv()
					switch {
					case allowed[name] && err != nil && !errors.Is(err, io.EOF):
						t.Errorf("%s: %v", name, err)
					case !allowed[name] && (status.Code(err) != codes.InvalidArgument ||
						status.Convert(err).Message() != "The combination of "+name+" is invalid."):
						t.Errorf("%s: %v", name, err)
					}
				}
			}
		}
	}
}

func TestRequestsThatLackSomethingAreRefused(t *testing.T) {
	s := serve(t)
	s.write("order-1", 1)
	filterOf := func(change func(*streams.ReadReq_Options_FilterOptions)) option {
		return func(o *streams.ReadReq_Options) {
			filtered(32, 1, prefixes("order-"))(o)
			change(o.GetFilter())
		}
	}
	for name, c := range map[string]struct {
		req  *streams.ReadReq
		code codes.Code
	}{
		"no options":        {&streams.ReadReq{}, codes.InvalidArgument},
		"no uuid option":    {readAll(func(o *streams.ReadReq_Options) { o.UuidOption = nil }), codes.InvalidArgument},
		"empty uuid option": {readAll(func(o *streams.ReadReq_Options) { o.UuidOption.Content = nil }), codes.InvalidArgument},
		"no revision":       {readStream("order-1", func(o *streams.ReadReq_Options) { o.GetStream().RevisionOption = nil }), codes.InvalidArgument},
		"no position":       {readAll(func(o *streams.ReadReq_Options) { o.GetAll().AllOption = nil }), codes.InvalidArgument},
		"no stream name":    {readStream(""), codes.InvalidArgument},
		"count 0, stream":   {readStream("order-1", count(0)), codes.Unknown},
		"count 0, log":      {readAll(count(0)), codes.Unknown},
		"prepare > commit":  {readAll(fromPosition(1, 2)), codes.Unknown},
		"filter of neither": {readAll(filterOf(func(f *streams.ReadReq_Options_FilterOptions) { f.Filter = nil })), codes.InvalidArgument},
		"filter, no window": {readAll(filterOf(func(f *streams.ReadReq_Options_FilterOptions) { f.Window = nil })), codes.InvalidArgument},
		"multiplier 0":      {readAll(subscription, filtered(32, 0, prefixes("order-"))), codes.InvalidArgument},
		"window 0":          {readAll(subscription, filtered(0, 1, prefixes("order-"))), codes.InvalidArgument},
		"regex":             {readAll(filtered(32, 1, regex("("))), codes.InvalidArgument},
		"long regex":        {readAll(filtered(32, 1, regex(strings.Repeat("a", 5<<10)))), codes.InvalidArgument},
		"long prefixes":     {readAll(filtered(32, 1, prefixes(strings.Repeat("a", 65<<10)))), codes.InvalidArgument},
		"many prefixes":     {readAll(filtered(32, 1, prefixes(make([]string, 9<<10)...))), codes.InvalidArgument},
	} {
		if m, err := s.open(c.req).in.Recv(); status.Code(err) != c.code {
			t.Errorf("%s: %v, %v; want %v", name, m, err, c.code)
		}
	}
	// A read has no checkpoints, so that its multiplier may be 0.
	equal(t, s.read(readAll(filtered(32, 0, prefixes("order-")))), []string{"order-1/0"})
}
