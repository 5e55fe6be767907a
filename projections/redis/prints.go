package redis

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"slices"

	"github.com/docket-orders/docket/projections"
)

// Prints implements projections.Inspector; the orders of one bucket are of one
// instant.
func (s *Store) Prints(ctx context.Context, ids []string) ([]projections.Print, error) {
	out := make([]projections.Print, len(ids))
	err := s.kept(ctx, ids, func(i int, value string) { out[i] = printOf(value) })
	if err != nil {
		return nil, wrap(err, "compare %d orders", len(ids))
	}
	return out, nil
}

// Read implements projections.Inspector.
func (s *Store) Read(ctx context.Context, ids []string) ([]projections.Stored, error) {
	out := make([]projections.Stored, len(ids))
	err := s.kept(ctx, ids, func(i int, value string) {
		out[i].Print = printOf(value)
		if out[i].Print.Document == 0 {
			return
		}
		doc, k, err := decodeOrder(ids[i], value)
		if err != nil {
			out[i].Revision = -1
			return
		}
		out[i].Document, out[i].Contribution = doc, k.counted
	})
	if err != nil {
		return nil, wrap(err, "read %d orders", len(ids))
	}
	return out, nil
}

// kept calls yield with what is kept of each order, or with nothing.
func (s *Store) kept(ctx context.Context, ids []string, yield func(i int, value string)) error {
	return s.with(func() error {
		first := 0
		for part := range slices.Chunk(ids, documentsAtOnce) {
			values, err := s.values(ctx, part)
			if err != nil {
				return err
			}
			for i, id := range part {
				yield(first+i, values[id])
			}
			first += len(part)
		}
		return nil
	})
}

func printOf(value string) projections.Print {
	if value == "" {
		return projections.Print{Revision: -1}
	}
	data := []byte(value)
	if len(data) >= 24 {
		size := int64(binary.BigEndian.Uint32(data))
		if size >= 24 && size <= int64(len(data)) && binary.BigEndian.Uint32(data[4:]) == crc32.ChecksumIEEE(data[8:size]) {
			return projections.Print{
				Revision: int64(binary.BigEndian.Uint64(data[8:])),
				Document: projections.PrintOf(data[size:]), Contribution: projections.PrintOf(data[24:size]),
			}
		}
	}
	return projections.Print{Revision: -1, Document: projections.PrintOf(data)}
}
