package redis

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
	"github.com/google/uuid"
)

// Store is one generation: a projections.Sink and query.Hot. Questions see every
// write at once; each bucket's answer is of one instant, those of several buckets
// need not be of the same.
type Store struct {
	backend    *Backend
	server     *server
	scripts    *scripts
	keys       *generationKeys
	nonce      string
	generation int
	top        topList
	looked     atomic.Pointer[time.Time] // when the generation was whole
	moves      moves
	heads      heads

	// open is held for reading by every call, and taken by Close.
	open   sync.RWMutex
	closed bool
}

// with runs f unless the store is closed.
func (s *Store) with(f func() error) error {
	s.open.RLock()
	defer s.open.RUnlock()
	if s.closed {
		return projections.ErrClosed
	}
	err := f()
	if errors.Is(err, projections.ErrLost) {
		s.backend.lose(s.generation, s.nonce)
	}
	return err
}

// Close waits for the calls inside the store; later ones fail with
// projections.ErrClosed. The connections are the Backend's.
func (s *Store) Close() error {
	s.open.Lock()
	defer s.open.Unlock()
	s.closed = true
	return nil
}

// lane is the part of a checkpoint that moves, as it is kept.
type lane struct {
	Position eventstore.Position `json:"position"`
	Event    uuid.UUID           `json:"event"`
	Log      uuid.UUID           `json:"log"`
	Epoch    uint32              `json:"epoch"`
}

func placeOf(cp projections.Checkpoint) string {
	data, err := json.Marshal(lane{cp.Position, cp.EventID, cp.Log.ID, cp.Log.Epoch})
	if err != nil {
		panic(err) // it always encodes
	}
	return string(data)
}

// checkpoint reads the fields of a lane. A place that cannot be read is the start
// of the log: the lane is then read from there.
func checkpoint(number int, token, owner, beat, at string) projections.Checkpoint {
	cp := projections.Checkpoint{Lane: number, Owner: owner, Token: parseToken(token)}
	if n, err := strconv.ParseInt(beat, 10, 64); err == nil {
		cp.Beat = uint64(n)
	}
	var l lane
	if json.Unmarshal([]byte(at), &l) == nil {
		cp.Position, cp.EventID, cp.Log = l.Position, l.Event, eventstore.LogIdentity{ID: l.Log, Epoch: l.Epoch}
	}
	return cp
}

// parseToken reads a token as control.lua does.
func parseToken(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || len(text) > 19 || strconv.FormatUint(n, 10) != text {
		return 0
	}
	return n
}

func formatToken(token uint64) string { return strconv.FormatUint(token, 10) }

// lookWhole is how often Checkpoints looks whether everything is there.
const lookWhole = 2 * time.Second

// whole looks, now and then, whether every key of the generation is there.
func (s *Store) whole(ctx context.Context) error {
	last, now := s.looked.Load(), time.Now()
	if last != nil && now.Sub(*last) < lookWhole {
		return nil
	}
	err := s.backend.everywhere(ctx, &s.scripts.here, s.keys, s.nonce)
	if err == nil {
		s.looked.Store(&now)
	}
	return err
}

// Checkpoints implements projections.Sink. It also looks whether every key of the
// generation is there, so that what was lost is noticed before anybody asks for
// it.
func (s *Store) Checkpoints(ctx context.Context) (out []projections.Checkpoint, err error) {
	err = s.with(func() (err error) {
		if err := s.whole(ctx); err != nil {
			return err
		}
		out, err = s.checkpoints(ctx)
		return err
	})
	return out, wrap(err, "read checkpoints")
}

func (s *Store) checkpoints(ctx context.Context) ([]projections.Checkpoint, error) {
	record, err := s.control(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]projections.Checkpoint, projections.Lanes)
	for i := range out {
		n := strconv.Itoa(i)
		out[i] = checkpoint(i, record["t"+n], record["o"+n], record["b"+n], record["p"+n])
	}
	return out, nil
}

// control reads the whole control record.
func (s *Store) control(ctx context.Context) (map[string]string, error) {
	c := &call{command: "HGETALL", keys: []string{s.keys.control}}
	if err := s.server.one(ctx, c); err != nil {
		return nil, err
	}
	record := fields(c.reply)
	return record, s.ours(record[mark], c.keys[0])
}

// mark is the field of a hash, and the beginning of a member, that has the nonce.
const mark = "!docket"

func (s *Store) ours(nonce, key string) error {
	if nonce != s.nonce {
		return fmt.Errorf("%w: %s", projections.ErrLost, key)
	}
	return nil
}

// Claim implements projections.Sink.
func (s *Store) Claim(ctx context.Context, number int, owner string, token uint64) (cp projections.Checkpoint, err error) {
	err = s.with(func() error {
		// A claim whose answer was lost is repeated, and finds itself.
		repeat := "0"
		c := &call{script: &s.scripts.claim, keys: []string{s.keys.control}}
		c.args = []any{s.nonce, number, formatToken(token), formatToken(token + 1), owner, repeat}
		err := s.server.guard.Do(ctx, func(ctx context.Context) error {
			err := s.server.trip(ctx, []*call{c})
			c.args[5] = "1"
			return err
		})
		if err != nil {
			return failure(ctx, err)
		}
		if c.reply == "TAKEN" {
			return projections.ErrLaneLost
		}
		f := list(c.reply)
		if len(f) != 5 {
			return fmt.Errorf("unexpected answer %v", c.reply)
		}
		cp = checkpoint(number, text(f[0]), text(f[1]), text(f[2]), text(f[3]))
		n, _ := f[4].(int64)
		s.moves.claimed(number, cp.Token, n)
		return nil
	})
	return cp, wrap(err, "claim lane %d", number)
}

