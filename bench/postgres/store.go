package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// store keeps the part of the port that commands need. An append is one round
// trip, one statement and one transaction. Two ways give a global order that a
// reader can follow without skipping an event:
//
//   - lock: positions 1, 2, 3 ... without a gap, as in docket. They are given
//     under an advisory lock that is held until the commit, so commits follow
//     each other;
//   - snapshot: the number of the transaction and a sequence. Commits go side by
//     side; a reader has to stay below pg_snapshot_xmin(pg_current_snapshot()),
//     and positions have gaps.
type store struct {
	pool *pgxpool.Pool
	log  eventstore.LogIdentity
}

const schema = `
CREATE TABLE events (
	position bigint NOT NULL,
	tx       xid8   NOT NULL DEFAULT pg_current_xact_id(),
	stream   text   NOT NULL,
	revision bigint NOT NULL,
	id       uuid   NOT NULL,
	type     text   NOT NULL,
	data     bytea  NOT NULL,
	metadata bytea  NOT NULL,
	created  timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (%[1]s),
	UNIQUE (stream, revision)
);
CREATE SEQUENCE positions;
CREATE FUNCTION append(wanted text, expected bigint, ids uuid[], types text[], datas bytea[], metadatas bytea[])
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE last bigint;
BEGIN
	IF expected >= 0 AND NOT EXISTS (SELECT FROM events WHERE stream = wanted AND revision = expected) THEN
		RAISE unique_violation;
	END IF;
	%[2]s
	RETURN last + cardinality(ids);
END $$;`

const insert = `
	INSERT INTO events (position, stream, revision, id, type, data, metadata)
	SELECT %s, wanted, expected + n, id, type, data, metadata
	FROM unnest(ids, types, datas, metadatas) WITH ORDINALITY AS e (id, type, data, metadata, n);`

// orders are the two ways: the primary key and the body of append.
var orders = map[string][2]string{
	"lock": {"position", `PERFORM pg_advisory_xact_lock(1);
	SELECT coalesce(max(position), 0) INTO last FROM events;` + fmt.Sprintf(insert, "last + n")},
	"snapshot": {"tx, position", fmt.Sprintf(insert, "nextval('positions')") + `
	last := currval('positions') - cardinality(ids);`},
}

// connections is as many as serve 64 clients best on few processors.
const connections = 32

func open(ctx context.Context, url, order string) (*store, error) {
	way, ok := orders[order]
	if !ok {
		return nil, fmt.Errorf("there is no order %q", order)
	}
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = connections
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	if _, err := pool.Exec(ctx, fmt.Sprintf(schema, way[0], way[1])); err != nil {
		pool.Close()
		return nil, fmt.Errorf("create the table: %w", err)
	}
	return &store{pool: pool, log: eventstore.LogIdentity{ID: uuid.New(), Epoch: 1}}, nil
}

func (s *store) Append(ctx context.Context, stream string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error) {
	if expected < eventstore.NoStream {
		return eventstore.Appended{}, errors.New("only exact expectations are kept")
	}
	n := len(events)
	ids, types, datas, metadatas := make([]uuid.UUID, n), make([]string, n), make([][]byte, n), make([][]byte, n)
	for i, e := range events {
		ids[i], types[i], datas[i], metadatas[i] = e.ID, e.Type, e.Data, e.Metadata
	}
	var position uint64
	err := s.pool.QueryRow(ctx, `SELECT append($1, $2, $3, $4, $5, $6)`, stream, int64(expected), ids, types, datas, metadatas).Scan(&position)
	var refused *pgconn.PgError
	switch {
	case errors.As(err, &refused) && refused.Code == "23505": // unique_violation
		return s.repeated(ctx, stream, expected, events)
	case errors.As(err, &refused):
		return eventstore.Appended{}, err
	case err != nil:
		return eventstore.Appended{}, fmt.Errorf("%w: %w", eventstore.ErrOutcomeUnknown, err)
	}
	return eventstore.Appended{Revision: eventstore.Revision(expected) + eventstore.Revision(n), Position: eventstore.At64(position)}, nil
}

