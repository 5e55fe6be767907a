package order

// Decide answers a command with the events it causes, or refuses it.
func Decide(s State, c Command) ([]Event, error) {
	return nil, nil
}