// Beat implements projections.Sink.
func (s *Store) Beat(ctx context.Context, lanes []projections.Checkpoint) (lost []int, err error) {
	if len(lanes) == 0 {
		return nil, s.with(func() error { return nil })
	}
	err = s.with(func() error {
		c := &call{script: &s.scripts.beat, keys: []string{s.keys.control}, args: []any{s.nonce}}
		for _, cp := range lanes {
			c.args = append(c.args, cp.Lane, formatToken(cp.Token), s.moves.known(cp))
		}
		if err := s.server.one(ctx, c); err != nil {
			return err
		}
		for _, n := range list(c.reply) {
			if n, ok := n.(int64); ok {
				lost = append(lost, int(n))
			}
		}
		return nil
	})
	return lost, wrap(err, "raise beats")
}

// settle records what may only be recorded after every change is in.
func (s *Store) settle(ctx context.Context, batch projections.Batch) error {
	if len(batch.Checkpoints)+len(batch.Park)+len(batch.Release) == 0 {
		return nil
	}
	c := &call{script: &s.scripts.settle, keys: []string{s.keys.control}, args: []any{s.nonce, len(batch.Checkpoints)}}
	for _, cp := range batch.Checkpoints {
		c.args = append(c.args, cp.Lane, formatToken(cp.Token), s.moves.known(cp), strconv.FormatInt(int64(cp.Beat), 10), placeOf(cp))
	}
	c.args = append(c.args, len(batch.Park))
	for _, p := range batch.Park {
		data, err := json.Marshal(p)
		if err != nil {
			return fmt.Errorf("park %s: %w", p.OrderID, err)
		}
		c.args = append(c.args, p.OrderID, data)
	}
	for _, id := range batch.Release {
		c.args = append(c.args, id)
	}
	if err := s.server.one(ctx, c); err != nil {
		return err
	}
	if n, ok := c.reply.(int64); ok {
		return fmt.Errorf("lane %d: %w", n, projections.ErrLaneLost)
	}
	counts := list(c.reply)
	if len(counts) != len(batch.Checkpoints) {
		return fmt.Errorf("unexpected answer %v", c.reply)
	}
	for i, cp := range batch.Checkpoints {
		n, _ := counts[i].(int64)
		s.moves.moved(cp, n)
	}
	return nil
}

// Parked implements projections.Sink.
func (s *Store) Parked(ctx context.Context) (out []projections.Parked, err error) {
	err = s.with(func() error {
		record, err := s.control(ctx)
		if err != nil {
			return err
		}
		for _, field := range slices.Sorted(maps.Keys(record)) {
			id, ok := strings.CutPrefix(field, "k")
			if !ok {
				continue
			}
			p := projections.Parked{OrderID: id}
			if json.Unmarshal([]byte(record[field]), &p) != nil || p.OrderID != id {
				p = projections.Parked{OrderID: id, Reason: "the record of why cannot be read"}
			}
			out = append(out, p)
		}
		return nil
	})
	return out, wrap(err, "read parked orders")
}

// documentsAtOnce bounds the documents of one round trip.
const documentsAtOnce = 512

// Documents implements projections.Sink. One that another program made unreadable
// is not there: the log has it, and the next event of the order writes it anew.
func (s *Store) Documents(ctx context.Context, ids []string) (map[string]view.Order, error) {
	found := make(map[string]view.Order, len(ids))
	err := s.with(func() error {
		for part := range slices.Chunk(ids, documentsAtOnce) {
			if err := s.documents(ctx, part, found); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, wrap(err, "read documents")
	}
	return found, nil
}

func (s *Store) documents(ctx context.Context, ids []string, found map[string]view.Order) error {
	values, err := s.values(ctx, ids)
	for id, value := range values {
		if doc, _, err := decodeOrder(id, value); err == nil {
			found[id] = doc
			s.heads.put(id, strings.Clone(value[:binary.BigEndian.Uint32([]byte(value))]))
		}
	}
	return err
}

// values are what is kept of these orders, in one round trip.
func (s *Store) values(ctx context.Context, ids []string) (map[string]string, error) {
	groups := map[int][]string{}
	for _, id := range ids {
		groups[bucketOf(id)] = append(groups[bucketOf(id)], id)
	}
	var calls []*call
	var asked [][]string
	for b, group := range groups {
		c := &call{command: "HMGET", keys: s.keys.orders[b][:1], args: []any{mark}}
		for _, id := range group {
			c.args = append(c.args, id)
		}
		calls, asked = append(calls, c), append(asked, group)
	}
	if err := s.server.all(ctx, calls); err != nil {
		return nil, err
	}
	found := make(map[string]string, len(ids))
	for i, c := range calls {
		values := list(c.reply)
		if len(values) != len(asked[i])+1 {
			return nil, fmt.Errorf("%d values of %d orders", len(values), len(asked[i]))
		}
		if err := s.ours(text(values[0]), c.keys[0]); err != nil {
			return nil, err
		}
		for k, id := range asked[i] {
			if value, ok := values[k+1].(string); ok {
				found[id] = value
			}
		}
	}
	return found, nil
}

// Refresh implements projections.Sink: what is written is visible at once, but for
// the list of top products, which is read anew.
func (s *Store) Refresh(ctx context.Context) error {
	return s.with(func() error {
		s.top.forget()
		return s.server.one(ctx, &call{script: &s.scripts.here, keys: []string{s.keys.control}, args: []any{s.nonce, controlKinds}})
	})
}

func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("orders views: %s: %w", fmt.Sprintf(format, args...), err)
}
