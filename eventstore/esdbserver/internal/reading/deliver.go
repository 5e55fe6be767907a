package reading

import (
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

// An entry has a form for each way to ask for it.
const (
	formText  = 1 << iota // ids as text
	formLinks             // links resolved
	forms     = 4
)

// deliver sends a record in the form that was asked for.
func (a *answer) deliver(rec *eventstore.Record) error {
	if !a.resolveLinks || rec.Type != wire.TypeLink {
		return a.out.SendMsg(a.encoder.frame(rec, false, nil))
	}
	if !a.mayResolve(rec) {
		return a.out.SendMsg(a.encoder.frame(rec, true, nil))
	}
	f, err := a.resolved(rec)
	if err != nil {
		return err
	}
	return a.out.SendMsg(f)
}

// deliverEntry does so with what all who follow share.
func (a *answer) deliverEntry(e *entry) error {
	if e.run == nil {
		return a.deliver(&e.record)
	}
	form := 0
	if a.textIDs {
		form |= formText
	}
	if !a.resolveLinks || e.record.Type != wire.TypeLink {
		f := e.forms[form].Load()
		if f == nil {
			// Two may do this at once; one of the two frames is kept.
			f = (&encoder{textIDs: a.textIDs}).alone(&e.record, false, nil)
			e.run.keep(e, form, f)
		}
		return a.out.SendMsg(f)
	}
	if !a.mayResolve(&e.record) {
		return a.deliver(&e.record)
	}
	f, err := a.sharedLink(e, form|formLinks)
	if err != nil {
		return err
	}
	return a.out.SendMsg(f)
}

func (a *answer) mayResolve(rec *eventstore.Record) bool {
	stream, _, isLink := wire.ParseLink(*rec)
	return !isLink || a.Guard.Resolves(a.ctx, stream)
}

// sharedLink resolves a link once for all who may see what it names.
func (a *answer) sharedLink(e *entry, form int) (*frame, error) {
	e.links.Lock()
	defer e.links.Unlock()
	if f := e.forms[form].Load(); f != nil {
		return f, nil
	}
	f, err := a.resolved(&e.record)
	if err == nil {
		e.run.keep(e, form, f)
	}
	return f, err
}

func (a *answer) resolved(rec *eventstore.Record) (*frame, error) {
	target, isLink, err := wire.Resolve(a.ctx, a.Store, *rec)
	if err != nil {
		return nil, a.failed(err)
	}
	return (&encoder{textIDs: a.textIDs}).alone(rec, isLink, target), nil
}

func (a *answer) confirm() error {
	return a.out.Send(&streams.ReadResp{Content: &streams.ReadResp_Confirmation{
		Confirmation: &streams.ReadResp_SubscriptionConfirmation{SubscriptionId: uuid.NewString()},
	}})
}

func (a *answer) caughtUp() error {
	return a.out.Send(&streams.ReadResp{Content: &streams.ReadResp_CaughtUp_{CaughtUp: &streams.ReadResp_CaughtUp{}}})
}

func (a *answer) checkpoint(p eventstore.Position) error {
	return a.out.Send(&streams.ReadResp{Content: &streams.ReadResp_Checkpoint_{
		Checkpoint: &streams.ReadResp_Checkpoint{CommitPosition: p.Commit, PreparePosition: p.Prepare},
	}})
}

func (a *answer) streamNotFound() error {
	return a.out.Send(&streams.ReadResp{Content: &streams.ReadResp_StreamNotFound_{
		StreamNotFound: &streams.ReadResp_StreamNotFound{StreamIdentifier: wire.Stream(a.stream)},
	}})
}
