package order

// State is what the rules read of an order's past. Its zero value is the order
// that does not exist.
type State struct {
	Status Status
}

// Evolve folds one event into the state.
func Evolve(s State, e Event) State {
	return s
}
