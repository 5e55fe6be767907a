package competing

// Finished reports whether the group is through with the message.
func (m *Message) Finished() bool { return m.state == finished }
