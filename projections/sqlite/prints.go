package sqlite

import (
	"context"
	"encoding/json"

	"github.com/docket-orders/docket/projections"
	"github.com/ncruces/go-sqlite3"
)

// Prints implements projections.Inspector, all of one instant.
func (s *Store) Prints(ctx context.Context, ids []string) ([]projections.Print, error) {
	out := make([]projections.Print, len(ids))
	err := s.read(ctx, func(c *conn) error {
		for i, id := range ids {
			out[i].Revision = -1
			if err := c.stored(id, func(p projections.Print, _, _ []byte) { out[i] = p }); err != nil {
				return err
			}
		}
		return nil
	})
	return out, wrap(err, "compare %d orders", len(ids))
}

// Read implements projections.Inspector, all of one instant.
func (s *Store) Read(ctx context.Context, ids []string) ([]projections.Stored, error) {
	out := make([]projections.Stored, len(ids))
	err := s.read(ctx, func(c *conn) error {
		for i, id := range ids {
			out[i].Revision = -1
			err := c.stored(id, func(p projections.Print, document, contribution []byte) {
				kept := projections.Stored{Print: p}
				if json.Unmarshal(document, &kept.Document) != nil || json.Unmarshal(contribution, &kept.Contribution) != nil {
					kept = projections.Stored{Print: p}
					kept.Revision = -1
				}
				out[i] = kept
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return out, wrap(err, "read %d orders", len(ids))
}

// stored hands over what is kept of an order; the bytes are good for the call.
func (c *conn) stored(id string, yield func(p projections.Print, document, contribution []byte)) error {
	return c.each(`SELECT o.revision, o.words, d.contribution, d.document FROM orders o JOIN docs d ON d.n = o.n WHERE o.id = ?`,
		[]any{id}, func(r *sqlite3.Stmt) error {
			contribution, document := r.ColumnRawBlob(2), r.ColumnRawBlob(3)
			yield(projections.Print{
				Revision: r.ColumnInt64(0), Words: uint64(r.ColumnInt64(1)),
				Contribution: projections.PrintOf(contribution), Document: projections.PrintOf(document),
			}, document, contribution)
			return nil
		})
}
