package eventstore

// Guarded is a Store that can tell beforehand whether it takes appends.
type Guarded interface {
	Store
	// Refusal is why appends are refused from now on, and what to do about it, in
	// one line; nil while they are taken. It matches ErrReadOnly.
	Refusal() error
}

// RefusalOf is the Refusal of a store that is Guarded, and nil of any other.
func RefusalOf(s Store) error {
	if g, ok := s.(Guarded); ok {
		return g.Refusal()
	}
	return nil
}

// Remote is a Store that lies behind a network, and knows whether it answers.
type Remote interface {
	Store
	// Unreachable is why the store does not answer at the moment, in one line;
	// nil while it does. It matches ErrUnavailable, never blocks, and is at most
	// a few seconds old.
	Unreachable() error
}

// UnreachableOf is what a Remote says of itself, and nil of any other store.
func UnreachableOf(s Store) error {
	if r, ok := s.(Remote); ok {
		return r.Unreachable()
	}
	return nil
}
