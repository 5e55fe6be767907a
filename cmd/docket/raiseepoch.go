package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
)

type raiseEpochCommand struct {
	Reason string `default:"restored from a backup" placeholder:"TEXT" help:"Kept in the log (default ${default})."`
}

func (*raiseEpochCommand) needsFolder() {}

// Run tells the log, and with it every docket that opens it, that positions from
// before may name other events now.
func (c *raiseEpochCommand) Run(p *program) error {
	if p.config.EventStore == "" {
		return errors.New("it is for a log in an EventStoreDB, which --eventstore names; the log of a folder gets another epoch from docket eventstore restore")
	}
	store, err := p.openEventStore(p.logger(slog.LevelWarn))
	if err != nil {
		return err
	}
	log, err := store.RaiseEpoch(p.ctx, c.Reason)
	if err := errors.Join(err, store.Close()); err != nil {
		return err
	}
	if p.config.JSON {
		return json.NewEncoder(p.stdout).Encode(struct {
			Log   string `json:"log"`
			Epoch uint32 `json:"epoch"`
		}{log.ID.String(), log.Epoch})
	}
	fmt.Fprintf(p.stdout, "log %s is in epoch %d now; the next start of a docket makes its views anew, and tokens and cursors from before are refused (409)\n", log.ID, log.Epoch)
	return nil
}
