package command

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
)

const (
	// DefaultSnapshotEvery so many events a snapshot is written: with a tail of
	// half as many a long order loads about as fast as one of ten events. A
	// snapshot costs as much as folding forty.
	DefaultSnapshotEvery = 16
	// DefaultAuditEvery so many loads from a snapshot one is audited.
	DefaultAuditEvery = 500
	// snapshotQueue bounds the snapshots that wait for the worker; more are
	// left out.
	snapshotQueue = 64
	// snapshotTimeout bounds one write.
	snapshotTimeout = 10 * time.Second
)

// snapshots writes and reads the snapshots of one kind of aggregate. Nothing
// here fails a command: what goes wrong is logged and counted, and the log is
// read instead.
type snapshots[S any] struct {
	store      Snapshots // nil: none are kept
	schema     uint32    // number of the state's shape
	every      int
	auditEvery int64
	logger     *slog.Logger
	count      *counters
	loads      atomic.Int64

	queue   chan snapshotJob[S]
	closing sync.RWMutex // held while queueing
	closed  bool
	done    chan struct{}
}

type snapshotJob[S any] struct {
	stream string
	a      aggregate[S]
}

func (s *snapshots[S]) start() {
	s.queue, s.done = make(chan snapshotJob[S], snapshotQueue), make(chan struct{})
	go s.work()
}

// close writes what is queued and ends the worker.
func (s *snapshots[S]) close() {
	s.closing.Lock()
	if !s.closed {
		s.closed = true
		close(s.queue)
	}
	s.closing.Unlock()
	<-s.done
}

func (s *snapshots[S]) work() {
	defer close(s.done)
	for job := range s.queue {
		if err := s.write(job); err != nil {
			s.count.snapshotFailures.Add(1)
			s.logger.Warn("snapshot not written", "stream", job.stream, "revision", job.a.revision, "error", err)
			continue
		}
		s.count.snapshotsWritten.Add(1)
	}
}

func (s *snapshots[S]) write(job snapshotJob[S]) error {
	data, err := encodeSnapshot(s.schema, job.stream, job.a)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), snapshotTimeout)
	defer cancel()
	return s.store.Save(ctx, job.stream, int64(job.a.revision), data)
}

// worthwhile reports whether a stream that long may have a snapshot.
func (s *snapshots[S]) worthwhile(last eventstore.Revision) bool {
	return s.store != nil && int(last)+1 >= s.every
}

// committed queues a snapshot when the last events filled up a round number.
func (s *snapshots[S]) committed(stream string, events int, a aggregate[S]) {
	length := int(a.revision) + 1
	if s.store != nil && length/s.every != (length-events)/s.every {
		s.save(stream, a)
	}
}

func (s *snapshots[S]) save(stream string, a aggregate[S]) {
	s.closing.RLock()
	defer s.closing.RUnlock()
	if s.closed {
		return
	}
	select {
	case s.queue <- snapshotJob[S]{stream, a}:
	default:
		s.count.snapshotSkip.Add(1)
	}
}

// load returns the stored snapshot when it can be used.
func (s *snapshots[S]) load(ctx context.Context, stream string) (a aggregate[S], ok bool) {
	revision, data, ok, err := s.store.Load(ctx, stream)
	if err != nil {
		s.logger.Warn("snapshot not read", "stream", stream, "error", err)
		return a, false
	}
	if !ok {
		return a, false
	}
	a, err = decodeSnapshot[S](s.schema, stream, data)
	if err == nil && int64(a.revision) != revision {
		err = fmt.Errorf("it is of revision %d, stored as %d", a.revision, revision)
	}
	if err != nil {
		s.drop(ctx, stream, err.Error())
		return a, false
	}
	return a, true
}

// auditDue reports whether this load is one to audit.
func (s *snapshots[S]) auditDue() bool { return s.loads.Add(1)%s.auditEvery == 0 }

// equal compares what two aggregates would be stored as.
func (s *snapshots[S]) equal(stream string, a, b aggregate[S]) bool {
	x, err1 := encodeSnapshot(s.schema, stream, a)
	y, err2 := encodeSnapshot(s.schema, stream, b)
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}

func (s *snapshots[S]) drop(ctx context.Context, stream, reason string) {
	s.logger.Warn("snapshot dropped", "stream", stream, "reason", reason)
	if err := s.store.Drop(ctx, stream); err != nil {
		s.logger.Warn("snapshot not dropped", "stream", stream, "error", err)
	}
}

// A snapshot is, in big-endian order: magic, schema (4 bytes), revision (8), id
// of the last event (16), its recordedAt in microseconds (8), the number of
// remembered commands (4) and these (44 each), the state as JSON, and a CRC-32C
// (4) of the stream's name and everything before.
const snapshotMagic = "DKS1"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encodeSnapshot[S any](schema uint32, stream string, a aggregate[S]) ([]byte, error) {
	state, err := json.Marshal(a.state, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encode state: %w", err)
	}
	b := make([]byte, 0, 64+len(a.commands)+len(state))
	b = append(b, snapshotMagic...)
	b = binary.BigEndian.AppendUint32(b, schema)
	b = binary.BigEndian.AppendUint64(b, uint64(a.revision))
	b = append(b, a.lastID[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(a.recordedAt.UnixMicro()))
	b = a.commands.appendBinary(b)
	b = append(b, state...)
	return binary.BigEndian.AppendUint32(b, snapshotSum(stream, b)), nil
}

func decodeSnapshot[S any](schema uint32, stream string, b []byte) (a aggregate[S], err error) {
	const head = len(snapshotMagic) + 4 + 8 + 16 + 8
	if len(b) < head+4 || string(b[:4]) != snapshotMagic {
		return a, errors.New("it is not a snapshot")
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if snapshotSum(stream, body) != sum {
		return a, errors.New("its checksum is wrong")
	}
	if is := binary.BigEndian.Uint32(body[4:]); is != schema {
		return a, fmt.Errorf("its schema is %d, not %d", is, schema)
	}
	a.revision = eventstore.Revision(binary.BigEndian.Uint64(body[8:]))
	a.lastID = uuid.UUID(body[16:32])
	a.recordedAt = time.UnixMicro(int64(binary.BigEndian.Uint64(body[32:]))).UTC()
	commands, state, ok := readMemory(body[head:])
	if !ok {
		return a, errors.New("its list of commands is broken")
	}
	a.commands = commands
	if err := json.Unmarshal(state, &a.state, json.RejectUnknownMembers(true)); err != nil {
		return a, fmt.Errorf("its state cannot be read: %w", err)
	}
	return a, nil
}

func snapshotSum(stream string, b []byte) uint32 {
	return crc32.Update(crc32.Checksum([]byte(stream), castagnoli), castagnoli, b)
}
