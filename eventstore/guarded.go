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