// repeated tells an append that is there already from a conflict.
func (s *store) repeated(ctx context.Context, stream string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error) {
	out := eventstore.Appended{Revision: eventstore.Revision(expected), Repeated: true}
	for r, err := range s.ReadStream(ctx, stream, out.Revision+1, eventstore.Forwards, len(events)) {
		if err != nil {
			return eventstore.Appended{}, err
		}
		out.Revision++
		if r.ID != events[r.Revision-eventstore.Revision(expected)-1].ID {
			break
		}
		out.Position = r.Position
	}
	if out.Revision != eventstore.Revision(expected)+eventstore.Revision(len(events)) {
		return eventstore.Appended{}, &eventstore.ConflictError{Stream: stream, Expected: expected, Current: eventstore.At(out.Revision)}
	}
	return out, nil
}

func (s *store) ReadStream(ctx context.Context, stream string, from eventstore.Revision, dir eventstore.Direction, limit int) iter.Seq2[eventstore.Record, error] {
	text := `SELECT position, revision, id, type, data, metadata, created FROM events WHERE stream = $1 AND revision >= $2 ORDER BY revision`
	if dir == eventstore.Backwards {
		text = `SELECT position, revision, id, type, data, metadata, created FROM events WHERE stream = $1 AND revision <= $2 ORDER BY revision DESC`
	}
	if limit > 0 {
		text += fmt.Sprintf(" LIMIT %d", limit)
	}
	return func(yield func(eventstore.Record, error) bool) {
		rows, err := s.pool.Query(ctx, text, stream, int64(from))
		if err != nil {
			yield(eventstore.Record{}, err)
			return
		}
		defer rows.Close()
		found := false
		for rows.Next() {
			found = true
			r, err := record(rows, stream)
			if !yield(r, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(eventstore.Record{}, err)
		} else if !found && from <= 0 || !found && from == eventstore.EndRevision {
			yield(eventstore.Record{}, eventstore.ErrStreamNotFound)
		}
	}
}

func record(rows pgx.Rows, stream string) (eventstore.Record, error) {
	r := eventstore.Record{Stream: stream, Event: eventstore.Event{JSON: true}}
	var position uint64
	var created time.Time
	err := rows.Scan(&position, &r.Revision, &r.ID, &r.Type, &r.Data, &r.Metadata, &created)
	r.Position, r.Created = eventstore.At64(position), created
	return r, err
}

func (s *store) Head(ctx context.Context) (p eventstore.Position, err error) {
	var position uint64
	err = s.pool.QueryRow(ctx, `SELECT coalesce(max(position), 0) FROM events`).Scan(&position)
	return eventstore.At64(position), err
}

func (s *store) Log(context.Context) (eventstore.LogIdentity, error) { return s.log, nil }

func (s *store) Close() error { s.pool.Close(); return nil }

// errLeftOut is the answer of what commands do not need.
var errLeftOut = errors.New("left out of the benchmark")

func (s *store) ReadAll(context.Context, eventstore.Position, eventstore.Direction, eventstore.Filter, int) iter.Seq2[eventstore.Record, error] {
	return func(yield func(eventstore.Record, error) bool) { yield(eventstore.Record{}, errLeftOut) }
}

func (s *store) Subscribe(context.Context, eventstore.Position, eventstore.Filter) (eventstore.Subscription, error) {
	return nil, errLeftOut
}

func (s *store) StreamMetadata(context.Context, string) (eventstore.StreamMetadata, eventstore.Expected, error) {
	return eventstore.StreamMetadata{}, eventstore.NoStream, nil
}

func (s *store) SetStreamMetadata(context.Context, string, eventstore.Expected, eventstore.StreamMetadata) (eventstore.Appended, error) {
	return eventstore.Appended{}, errLeftOut
}

func (s *store) Delete(context.Context, string, eventstore.Expected) (eventstore.Position, error) {
	return eventstore.Position{}, errLeftOut
}

func (s *store) Tombstone(context.Context, string, eventstore.Expected) (eventstore.Position, error) {
	return eventstore.Position{}, errLeftOut
}
