package order

// dispatch sends a parcel of a confirmed order that nothing holds back.
func dispatch(s State, c Dispatch) ([]Event, error) {
	var k check
	at := k.time(c.At, "/at")
	k.newID(c.ShipmentID, "/shipmentId")
	k.units(c.Lines, "/lines")
	k.words(c.Carrier, "/carrier")
	k.words(c.TrackingNumber, "/trackingNumber")
	if err := s.accepts(&k, at); err != nil {
		return nil, err
	}
	everything := len(c.Lines) == 0
	if sh := find(s.Shipments, c.ShipmentID); sh != nil {
		// What everything was, only the first answer knows.
		same := everything || sh.Units == contentOf("units").units(c.Lines)
		return repeated(same && sh.Parcel == parcelContent(c.Carrier, c.TrackingNumber), "/shipmentId")
	}
	switch {
	case s.Status == StatusCancelled:
		return nil, ErrCancelled
	case s.Status != StatusConfirmed:
		return nil, ErrNotConfirmed
	case s.held():
		return nil, ErrHeld
	case len(s.Shipments) >= MaxEntities:
		return nil, ErrTooMany.With("shipments")
	}
	rest := s.unshipped()
	if rest == nil {
		return nil, ErrNothingToShip
	}
	if everything {
		c.Lines = rest
	}
	if err := s.has(c.Lines, (*LineState).unshipped); err != nil {
		return nil, err
	}
	return []Event{ShipmentDispatched{ShipmentID: c.ShipmentID, Lines: c.Lines, Carrier: c.Carrier, TrackingNumber: c.TrackingNumber, At: at}}, nil
}

// updateShipment corrects the carrier or the tracking number; what is not
// given stays.
func updateShipment(s State, c UpdateShipment) ([]Event, error) {
	var k check
	at := k.time(c.At, "/at")
	k.id(c.ShipmentID, "/shipmentId")
	k.words(c.Carrier, "/carrier")
	k.words(c.TrackingNumber, "/trackingNumber")
	k.that(c.Carrier+c.TrackingNumber != "", ErrTextMissing, "/trackingNumber")
	if err := s.accepts(&k, at); err != nil {
		return nil, err
	}
	sh := find(s.Shipments, c.ShipmentID)
	if sh == nil {
		return nil, ErrUnknownShipment
	}
	if c.Carrier == "" {
		c.Carrier = sh.Carrier
	}
	if c.TrackingNumber == "" {
		c.TrackingNumber = sh.Tracking
	}
	if c.Carrier == sh.Carrier && c.TrackingNumber == sh.Tracking {
		return nil, nil
	}
	return []Event{ShipmentUpdated{ShipmentID: c.ShipmentID, Carrier: c.Carrier, TrackingNumber: c.TrackingNumber, At: at}}, nil
}

// deliver notes that a parcel arrived.
func deliver(s State, c Deliver) ([]Event, error) {
	var k check
	at := k.time(c.At, "/at")
	k.id(c.ShipmentID, "/shipmentId")
	if err := s.accepts(&k, at); err != nil {
		return nil, err
	}
	sh := find(s.Shipments, c.ShipmentID)
	if sh == nil {
		return nil, ErrUnknownShipment
	}
	if !sh.underway() {
		return nil, nil
	}
	return []Event{ShipmentDelivered{ShipmentID: c.ShipmentID, At: at}}, nil
}
