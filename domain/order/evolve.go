package order

// Evolve folds one event into the state. Each event costs at most a copy of
// one bounded list, so that a long history folds in linear time.
func Evolve(s State, e Event) State {
	s.Adoption = s.Adoption.after(&s, e)
	switch e := e.(type) {
	case Placed:
		s.Kind, s.Status, s.Currency = e.Kind, StatusPlaced, e.Currency
		s.PlacedAt, s.Placing = e.At, placedContent(e)
		s.Lines = make([]*LineState, len(e.Lines))
		for i, l := range e.Lines {
			s.Lines[i] = &LineState{Line: l}
		}
		s.Shipping, s.Discount, s.Tax = e.Shipping, e.Discount, e.Tax
		s.Address, s.Tags, s.Metadata = e.ShippingAddress, e.Tags, e.Metadata
	case Confirmed:
		if s.Status == StatusPlaced {
			s.Status = StatusConfirmed
		}
	case Cancelled:
		s.Status = StatusCancelled
	case AdoptionCompleted:

	case ShippingAddressChanged:
		s.Address = &e.Address
	case TagsSet:
		s.Tags = e.Tags
	case MetadataSet:
		s.Metadata = e.Metadata
	case NoteAdded:
		s.Notes = added(s.Notes, Used{e.NoteID, noteContent(e.Text, e.Author)})

	case EditProposed:
		s.Edits = added(s.Edits, &EditState{ID: e.EditID, Changes: e.Changes, Content: editContent(e.Changes, e.Reason)})
	case EditConfirmed:
		s.Edits = changed(s.Edits, e.EditID, func(x *EditState) { x.Progress, x.Changes = done, nil })
		s.Lines = relined(s.Lines, e.Lines)
	case EditDeclined:
		s.Edits = changed(s.Edits, e.EditID, func(x *EditState) { x.Progress, x.Changes = refused, nil })

	case HoldPlaced:
		s.Holds = added(s.Holds, &HoldState{ID: e.HoldID, Content: holdContent(e.Reason)})
	case HoldReleased:
		s.Holds = changed(s.Holds, e.HoldID, func(h *HoldState) { h.Progress = done })

	case PaymentAuthorised:
		s = s.authorised(e)
	case PaymentCaptured:
		s = s.capturedMore(e)
	case PaymentFailed:
		if find(s.Payments, e.PaymentID) == nil {
			s.Payments = added(s.Payments, &PaymentState{ID: e.PaymentID})
		}
		s.Payments = changed(s.Payments, e.PaymentID, func(p *PaymentState) { p.Progress = refused })
	case PaymentVoided:
		s.Payments = changed(s.Payments, e.PaymentID, func(p *PaymentState) { p.Progress = voided })

	case ShipmentDispatched:
		s = s.dispatched(e)
	case ShipmentUpdated:
		s.Shipments = changed(s.Shipments, e.ShipmentID, func(sh *ShipmentState) {
			sh.Carrier, sh.Tracking = e.Carrier, e.TrackingNumber
		})
	case ShipmentDelivered:
		s = s.delivered(e)

	case ReturnRequested:
		s.Returns = added(s.Returns, &ReturnState{ID: e.ReturnID, Lines: e.Lines, Content: returnContent(e.Lines, e.Reason)})
		s.Lines = counted(s.Lines, e.Lines, func(l *LineState, n int64) { l.Asked += n })
	case ReturnReceived:
		s = s.returnEnded(e.ReturnID, done, returnedContent(e.Lines))
		s.Lines = counted(s.Lines, unitsOf(e.Lines), func(l *LineState, n int64) { l.Returned += n })
	case ReturnRejected:
		s = s.returnEnded(e.ReturnID, refused, 0)

	case RefundGranted:
		s.Refunds = added(s.Refunds, &RefundState{ID: e.RefundID, PaymentID: e.PaymentID, Amount: e.Amount,
			Content: refundContent(e.PaymentID, e.ReturnID, e.Amount, e.Reason)})
		s.Payments = changed(s.Payments, e.PaymentID, func(p *PaymentState) { p.Granted = p.Granted.Add(e.Amount) })
	case RefundCompleted:
		s = s.refundEnded(e.RefundID, done)
	case RefundFailed:
		s = s.refundEnded(e.RefundID, refused)

	case LinesCancelled:
		s.Cancels = added(s.Cancels, Used{e.CancellationID, cancellationContent(e.Lines, e.Reason)})
		s.Lines = shortened(s.Lines, e.Lines)
		s.Discount, s.Tax = e.Discount, e.Tax
	}
	return s
}

// relined puts new lines in force; what happened to units of a line stays.
func relined(before []*LineState, lines []Line) []*LineState {
	at := positions(before)
	after := make([]*LineState, len(lines))
	for i, l := range lines {
		after[i] = &LineState{Line: l}
		if k := at(l.ID); k >= 0 {
			after[i].Shipped, after[i].Delivered = before[k].Shipped, before[k].Delivered
			after[i].Asked, after[i].Returned = before[k].Asked, before[k].Returned
		}
	}
	return after
}

