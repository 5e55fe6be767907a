package httpapi

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"hash/fnv"
	"io"
	"net/http"
	"sync"
	"time"

	json "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"golang.org/x/sync/semaphore"

	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore/codec"
)

// AdoptionLine is one line of the body of POST /v1/adoptions: an order of
// another system, or one numbered part of its history.
type AdoptionLine struct {
	ID      string          `json:"id"`
	Key     string          `json:"key,omitempty"` // idempotency key of this line
	First   int64           `json:"first,omitempty"`
	Last    bool            `json:"last,omitempty"`
	History jsontext.Value  `json:"history,omitempty"` // array of {"type","data"}: events in business order
	Claim   order.Claim     `json:"claim,omitzero"`
	Odd     []order.Anomaly `json:"odd,omitempty"`
}

// AdoptionAnswer is the answer to one line, in the order of the lines.
type AdoptionAnswer struct {
	Line int64  `json:"line"` // from 1
	ID   string `json:"id,omitempty"`
	Key  string `json:"key,omitempty"`
	// Status: adopted; repeated (it was there already); refused (sending it
	// again does not help); failed (send it again with this key).
	Status    string          `json:"status"`
	Revision  int64           `json:"revision,omitempty"`
	Events    int             `json:"events"` // written by this line
	Anomalies []order.Anomaly `json:"anomalies,omitempty"`
	Problem   *Problem        `json:"problem,omitempty"`
}

// adoption is a line on its way; its answer is ready when done is closed.
type adoption struct {
	answer AdoptionAnswer
	line   []byte
	done   chan struct{}
}

// adopt reads lines and answers them in their order while more are read. Lines
// of one order are handled one after the other, those of different orders at
// the same time. What it holds is bounded: lines read and not yet answered.
func (s *server) adopt(w http.ResponseWriter, r *request) error {
	if err := wantMediaType(r.Request, "application/x-ndjson"); err != nil {
		return err
	}
	if err := wantPlain(r.Request); err != nil {
		return err
	}
	if err := s.gates.enter(r, adoptions); err != nil {
		return err
	}
	r.exchange.streams = true
	control := http.NewResponseController(w)
	_ = control.EnableFullDuplex() // HTTP/2 has it anyway
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }()

	var (
		waiting = make(chan *adoption, 4*s.o.Limits.AdoptionWorkers)
		workers = make([]chan *adoption, s.o.Limits.AdoptionWorkers)
		working sync.WaitGroup
		memory  = semaphore.NewWeighted(s.o.Limits.AdoptionBytes) // of lines read and not answered
		ended   error                                             // of the body; read after waiting is closed
	)
	// flush and write are given up when nobody takes what is sent.
	flush := func() {
		_ = control.SetWriteDeadline(time.Now().Add(s.o.Limits.AdoptionIdle))
		_ = control.Flush()
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer working.Wait()
	defer cancel()
	for i := range workers {
		workers[i] = make(chan *adoption, 4)
		working.Go(func() {
			for a := range workers[i] {
				s.adoptOne(r, a)
				close(a.done)
			}
		})
	}
	working.Go(func() {
		defer close(waiting)
		defer func() {
			for _, worker := range workers {
				close(worker)
			}
		}()
		ended = s.readAdoptions(ctx, r, control, memory, waiting, workers)
	})

	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	for a := range waiting {
		select {
		case <-a.done:
		default: // somebody may wait for what is there
			flush()
			<-a.done
		}
		memory.Release(int64(len(a.line)))
		if a.answer.Problem != nil {
			a.answer.Problem.TraceID = r.traceID
		}
		line, err := json.Marshal(a.answer, json.Deterministic(true))
		if err != nil {
			return err
		}
		_ = control.SetWriteDeadline(time.Now().Add(s.o.Limits.AdoptionIdle))
		if _, err := w.Write(append(line, '\n')); err != nil {
			cancel()
			for range waiting { // the reader stops by itself
			}
			return nil
		}
		if len(waiting) == 0 {
			flush()
		}
	}
	if ended != nil {
		// The status is sent: a connection that breaks off is the only way left
		// to say that lines are missing.
		s.o.Logger.WarnContext(r.Context(), "adoptions ended early", "traceId", r.traceID, "error", ended)
		flush()
		panic(http.ErrAbortHandler)
	}
	return nil
}

// readAdoptions deals lines to workers by order id until the body ends.
func (s *server) readAdoptions(ctx context.Context, r *request, control *http.ResponseController, memory *semaphore.Weighted, waiting chan<- *adoption, workers []chan *adoption) error {
	body := bufio.NewReaderSize(r.Body, 64<<10)
	for number := int64(1); ; number++ {
		if buffered, _ := body.Peek(body.Buffered()); bytes.IndexByte(buffered, '\n') < 0 {
			_ = control.SetReadDeadline(time.Now().Add(s.o.Limits.AdoptionIdle))
		}
		line, tooLong, err := readLine(body, s.o.Limits.AdoptionLineBytes)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		ended := err != nil
		if ended {
			// Only now: a body that is given up must not be waited for again.
			_ = control.SetReadDeadline(time.Time{})
		}
		if len(bytes.TrimSpace(line)) == 0 && !tooLong {
			if ended {
				return nil
			}
			continue
		}
		a := &adoption{line: line, done: make(chan struct{}), answer: AdoptionAnswer{Line: number}}
		if tooLong {
			a.refuse(problem("body-too-large", "at most %d bytes are taken in one line", s.o.Limits.AdoptionLineBytes))
			close(a.done)
		}
		if err := memory.Acquire(ctx, int64(len(line))); err != nil {
			return err
		}
		select {
		case waiting <- a:
		case <-ctx.Done():
			return ctx.Err()
		}
		if !tooLong {
			// A worker never waits for anything but the store, so this ends.
			workers[workerOf(line, len(workers))] <- a
		}
		if ended {
			return nil
		}
	}
}

