package projections

// Awaited reports whether somebody waits for the order.
func Awaited(m *Manager, orderID string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.waiters[orderID]) > 0
}
