package sqlite

import (
	"context"
	"fmt"

	"github.com/docket-orders/docket/projections"
)

// Sound implements projections.Inspector.
func (s *Store) Sound(ctx context.Context) (wrong []string, err error) {
	err = s.read(ctx, func(c *conn) error {
		wrong, err = c.lanesWrong()
		return err
	})
	return wrong, wrap(err, "look whether the views are sound")
}

// lanesWrong says which lanes are not there, each once.
func (c *conn) lanesWrong() ([]string, error) {
	n, err := c.number(`SELECT count(*) FROM checkpoints WHERE lane >= 0 AND lane < ?`, projections.Lanes)
	all, err2 := c.number(`SELECT count(*) FROM checkpoints`)
	if err != nil || err2 != nil || n == projections.Lanes && all == n {
		return nil, err
	}
	return []string{fmt.Sprintf("checkpoints: %d of %d lanes, and %d rows of no lane", n, projections.Lanes, all-n)}, nil
}