// workerOf sends lines of one order to one worker. A line whose id cannot be
// seen is refused by whichever gets it.
func workerOf(line []byte, n int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(idOf(line)))
	return int(h.Sum32() % uint32(n))
}

// idOf reads no further than the id, which mostly comes first.
func idOf(line []byte) string {
	dec := jsontext.NewDecoder(bytes.NewReader(line))
	if begin, err := dec.ReadToken(); err != nil || begin.Kind() != '{' {
		return ""
	}
	for {
		name, err := dec.ReadToken()
		if err != nil || name.Kind() != '"' {
			return ""
		}
		if name.String() != "id" {
			if dec.SkipValue() != nil {
				return ""
			}
			continue
		}
		id, err := dec.ReadToken()
		if err != nil {
			return ""
		}
		return id.String()
	}
}

// readLine reads a line of at most limit bytes, without its end. Of a longer
// one the rest is passed over.
func readLine(r *bufio.Reader, limit int) (line []byte, tooLong bool, err error) {
	for {
		piece, err := r.ReadSlice('\n')
		if !tooLong {
			line = append(line, piece...)
		}
		if len(bytes.TrimRight(line, "\r\n")) > limit {
			line, tooLong = nil, true
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return bytes.TrimRight(line, "\r\n"), tooLong, err
		}
	}
}

// adoptOne handles one line and fills its answer.
func (s *server) adoptOne(r *request, a *adoption) {
	defer func() {
		if broken := recover(); broken != nil {
			s.o.Logger.ErrorContext(r.Context(), "adoption", "traceId", r.traceID, "line", a.answer.Line, "panic", broken)
			a.answer.Status, a.answer.Problem = "failed", problem("internal", "")
		}
	}()
	cmd, err := readAdoption(a)
	if err != nil {
		a.refuse(problemOf(err))
		return
	}
	req := command.Request{
		CommandID:   command.KeyID(r.who.name, a.answer.ID, a.answer.Key),
		Fingerprint: fingerprint("ADOPT", a.answer.ID, a.line),
		Actor:       r.who.name, TraceParent: r.traceParent, CausationID: r.causation,
	}
	req.CorrelationID = cmp.Or(r.correlation, req.CommandID.String())
	result, err := s.handle(r.Context(), a.answer.ID, cmd, req)
	if err != nil {
		p := problemOf(err)
		if p.Status < 500 {
			a.refuse(p)
			return
		}
		if p.cause != nil && p.Code == "internal" {
			s.o.Logger.ErrorContext(r.Context(), "adoption", "traceId", r.traceID, "line", a.answer.Line, "error", p.cause)
		}
		a.answer.Status, a.answer.Problem = "failed", p
		return
	}
	a.answer.Status, a.answer.Revision = "adopted", int64(result.Revision)
	if result.Replayed || len(result.Events) == 0 {
		a.answer.Status = "repeated"
	} else {
		a.answer.Events = len(result.Events)
	}
	for _, e := range result.Events {
		if completed, ok := e.Event.(order.AdoptionCompleted); ok {
			a.answer.Anomalies = completed.Anomalies
		}
	}
}

var adoptionReader = readerOf[AdoptionLine]()

func readAdoption(a *adoption) (order.Adopt, error) {
	line, err := adoptionReader.read(a.line)
	if err != nil {
		return order.Adopt{}, err
	}
	if !order.ValidID(line.ID) {
		return order.Adopt{}, order.ErrID.At("/id")
	}
	a.answer.ID = line.ID
	switch {
	case line.Key == "":
		line.Key = uuid.Must(uuid.NewV7()).String()
	case len(line.Key) > 255 || !visible(line.Key):
		return order.Adopt{}, problem("invalid-body", "/key: want 1 to 255 visible ASCII characters").at("/key", "want 1 to 255 visible ASCII characters")
	}
	a.answer.Key = line.Key
	cmd := order.Adopt{First: line.First, Last: line.Last, Claim: line.Claim, Odd: line.Odd}
	if len(line.History) == 0 || line.History.Kind() == 'n' {
		return cmd, nil
	}
	if cmd.History, err = codec.UnmarshalHistory(line.History); err != nil {
		var where *codec.HistoryError
		if !errors.As(err, &where) {
			return order.Adopt{}, problem("invalid-body", "/history: %v", err).at("/history", err.Error())
		}
		pointer := "/history" + where.Pointer
		return order.Adopt{}, problem("invalid-body", "%s: %v", pointer, where.Err).at(pointer, where.Err.Error())
	}
	return cmd, nil
}

func (a *adoption) refuse(p *Problem) {
	a.answer.Status, a.answer.Problem = "refused", p
}