// shortened takes units off the lines. A line of which nothing is left goes.
func shortened(before []*LineState, units []LineQuantity) []*LineState {
	named := make(map[string]bool, len(units))
	for _, u := range units {
		named[u.LineID] = true
	}
	var after []*LineState
	for _, l := range counted(before, units, func(l *LineState, n int64) { l.Quantity -= n }) {
		if l.Quantity != 0 || l.Shipped != 0 || !named[l.ID] {
			after = append(after, l)
		}
	}
	return after
}

func (s State) authorised(e PaymentAuthorised) State {
	if find(s.Payments, e.PaymentID) == nil {
		s.Payments = added(s.Payments, &PaymentState{ID: e.PaymentID,
			Content: paymentContent(false, e.Method, e.Amount, e.Reference)})
	}
	s.Payments = changed(s.Payments, e.PaymentID, func(p *PaymentState) { p.Authorised = e.Amount })
	return s
}

func (s State) capturedMore(e PaymentCaptured) State {
	if find(s.Payments, e.PaymentID) == nil {
		s.Payments = added(s.Payments, &PaymentState{ID: e.PaymentID,
			Content: paymentContent(true, e.Method, e.Amount, e.Reference)})
	}
	s.Payments = changed(s.Payments, e.PaymentID, func(p *PaymentState) {
		p.Captured = p.Captured.Add(e.Amount)
		if e.CaptureID != "" {
			p.Captures = added(p.Captures, Used{e.CaptureID, captureContent(e.Amount, e.Reference)})
		}
	})
	return s
}

// dispatched counts the units as shipped. A parcel whose delivery came first
// (adopted history) counts them as delivered too, unless its delivery named
// units itself.
func (s State) dispatched(e ShipmentDispatched) State {
	early := find(s.Shipments, e.ShipmentID)
	if early == nil {
		s.Shipments = added(s.Shipments, &ShipmentState{ID: e.ShipmentID, Lines: e.Lines})
	}
	s.Shipments = changed(s.Shipments, e.ShipmentID, func(sh *ShipmentState) {
		sh.SentAt, sh.Carrier, sh.Tracking = e.At, e.Carrier, e.TrackingNumber
		sh.Parcel, sh.Units = parcelContent(e.Carrier, e.TrackingNumber), contentOf("units").units(e.Lines)
	})
	if early != nil && early.Told {
		return s
	}
	s.Lines = counted(s.Lines, e.Lines, func(l *LineState, n int64) {
		l.Shipped += n
		if early != nil {
			l.Delivered += n
		}
	})
	return s
}

// delivered counts the parcel's units as delivered. Of a parcel that is not
// known to have left (adopted history), they are the ones the delivery names,
// and had been shipped.
func (s State) delivered(e ShipmentDelivered) State {
	sent := find(s.Shipments, e.ShipmentID)
	switch {
	case sent == nil:
		s.Shipments = added(s.Shipments, &ShipmentState{ID: e.ShipmentID, ArrivedAt: e.At, Told: len(e.Lines) > 0})
		s.Lines = counted(s.Lines, e.Lines, func(l *LineState, n int64) { l.Shipped += n; l.Delivered += n })
	case sent.underway():
		s.Shipments = changed(s.Shipments, e.ShipmentID, func(sh *ShipmentState) { sh.ArrivedAt, sh.Lines = e.At, nil })
		s.Lines = counted(s.Lines, sent.Lines, func(l *LineState, n int64) { l.Delivered += n })
	}
	return s
}

// returnEnded takes what was asked off the lines.
func (s State) returnEnded(id string, how progress, received content) State {
	r := find(s.Returns, id)
	if r == nil || !r.open() {
		return s
	}
	s.Lines = counted(s.Lines, r.Lines, func(l *LineState, n int64) { l.Asked -= n })
	s.Returns = changed(s.Returns, id, func(r *ReturnState) { r.Progress, r.Lines, r.Received = how, nil, received })
	return s
}

func (s State) refundEnded(id string, how progress) State {
	r := find(s.Refunds, id)
	if r == nil || !r.open() {
		return s
	}
	s.Refunds = changed(s.Refunds, id, func(r *RefundState) { r.Progress = how })
	s.Payments = changed(s.Payments, r.PaymentID, func(p *PaymentState) {
		p.Granted = p.Granted.Sub(r.Amount)
		if how == done {
			p.Refunded = p.Refunded.Add(r.Amount)
		}
	})
	return s
}

// unitsOf drops the condition.
func unitsOf(lines []ReturnedLine) []LineQuantity {
	out := make([]LineQuantity, len(lines))
	for i, l := range lines {
		out[i] = LineQuantity{l.LineID, l.Quantity}
	}
	return out
}
