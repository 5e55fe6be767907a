package esdb

// Check reads a connection string as Open does, and connects to nobody. Errors
// never contain the password.
func Check(connectionString string) error {
	_, err := parseConnection(connectionString)
	return err
}
