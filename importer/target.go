package importer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/domain/order"
)

// caller scopes the idempotency keys of what is sent in this process.
const caller = "import"

// Direct sends to the write side of this process. The zero value of Actor is
// "import".
type Direct struct {
	Orders *command.Orders
	Actor  string
}

// Adopt hands one part of an order's history to the write side.
func (d Direct) Adopt(ctx context.Context, orderID string, a order.Adopt, key string) (Outcome, error) {
	return d.Handle(ctx, orderID, a, key)
}

// Handle hands any command over, under a key that names it for ever: with
// Generate, to send again what may have been sent before.
func (d Direct) Handle(ctx context.Context, orderID string, cmd order.Command, key string) (Outcome, error) {
	print, err := fingerprint(cmd)
	if err != nil {
		return Outcome{}, err
	}
	actor := d.Actor
	if actor == "" {
		actor = caller
	}
	res, err := d.Orders.Handle(ctx, orderID, cmd, command.Request{
		CommandID:   command.KeyID(caller, orderID, key),
		Fingerprint: print,
		Actor:       actor,
	})
	if err != nil {
		return Outcome{}, err
	}
	out := Outcome{Events: len(res.Events), Replayed: res.Replayed}
	for _, e := range res.Events {
		if completed, ok := e.Event.(order.AdoptionCompleted); ok {
			out.Anomalies = completed.Anomalies
		}
	}
	return out, nil
}

// fingerprint tells commands of different content apart.
func fingerprint(cmd order.Command) (string, error) {
	hash := sha256.New()
	to := json.NewEncoder(hash)
	if err := to.Encode(cmd); err != nil {
		return "", fmt.Errorf("fingerprint of %s: %w", cmd.Name(), err)
	}
	if a, ok := cmd.(order.Adopt); ok {
		for _, e := range a.History { // not part of its JSON
			fmt.Fprintf(hash, "%T ", e)
			if err := to.Encode(e); err != nil {
				return "", fmt.Errorf("fingerprint of %T: %w", e, err)
			}
		}
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
